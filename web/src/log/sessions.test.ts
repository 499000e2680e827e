import { expect, it } from "vitest";
import { reduceRail } from "./sessions";
import type { Event, Message, Session } from "./wire";

const at = (minute: number) => `2026-11-21T14:${String(minute).padStart(2, "0")}:00.000Z`;
const session = (id: string, minute: number): Session => ({
  id,
  title: id,
  state: "open",
  created_at: at(0),
  last_activity: at(minute),
  depth: 0,
  leased: 0,
  unread: 0,
  presence: { state: "away", since: at(0) },
});
const event = (type: string, id: string, more: Partial<Event> = {}): Event => ({ type, seq: 9, cursor: "a.9", at: at(30), session: id, ...more });
const message = (type = "message"): Message => ({ id: "msg_1", seq: 9, from: "user", verified: false, to: "session:a/agent", type, priority: 5, text: "hello", created_at: at(30) });
const list = [session("b", 20), session("a", 10)];

it("moves a conversation up when something is said in it", () => {
  const next = reduceRail(list, event("message.accepted", "a", { message: message() }));
  expect(next.map((one) => one.id)).toEqual(["a", "b"]);
  expect(next[0]?.last_message?.text).toBe("hello");
});

it("does not show a bounce as the last thing said", () => {
  expect(reduceRail(list, event("message.accepted", "a", { message: message("bounce") }))).toBe(list);
});

it("follows titles, presence and ends", () => {
  const events = [
    event("session.renamed", "a", { title: "logs" }),
    event("presence.changed", "a", { presence: { state: "online", consumer: "claude-7f3a", since: at(30) } }),
    event("session.closed", "b"),
    event("session.opened", "c", { title: null }),
  ];
  const next = events.reduce(reduceRail, list);
  expect(next.map((one) => [one.id, one.title, one.state, one.presence.state])).toEqual([
    ["c", null, "open", "away"],
    ["b", "b", "closed", "away"],
    ["a", "logs", "open", "online"],
  ]);
});

it("leaves the list as it is for what it does not show", () => {
  expect(reduceRail(list, event("delivery.seen", "a"))).toBe(list);
  expect(reduceRail(list, event("session.renamed", "elsewhere", { title: "x" }))).toBe(list);
});
