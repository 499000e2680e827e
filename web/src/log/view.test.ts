import { describe, expect, it } from "vitest";
import { rung } from "../ladder/rung";
import { rows } from "./rows";
import { type View, begin, prepend, presenceOf, recall, reduce } from "./view";
import type { Event, Snapshot } from "./wire";

interface Record {
  before: Snapshot;
  events: Event[];
  after: Snapshot;
}

const found = import.meta.glob<Record>("./records/*.json", { eager: true, import: "default" });
const records = Object.fromEntries(Object.entries(found).map(([path, record]) => [path.replace(/^.*\/|\.json$/g, ""), record]));

const record = (name: string): Record => {
  const one = records[name];
  if (one === undefined) {
    throw new Error(`there is no record ${name}`);
  }
  return one;
};
const play = ({ before, events }: Record): View => events.reduce(reduce, begin(before));

/** What a snapshot cannot say of a delivery, and what it says of its message beside it. */
const beside = new Set(["as_of", "returned", "type", "from", "key", "priority"]);

/** What is compared: everything that both can say. */
const comparable = (view: View) => ({
  messages: view.messages,
  state: view.session.state,
  title: view.session.title,
  depth: view.session.depth,
  leased: view.session.leased,
  deliveries: Object.values(view.deliveries)
    .sort((a, b) => (a.id < b.id ? -1 : 1))
    .map((delivery) => Object.fromEntries(Object.entries(delivery).filter(([name]) => !beside.has(name)))),
});

/** The words under each message of the person, at a moment after the last event. */
const words = (view: View, afterMs = 0) =>
  rows(view)
    .filter((row) => row.delivery !== undefined && row.side === "user")
    .map((row) => rung(row.delivery as never, presenceOf(view), Date.parse(lastTime) + afterMs).words);
let lastTime = new Date(0).toISOString();

const told = (name: string, afterMs = 0) => {
  lastTime = record(name).events.at(-1)?.at ?? lastTime;
  return words(play(record(name)), afterMs);
};

describe.each(Object.keys(records))("the record %s", (name) => {
  it("ends where the snapshot after it stands", () => {
    expect(comparable(play(record(name)))).toEqual(comparable(begin(record(name).after)));
  });

  it("may be told twice, and from any place", () => {
    const { before, events } = record(name);
    const once = play(record(name));
    expect(events.reduce(reduce, once)).toBe(once);
    for (let at = 0; at <= events.length; at += 1) {
      const overlapping = [...events.slice(0, at), ...events.slice(Math.max(0, at - 3))];
      expect(overlapping.reduce(reduce, begin(before))).toEqual(once);
    }
  });
});

describe("the words of each state", () => {
  it.each([
    ["accepted", 0, /^accepted$/],
    ["accepted", 11 * 60_000, /^Nobody has taken it for 11 minutes\.$/],
    ["presented", 0, /^presented$/],
    ["working", 0, /^working: “reading the logs”$/],
    ["answered", 0, /^answered in \d(\.\d)? s$/],
    ["acknowledged", 0, /^done, without an answer$/],
    ["fell-silent", 0, /^The agent took it and fell silent\. Handed out again in \d+ s \(attempt 2 of 5\)\.$/],
    ["fell-silent", 60_000, /^The agent took it and fell silent\. It waits to be handed out again \(attempt 2 of 5\)\.$/],
    ["could-not", 0, /^The agent could not do it: “the tests do not build”\. Handed out again in (60 s|1 min( 1 s)?) \(attempt 2 of 5\)\.$/],
    ["put-back", 0, /^The agent put it back\. It waits to be handed out again\.$/],
    ["taken-again", 0, /^presented$/],
    ["given-up", 0, /^Given up after 5 attempts: the agent stopped each time, at last with “the tests do not build”\.$/],
    ["declined", 0, /^The agent declined: “I may not do that”\.$/],
    ["expired", 0, /^Expired unanswered at \d\d:\d\d\.$/],
    ["cancelled", 0, /^Taken back before it was answered\.$/],
    ["sent-again", 0, /^answered in /],
    ["closed", 0, /^The conversation was closed before it was answered\.$/],
  ] as const)("%s after %i ms", (name, after, expected) => {
    const said = told(name, after);
    expect(said).toHaveLength(1);
    expect(said[0]).toMatch(expected);
  });

  it("says the same from a snapshot alone", () => {
    for (const name of Object.keys(records)) {
      const now = told(name);
      expect([name, words(begin(record(name).after))]).toEqual([name, now]);
    }
  });
});

describe("the lines", () => {
  it("show a second answer as such", () => {
    const lines = rows(play(record("answered-twice")));
    expect(lines.map((row) => [row.side, row.ordinal])).toEqual([
      ["user", 0],
      ["agent", 1],
      ["agent", 2],
    ]);
    expect(lines[2]?.asked?.id).toBe(lines[0]?.message.id);
  });

  it("leave bounces out", () => {
    for (const name of ["given-up", "declined", "expired"]) {
      expect(rows(play(record(name))).map((row) => row.side)).toEqual(["user"]);
    }
  });

  it("keep what did not change", () => {
    const { before, events } = record("answered");
    const view = events.slice(0, -1).reduce(reduce, begin(before));
    const first = rows(view);
    expect(rows({ ...view }, first).map((row, at) => row === first[at])).toEqual(first.map(() => true));
  });
});

