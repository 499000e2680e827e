import { act, renderHook } from "@testing-library/react";
import { afterEach, beforeEach, expect, test, vi } from "vitest";
import type { Known } from "../log/view";
import type { Presence, Why } from "../log/wire";
import { type AskWhy, useWhy } from "./useWhy";

const T0 = Date.parse("2026-11-21T14:00:00Z");
const time = (seconds: number) => new Date(T0 + seconds * 1000).toISOString();
const away: Presence = { state: "away", since: time(-60) };
const pending: Known = {
  id: "dlv_1",
  message_id: "msg_1",
  mailbox: "session:ses_1/agent",
  state: "pending",
  attempt: 0,
  failures: 0,
  receipts: { accepted: time(0) },
  cancel_requested: false,
  message_gone: false,
  as_of: 1,
};
const why = (of: Partial<Why>): Why => ({ delivery_id: "dlv_1", state: "pending", reason: "no_consumer", text: "", ...of });
const pass = (seconds: number) => act(() => vi.advanceTimersByTimeAsync(seconds * 1000));

beforeEach(() => vi.useFakeTimers({ now: T0 }));
afterEach(() => vi.useRealTimers());

function start(ask: AskWhy, delivery = pending) {
  return renderHook(({ delivery, presence }) => useWhy(ask, delivery, presence), { initialProps: { delivery, presence: away } });
}

test("nobody asks before a message has stood still for a while, and then once", async () => {
  const ask = vi.fn<AskWhy>().mockResolvedValue(why({}));
  const { result } = start(ask);
  await pass(4.9);
  expect(ask).not.toHaveBeenCalled();
  await pass(0.2);
  expect(result.current?.reason).toBe("no_consumer");
  await pass(3600);
  expect(ask).toHaveBeenCalledTimes(1);
});

test("it is asked again when the answer says that it changes", async () => {
  const ask = vi.fn<AskWhy>().mockResolvedValueOnce(why({ reason: "behind", until: time(30) })).mockResolvedValue(why({ reason: "turn" }));
  const { result } = start(ask);
  await pass(6);
  expect(result.current?.reason).toBe("behind");
  await pass(23);
  expect(ask).toHaveBeenCalledTimes(1);
  await pass(2);
  expect(result.current?.reason).toBe("turn");
  await pass(3600);
  expect(ask).toHaveBeenCalledTimes(2);
});

test("a time that is over does not make it ask on and on", async () => {
  const ask = vi.fn<AskWhy>().mockImplementation(async () => why({ reason: "ending", until: time(0) }));
  start(ask);
  await pass(600);
  expect(ask).toHaveBeenCalledTimes(1);
});

test("what moves is asked about anew, and tells nothing old meanwhile", async () => {
  const ask = vi.fn<AskWhy>().mockResolvedValue(why({ reason: "paused" }));
  const { result, rerender } = start(ask);
  await pass(6);
  expect(result.current?.reason).toBe("paused");
  const lease = { consumer: "claude-1", started_at: time(6), until: time(606) };
  rerender({ delivery: { ...pending, state: "leased", as_of: 2, attempt: 1, lease, receipts: { accepted: time(0), presented: time(6) } }, presence: away });
  expect(result.current).toBeUndefined();
  await pass(6);
  expect(ask).toHaveBeenCalledTimes(2);
  rerender({ delivery: { ...pending, state: "done", as_of: 3 }, presence: away });
  expect(result.current).toBeUndefined();
  await pass(3600);
  expect(ask).toHaveBeenCalledTimes(2);
});

test("an agent that comes or goes is a reason to ask again", async () => {
  const ask = vi.fn<AskWhy>().mockResolvedValue(why({}));
  const { rerender } = start(ask);
  await pass(6);
  rerender({ delivery: pending, presence: { state: "online", since: time(6) } });
  await pass(1);
  expect(ask).toHaveBeenCalledTimes(2);
});

test("an error is quiet, and who is gone asks no more", async () => {
  const ask = vi.fn<AskWhy>().mockRejectedValue(new Error("no answer"));
  const { result, unmount } = start(ask);
  await pass(60);
  expect(result.current).toBeUndefined();
  expect(ask).toHaveBeenCalledTimes(1);
  unmount();
  const other = start(ask);
  other.unmount();
  await pass(60);
  expect(ask).toHaveBeenCalledTimes(1);
});
