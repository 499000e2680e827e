import { afterEach, beforeEach, expect, it, vi } from "vitest";
import { Feed } from "./feed";
import type { Event } from "./wire";

const event = (seq: number): Event => ({ type: "x", seq, cursor: `a.${seq}`, at: "" });

/** What a browser gives all its tabs: one lock, one channel, and here one server whose streams are written by hand. */
function browser() {
  let held = false;
  const waiting: (() => void)[] = [];
  const channels = new Set<{ onmessage: ((message: { data: unknown }) => void) | null }>();
  const streams: { after: string; write: (text: string) => void; end: () => void }[] = [];

  vi.stubGlobal(
    "BroadcastChannel",
    class {
      onmessage: ((message: { data: unknown }) => void) | null = null;
      constructor() {
        channels.add(this);
      }
      postMessage(data: unknown) {
        channels.forEach((channel) => channel !== this && channel.onmessage?.({ data: structuredClone(data) }));
      }
      close() {
        channels.delete(this);
      }
    },
  );
  Object.defineProperty(navigator, "locks", {
    configurable: true,
    value: {
      request: async (_name: string, { signal }: { signal: AbortSignal }, work: () => Promise<void>) => {
        if (held) {
          await new Promise<void>((free) => waiting.push(free));
        }
        signal.throwIfAborted();
        held = true;
        await work();
        held = false;
        waiting.shift()?.();
      },
    },
  });
  vi.stubGlobal("fetch", async (address: string, { signal }: { signal: AbortSignal }) => {
    const encoder = new TextEncoder();
    const body = new ReadableStream<Uint8Array>({
      start(controller) {
        signal.addEventListener("abort", () => controller.error(signal.reason));
        streams.push({
          after: new URL(address, "http://x").searchParams.get("after") ?? "",
          write: (text) => controller.enqueue(encoder.encode(text)),
          end: () => controller.close(),
        });
      },
    });
    return new Response(body);
  });
  const say = (at: number, one: Event) => streams[at]?.write(`id: ${one.cursor}\ndata: ${JSON.stringify(one)}\n\n`);
  return { streams, say };
}

function tab() {
  const feed = new Feed();
  const heard: string[] = [];
  feed.listen({ onEvent: ({ seq }) => heard.push(String(seq)), onReload: (reason) => heard.push(`reload ${reason ?? ""}`.trim()) });
  return { feed, heard };
}

beforeEach(() => {
  vi.useFakeTimers({ toFake: ["setTimeout", "clearTimeout"] });
});
afterEach(() => {
  vi.useRealTimers();
  vi.unstubAllGlobals();
  Reflect.deleteProperty(navigator, "locks");
});

const settle = async () => {
  for (let turn = 0; turn < 20; turn += 1) {
    await new Promise((done) => setImmediate(done));
  }
};

it("opens one stream for all tabs, and each hears everything", async () => {
  const { streams, say } = browser();
  const [one, two] = [tab(), tab()];
  one.feed.start("a.4");
  two.feed.start("a.4");
  await settle();
  expect(streams.map(({ after }) => after)).toEqual(["a.4"]);
  expect([one.feed.connection.phase, two.feed.connection.phase]).toEqual(["live", "live"]);
  say(0, event(5));
  await settle();
  expect([one.heard, two.heard]).toEqual([["5"], ["5"]]);
  one.feed.stop();
  two.feed.stop();
});

it("goes on in another tab where the first one has ended", async () => {
  const { streams, say } = browser();
  const [one, two] = [tab(), tab()];
  one.feed.start("a.4");
  two.feed.start("a.2");
  await settle();
  say(0, event(5));
  await settle();
  one.feed.stop();
  await settle();
  expect(streams.map(({ after }) => after)).toEqual(["a.4", "a.5"]);
  say(1, event(6));
  await settle();
  expect(two.heard).toEqual(["5", "6"]);
  two.feed.stop();
});

it("has every tab load again after a gap", async () => {
  const { streams } = browser();
  const [one, two] = [tab(), tab()];
  one.feed.start("a.4");
  two.feed.start("a.4");
  await settle();
  streams[0]?.write('event: gap\ndata: {"recovered":false,"reason":"trimmed"}\n\n');
  await settle();
  expect(one.feed.connection.phase).toBe("down");
  await vi.advanceTimersByTimeAsync(300);
  await settle();
  expect(streams.map(({ after }) => after)).toEqual(["a.4", "head"]);
  expect([one.heard, two.heard]).toEqual([["reload trimmed"], ["reload trimmed"]]);
  one.feed.stop();
  two.feed.stop();
});

it("says when it has no connection, and comes back by itself", async () => {
  const { streams } = browser();
  const one = tab();
  one.feed.start("a.4");
  await settle();
  streams[0]?.end();
  await settle();
  expect(one.feed.connection.phase).toBe("down");
  one.feed.wake();
  await settle();
  expect(one.feed.connection.phase).toBe("live");
  expect(one.heard).toEqual([]);
  one.feed.stop();
});