describe("an older page", () => {
  it("is brought up to date with events that came while it was on its way", () => {
    const { events, before } = record("answered");
    const accepted = events.findIndex((event) => event.type === "message.accepted");
    const old = events.slice(0, accepted + 1).reduce(reduce, begin(before));
    const page: Snapshot = {
      session: old.session,
      data: old.messages.map((message) => ({ ...message, deliveries: Object.values(old.deliveries) })),
      next_cursor: null,
      cursor: old.cursor,
    };
    const newest = events.slice(accepted + 1).reduce(reduce, { ...old, messages: [], deliveries: {}, older: "1" });
    expect(comparable(prepend(newest, page)).deliveries).toEqual(comparable(play(record("answered"))).deliveries);
    expect(prepend(newest, page).messages).toEqual(play(record("answered")).messages);
  });

  it("is not set back by events it already knows", () => {
    const { events, before, after } = record("answered");
    const accepted = events.findIndex((event) => event.type === "message.accepted");
    const newest = events.slice(accepted + 1).reduce(reduce, { ...begin(before), cursor: events[accepted]?.cursor ?? "" });
    expect(comparable(prepend(newest, after)).deliveries).toEqual(comparable(begin(after)).deliveries);
  });
});

it("knows who works by what is held", () => {
  expect(presenceOf(play(record("working")))).toMatchObject({ state: "working", consumer: "claude-7f3a" });
  expect(presenceOf(begin(record("working").after)).state).toBe("working");
  expect(presenceOf(record("answered").events.reduce(reduce, begin(record("presented").after))).state).toBe("working");
  expect(presenceOf(play(record("answered"))).state).toBe("online");
});

it("gives everything up when the conversation is closed, and nobody is there", () => {
  const view = play(record("closed"));
  expect(view.session.state).toBe("closed");
  expect(presenceOf(view).state).toBe("away");
  expect(Object.values(view.deliveries).map(({ state }) => state)).toEqual(["dead"]);
});

it("prolongs all that was taken together", () => {
  const view = play(record("presented"));
  const [one] = Object.values(view.deliveries);
  if (one === undefined) {
    throw new Error("there is no delivery");
  }
  const two = { ...one, id: "dlv_two", message_id: "msg_two" };
  const until = "2030-01-01T00:00:00.000Z";
  const both = { ...view, deliveries: { [one.id]: one, [two.id]: two } };
  const event = { type: "delivery.progressed", seq: 1e9, cursor: view.cursor.replace(/\d+$/, "1000000000"), at: one.receipts.accepted, delivery_id: one.id, lease_until: until };
  expect(Object.values(reduce(both, event).deliveries).map(({ lease }) => lease?.until)).toEqual([until, until]);
});

it("shows what is scheduled for the person when it is due, and not before", () => {
  const { before, events } = record("accepted");
  const sent = events.find(({ type }) => type === "message.accepted");
  const at = (seq: number, event: Partial<Event>) => ({ ...sent, seq, cursor: before.cursor.replace(/\d+$/, `${seq}`), ...event }) as Event;
  const early = reduce(begin(before), at(1_000, { message: null, deliveries: [] }));
  expect([early.messages, early.deliveries]).toEqual([[], {}]);
  const due = at(1_001, { type: "message.visible" });
  const late = reduce(early, due);
  expect(late.messages.map(({ text }) => text)).toEqual(["Are you there?"]);
  expect(Object.keys(late.deliveries)).toEqual([sent?.delivery_id]);
  // A snapshot may have shown it already.
  expect(reduce({ ...late, cursor: early.cursor }, due).messages).toHaveLength(1);
});

it("recalls why a delivery went back", () => {
  const { after } = record("could-not");
  const view = begin({ ...after, data: after.data.map((message) => ({ ...message, deliveries: message.deliveries?.map((one) => ({ ...one, returned: undefined })) as never })) });
  const [delivery] = Object.values(view.deliveries);
  if (delivery === undefined) {
    throw new Error("there is no delivery");
  }
  const attempts = [{ attempt: 1, consumer: "a", presented_at: "", outcome: "answer_lost" }];
  expect(recall(view, { ...delivery, attempts }).deliveries[delivery.id]?.returned).toBe("answer_lost");
  expect(recall(view, { ...delivery, attempt: 9, attempts })).toBe(view);
});

it("ignores other conversations and unknown events", () => {
  const view = play(record("answered"));
  const cursor = view.cursor.replace(/\d+$/, "999999");
  expect(reduce(view, { type: "session.renamed", seq: 999_999, cursor, at: "", session: "ses_other", title: "x" })).toBe(view);
  expect(comparable(reduce(view, { type: "moon.rose", seq: 999_999, cursor, at: "" }))).toEqual(comparable(view));
});
