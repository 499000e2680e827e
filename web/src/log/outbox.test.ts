import { IDBFactory } from "fake-indexeddb";
import { beforeEach, describe, expect, it, vi } from "vitest";
import { Refused, Unreachable } from "./api";
import { Outbox } from "./outbox";
import { Store } from "./store";
import type { Published } from "./wire";

/** A bridge that keeps one message per key. */
function bridge() {
  const stored = new Map<string, string>();
  const calls: string[] = [];
  let answer: "accept" | "unreachable" | "lose the answer" | "refuse" | "later" = "accept";
  return {
    stored,
    calls,
    set answers(next: typeof answer) {
      answer = next;
    },
    send: async (_session: string, text: string, key: string): Promise<Published> => {
      calls.push(text);
      if (answer === "unreachable") {
        throw new Unreachable("no answer");
      }
      if (answer === "refuse" || answer === "later") {
        const [status, code] = answer === "refuse" ? [409, "session_closed"] : [503, "unavailable"];
        throw new Refused({ type: "", title: "The session is closed", status: status as number, code: code as string }, 1);
      }
      const duplicate = stored.has(key);
      stored.set(key, text);
      if (answer === "lose the answer") {
        throw new Unreachable("no answer");
      }
      return { message_id: `msg_${key}`, seq: stored.size, cursor: "", duplicate, deliveries: [], delivery_count: 1, depth: 1 };
    },
  };
}

const settled = (outbox: Outbox, states: string[]) => vi.waitFor(() => expect(outbox.entries.map((entry) => entry.state)).toEqual(states));

describe("the outbox", () => {
  beforeEach(() => {
    globalThis.indexedDB = new IDBFactory();
  });

  it("sends at once and keeps the message in sight until the log shows it", async () => {
    const at = bridge();
    const outbox = new Outbox(at, new Store());
    await outbox.add("ses_1", "hello");
    await settled(outbox, ["accepted"]);
    expect([...at.stored.values()]).toEqual(["hello"]);
    outbox.seen(new Set(at.stored.keys()));
    expect(outbox.entries).toEqual([]);
    expect(await new Store().kept()).toEqual([]);
  });

  it("keeps what does not get through, and sends it by itself, in order", async () => {
    const at = bridge();
    at.answers = "unreachable";
    const outbox = new Outbox(at, new Store());
    await outbox.add("ses_1", "one");
    await settled(outbox, ["waiting"]);
    await outbox.add("ses_1", "two");
    await settled(outbox, ["waiting", "waiting"]);
    at.answers = "accept";
    await outbox.flush();
    await vi.waitFor(() => expect([...at.stored.values()]).toEqual(["one", "two"]));
  });

  it("survives the page", async () => {
    const at = bridge();
    at.answers = "unreachable";
    const before = new Outbox(at, new Store());
    await before.add("ses_1", "hello");
    await settled(before, ["waiting"]);
    at.answers = "accept";
    const after = new Outbox(at, new Store());
    await after.start();
    expect([...at.stored.values()]).toEqual(["hello"]);
    expect(await new Store().kept()).toEqual([]);
  });

  it("sends under the same key after an answer was lost", async () => {
    const at = bridge();
    at.answers = "lose the answer";
    const outbox = new Outbox(at, new Store());
    await outbox.add("ses_1", "hello");
    await settled(outbox, ["waiting"]);
    at.answers = "accept";
    await outbox.flush();
    await vi.waitFor(() => expect(at.calls).toEqual(["hello", "hello"]));
    expect([...at.stored.values()]).toEqual(["hello"]);
  });

  it("shows a refusal, does not repeat it, and lets later messages through", async () => {
    const at = bridge();
    at.answers = "refuse";
    const outbox = new Outbox(at, new Store());
    await outbox.add("ses_1", "hello");
    await settled(outbox, ["refused"]);
    expect(outbox.entries[0]?.refused?.code).toBe("session_closed");
    at.answers = "accept";
    await outbox.add("ses_2", "there");
    await settled(outbox, ["refused", "accepted"]);
    expect([...at.stored.values()]).toEqual(["there"]);
    expect(await outbox.discard(outbox.entries[0]?.key ?? "")).toBe("hello");
    expect(outbox.entries).toHaveLength(1);
  });

  it("tries a busy server again", async () => {
    const at = bridge();
    at.answers = "later";
    const outbox = new Outbox(at, new Store());
    await outbox.add("ses_1", "hello");
    await settled(outbox, ["waiting"]);
    at.answers = "accept";
    await vi.waitFor(() => expect([...at.stored.values()]).toEqual(["hello"]));
  });

  it("stores one message though two tabs send it", async () => {
    const at = bridge();
    at.answers = "unreachable";
    const one = new Outbox(at, new Store());
    const two = new Outbox(at, new Store());
    await one.add("ses_1", "hello");
    await settled(one, ["waiting"]);
    at.answers = "accept";
    await Promise.all([one.flush(), two.start()]);
    expect([...at.stored.values()]).toEqual(["hello"]);
  });
});

it("keeps drafts per conversation", async () => {
  const store = new Store("drafts");
  await store.keepDraft("ses_1", "half a sen");
  expect(await store.draft("ses_1")).toBe("half a sen");
  expect(await store.draft("ses_2")).toBe("");
  await store.keepDraft("ses_1", "");
  expect(await store.draft("ses_1")).toBe("");
});
