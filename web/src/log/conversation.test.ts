import { beforeEach, expect, it, vi } from "vitest";
import { Refused, Unreachable, type Api } from "./api";
import { Conversation } from "./conversation";
import type { FeedListener } from "./feed";
import type { Event, Message, Snapshot } from "./wire";

const at = (seq: number) => new Date(Date.UTC(2026, 10, 21, 14, 0, seq)).toISOString();
const message = (seq: number): Message => ({ id: `msg_${seq}`, seq, from: "agent", verified: false, to: "session:s/user", type: "message", priority: 5, text: String(seq), created_at: at(seq) });
const event = (seq: number, log = "a"): Event => ({ type: "message.accepted", seq, cursor: `${log}.${seq}`, at: at(seq), session: "s", message_id: `msg_${seq}`, message: message(seq), deliveries: [] });
const snapshot = (seqs: number[], cursor: string, older: string | null = null): Snapshot => ({
  session: { id: "s", title: null, state: "open", created_at: at(0), last_activity: at(0), depth: 0, leased: 0, unread: 0, presence: { state: "away", since: at(0) } },
  data: seqs.map(message),
  next_cursor: older,
  cursor,
});

/** A conversation whose snapshots are answered one by one. */
function scene() {
  const calls: { cursor: string | null | undefined; answer: (snapshot: Snapshot) => void; fail: (error: Error) => void }[] = [];
  const messages = (_id: string, cursor?: string | null) => new Promise<Snapshot>((answer, fail) => calls.push({ cursor, answer, fail }));
  let listener: FeedListener = { onEvent: () => undefined, onReload: () => undefined };
  const conversation = new Conversation("s", { messages } as unknown as Api, {
    listen: (one) => {
      listener = one;
      return () => undefined;
    },
  });
  const shown = () => conversation.thread.view?.messages.map(({ seq }) => seq);
  return { conversation, calls, shown, tell: (told: Event) => listener.onEvent(told), reload: (reason?: "trimmed") => listener.onReload(reason) };
}

beforeEach(() => {
  vi.useFakeTimers();
  return () => vi.useRealTimers();
});

const settle = () => vi.advanceTimersByTimeAsync(0);

it("misses nothing that comes while the snapshot is on its way", async () => {
  const { conversation, calls, shown, tell } = scene();
  const loaded = conversation.load();
  tell(event(3));
  tell(event(4));
  calls[0]?.answer(snapshot([1, 3], "a.3"));
  expect(await loaded).toBe("a.4");
  expect(shown()).toEqual([1, 3, 4]);
  tell(event(4));
  tell(event(5));
  expect(shown()).toEqual([1, 3, 4, 5]);
});

it("leaves other conversations alone", async () => {
  const { conversation, calls, shown, tell } = scene();
  void conversation.load();
  calls[0]?.answer(snapshot([1], "a.1"));
  await settle();
  tell({ ...event(2), session: "other" });
  expect(shown()).toEqual([1]);
});

it("tries again until there is an answer", async () => {
  const { conversation, calls, shown } = scene();
  void conversation.load();
  calls[0]?.fail(new Unreachable("no answer"));
  await vi.advanceTimersByTimeAsync(2_000);
  calls[1]?.answer(snapshot([1], "a.1"));
  await settle();
  expect(shown()).toEqual([1]);
});

it("says that there is no such conversation", async () => {
  const { conversation, calls } = scene();
  void conversation.load();
  calls[0]?.fail(new Refused({ type: "", title: "", status: 404, code: "unknown_session" }));
  await settle();
  expect(conversation.thread.missing).toBe(true);
});

it("loads again after a gap and says what was trimmed", async () => {
  const { conversation, calls, shown, reload } = scene();
  void conversation.load();
  calls[0]?.answer(snapshot([1, 2], "a.2"));
  await settle();
  reload("trimmed");
  calls[1]?.answer(snapshot([8, 9], "a.9"));
  await settle();
  expect(shown()).toEqual([8, 9]);
  expect(conversation.thread.trimmed).toBe("trimmed");
});

it("says nothing of a gap that took nothing from this conversation", async () => {
  const { conversation, calls, reload } = scene();
  void conversation.load();
  calls[0]?.answer(snapshot([1, 2], "a.2"));
  await settle();
  reload("trimmed");
  calls[1]?.answer(snapshot([1, 2, 9], "a.9"));
  await settle();
  expect(conversation.thread.trimmed).toBeUndefined();
});

it("loads again when the events are of another log", async () => {
  const { conversation, calls, shown, tell } = scene();
  void conversation.load();
  calls[0]?.answer(snapshot([1, 2], "a.2"));
  await settle();
  tell(event(1, "b"));
  calls[1]?.answer(snapshot([7], "b.7"));
  await settle();
  expect(shown()).toEqual([7]);
});

it("puts an older page before what it has, once", async () => {
  const { conversation, calls, shown, tell } = scene();
  void conversation.load();
  calls[0]?.answer(snapshot([5, 6], "a.6", "before-5"));
  await settle();
  void conversation.loadOlder();
  void conversation.loadOlder();
  expect(calls).toHaveLength(2);
  expect(calls[1]?.cursor).toBe("before-5");
  tell(event(7));
  calls[1]?.answer(snapshot([3, 4], "a.7"));
  await settle();
  expect(shown()).toEqual([3, 4, 5, 6, 7]);
  expect(conversation.thread.view?.older).toBeNull();
});
