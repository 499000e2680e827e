import { afterEach, expect, it, vi } from "vitest";
import { follow, pause } from "./stream";

afterEach(() => vi.unstubAllGlobals());

const body = (text: string) => new Response(text, { headers: { "content-type": "text/event-stream" } });
const event = (seq: number) => `id: a.${seq}\ndata: ${JSON.stringify({ type: "x", seq, cursor: `a.${seq}`, at: "" })}\n\n`;

/** Follows until `answers` are used up and tells what was asked and heard. */
async function run(after: string | undefined, answers: (() => Response | Promise<Response>)[]) {
  const asked: string[] = [];
  const heard: string[] = [];
  const end = new AbortController();
  const wake = new EventTarget();
  const waker = setInterval(() => wake.dispatchEvent(new Event("wake")), 1);
  vi.stubGlobal("fetch", async (address: string) => {
    asked.push(address);
    const next = answers.shift();
    if (next === undefined) {
      end.abort();
      throw new Error("over");
    }
    return next();
  });
  await follow(
    "/api/events",
    after,
    {
      onOpen: (resumed) => heard.push(resumed ? "resumed" : "begun"),
      onEvent: ({ seq }) => heard.push(String(seq)),
      onAlive: () => undefined,
      onDown: () => heard.push("down"),
      onGap: (reason) => heard.push(`gap ${reason}`),
    },
    end.signal,
    wake,
  );
  clearInterval(waker);
  return { asked: asked.map((address) => new URL(address, "http://x").searchParams.get("after")), heard };
}

it("goes on after the last event it has shown", async () => {
  const { asked, heard } = await run("a.4", [() => body(event(5) + event(6)), () => Promise.reject(new Error("refused")), () => body(event(7))]);
  expect(asked).toEqual(["a.4", "a.6", "a.6", "a.7"]);
  expect(heard).toEqual(["resumed", "5", "6", "down", "down", "resumed", "7", "down"]);
});

it("begins at the end of the log when its cursor does not fit", async () => {
  const gap = 'event: gap\ndata: {"recovered":false,"reason":"trimmed"}\n\n';
  const { asked, heard } = await run("a.4", [() => body(gap), () => body(event(9))]);
  expect(asked).toEqual(["a.4", "head", "a.9"]);
  expect(heard).toEqual(["resumed", "gap trimmed", "down", "begun", "9", "down"]);
});

it("takes a refused cursor for a gap", async () => {
  const refused = () => new Response('{"code":"invalid_cursor"}', { status: 400 });
  const { asked, heard } = await run("?", [refused]);
  expect(asked).toEqual(["?", "head"]);
  expect(heard).toEqual(["gap other_log", "down"]);
});

it("waits longer after each failure, but never very long", () => {
  expect([0, 1, 2, 3].map((failures) => pause(failures, 1))).toEqual([250, 500, 1000, 2000]);
  expect(pause(40, 1)).toBe(8000);
  expect(pause(40, 0)).toBe(4000);
});
