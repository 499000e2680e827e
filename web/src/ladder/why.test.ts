import { describe, expect, test } from "vitest";
import { atTime } from "../base/time";
import type { Known } from "../log/view";
import type { Why } from "../log/wire";
import { sentence, standsSince } from "./why";

const T0 = Date.parse("2026-11-21T14:00:00Z");
const time = (seconds: number) => new Date(T0 + seconds * 1000).toISOString();
const told = (why: Partial<Why>) => sentence({ delivery_id: "dlv_1", state: "pending", reason: "turn", text: "", ...why }, T0);
const known = (of: Partial<Known>): Known => ({
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
  ...of,
});

describe("the sentence", () => {
  test("each reason has its words, with the reader's time", () => {
    const then = atTime(T0 - 60_000, T0);
    expect(told({ reason: "paused", by: "anna", since: time(-60) })).toBe(`Paused by anna since ${then}.`);
    expect(told({ reason: "no_consumer", since: time(-60) })).toBe(`Nobody has asked for messages since ${then}.`);
    expect(told({ reason: "leased", consumer: "claude-1", until: time(600) })).toBe(`claude-1 has it until ${atTime(T0 + 600_000, T0)}; then it is handed out again.`);
    expect(told({ reason: "backoff", failures: 2, until: time(12) })).toBe("It came back, and goes out again in 12 s.");
    expect(told({ reason: "no_credit" })).toBe("The agent holds as many messages as it may.");
    expect(told({ reason: "filtered" })).toBe("Those who ask want other types of messages.");
    expect(told({ reason: "turn" })).toBe("It goes out as soon as the agent asks again.");
    expect(told({ reason: "ending", until: time(0) })).toBe("It is about to be taken back.");
  });

  test("what is behind another message tells what keeps that one", () => {
    expect(told({ reason: "behind", head_reason: "leased", consumer: "claude-1" })).toBe("It waits for the message before it, which claude-1 has.");
    expect(told({ reason: "behind", head_reason: "backoff", until: time(7) })).toBe("It waits for the message before it, which goes out again in 7 s.");
    expect(told({ reason: "behind", head_reason: "ready" })).toBe("It waits for the message before it, which goes out first.");
  });

  test("a time that is over is no time to wait", () => {
    expect(told({ reason: "backoff", until: time(-3) })).toBe("It came back, and goes out again at once.");
  });

  test("a reason of a newer bridge is told in its own words", () => {
    expect(told({ reason: "moon", text: "the moon is wrong" })).toBe("The moon is wrong.");
    expect(told({ reason: "over" })).toBeUndefined();
  });
});

describe("a message stands still", () => {
  test("from when it was accepted, became visible or came back", () => {
    expect(standsSince(known({}))).toBe(T0);
    expect(standsSince(known({ visible_at: time(60) }))).toBe(T0 + 60_000);
    expect(standsSince(known({ attempt: 1, receipts: { accepted: time(0), presented: time(30) } }))).toBe(T0 + 30_000);
  });

  test("in the hands of an agent that shows no sign of life", () => {
    const lease = { consumer: "claude-1", started_at: time(10), until: time(610) };
    const leased = (receipts: object) => standsSince(known({ state: "leased", attempt: 2, lease, receipts: { accepted: time(0), presented: time(10), ...receipts } }));
    expect(leased({})).toBe(T0 + 10_000);
    // A sign of an earlier attempt is none of this one.
    expect(leased({ seen: time(5) })).toBe(T0 + 10_000);
    expect(leased({ seen: time(11) })).toBeUndefined();
    expect(leased({ progressed: time(11) })).toBeUndefined();
  });

  test("never once it is over", () => {
    expect(standsSince(known({ state: "done" }))).toBeUndefined();
    expect(standsSince(known({ state: "dead", reason: "expired" }))).toBeUndefined();
  });
});
