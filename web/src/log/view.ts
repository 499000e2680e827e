// What the thread shows, as one value: made from a snapshot, changed by events only.

import { type Delivery, type Event, type Message, type Presence, type ReturnReason, type Session, type Snapshot, seqOf } from "./wire";

/** A delivery as far as it is known. */
export interface Known extends Delivery {
  /** Events up to this place in the log are already in it. */
  as_of: number;
  /** Why it went back to its mailbox last, while it waits there. */
  returned?: ReturnReason;
}

export interface View {
  readonly session: Session;
  /** Everything up to here is in the view. */
  readonly cursor: string;
  /** Oldest first, without their deliveries. */
  readonly messages: readonly Message[];
  readonly deliveries: Readonly<Record<string, Known>>;
  /** What to ask the page before the first message with; null if there is none. */
  readonly older: string | null;
  /** Events of deliveries that are not loaded: an older page may be older than they are. */
  readonly unplaced: readonly Event[];
  /** Messages whose content was removed. */
  readonly removed: ReadonlySet<string>;
}

export const agentSide = (session: string) => `session:${session}/agent`;
export const userSide = (session: string) => `session:${session}/user`;

/** The view at the moment of a snapshot. */
export function begin(snapshot: Snapshot): View {
  const asOf = seqOf(snapshot.cursor);
  return {
    session: snapshot.session,
    cursor: snapshot.cursor,
    messages: snapshot.data.map(bare),
    deliveries: known(snapshot.data, asOf),
    older: snapshot.next_cursor,
    unplaced: [],
    removed: new Set(),
  };
}

/** The view with an older page before it. */
export function prepend(view: View, page: Snapshot): View {
  const asOf = seqOf(page.cursor);
  const have = new Set(view.messages.map((message) => message.id));
  const fresh = page.data.filter((message) => !have.has(message.id));
  let next: View = {
    ...view,
    messages: [...fresh.map(bare), ...view.messages].sort((a, b) => a.seq - b.seq),
    deliveries: { ...known(fresh, asOf), ...view.deliveries },
    older: page.next_cursor,
  };
  // The page may be from before events that came while it was on its way.
  for (const event of view.unplaced) {
    const delivery = event.delivery_id === undefined ? undefined : next.deliveries[event.delivery_id];
    if (delivery !== undefined && event.seq > delivery.as_of) {
      next = { ...next, deliveries: { ...next.deliveries, [delivery.id]: moved(delivery, event) } };
    }
  }
  return { ...next, unplaced: next.unplaced.filter((event) => next.deliveries[event.delivery_id ?? ""] === undefined) };
}

const UNPLACED_MAX = 1000;

/**
 * The view after an event. An event at or before the view's cursor changes nothing, so that any overlap of snapshot and
 * stream is harmless.
 */
export function reduce(view: View, event: Event): View {
  if (event.seq <= seqOf(view.cursor) || (event.session !== undefined && event.session !== view.session.id)) {
    return view;
  }
  const next = { ...view, cursor: event.cursor };
  switch (event.type) {
    case "message.accepted":
      return accepted(next, event);
    case "message.visible":
      // One that was scheduled for this side is shown by it, and not when it was accepted.
      return onDelivery(accepted(next, event), event);
    case "message.deleted":
      return event.message_id === undefined ? next : { ...next, removed: new Set([...view.removed, event.message_id]) };
    case "session.renamed":
      return withSession(next, { title: event.title ?? null });
    case "session.opened":
      return withSession(next, { state: "open" });
    case "session.closed":
      return closed(next, event);
    case "presence.changed":
      return event.presence === undefined ? next : withSession(next, { presence: event.presence });
    case "mailbox.paused":
    case "mailbox.resumed":
      return forAllIn(next, event);
    case "delivery.redriven":
      return redriven(next, event);
    default:
      return event.type.startsWith("delivery.") ? onDelivery(next, event) : next;
  }
}

/** What happened to a mailbox, has happened to what waits in it. */
function forAllIn(view: View, event: Event): View {
  const waits = (delivery: Known) => delivery.mailbox === event.mailbox && delivery.state === "pending" && delivery.as_of < event.seq;
  const touched = Object.values(view.deliveries).filter(waits).map((delivery) => [delivery.id, { ...delivery, as_of: event.seq }] as const);
  return touched.length === 0 ? view : { ...view, deliveries: { ...view.deliveries, ...Object.fromEntries(touched) } };
}

function bare(message: Message): Message {
  const { deliveries: _, ...rest } = message;
  return rest;
}

function known(messages: readonly Message[], asOf: number): Record<string, Known> {
  const all: Record<string, Known> = {};
  for (const delivery of messages.flatMap((message) => message.deliveries ?? [])) {
    const returned = returnedBefore(delivery);
    all[delivery.id] = { ...delivery, as_of: asOf, ...(returned === undefined ? {} : { returned }) };
  }
  return all;
}

/** A snapshot does not say why a delivery went back, but it leaves little doubt. */
function returnedBefore(delivery: Delivery): ReturnReason | undefined {
  if (delivery.state !== "pending" || delivery.attempt === 0) {
    return undefined;
  }
  const { seen, progressed } = delivery.receipts;
  if (seen === undefined || (progressed !== undefined && delivery.failures > 0 && delivery.last_error === undefined)) {
    return "timeout";
  }
  return delivery.failures === 0 ? "release" : "nack";
}

/** The view with what a delivery's own history says of its last return, which a snapshot leaves to be guessed. */
export function recall(view: View, full: Delivery): View {
  const delivery = view.deliveries[full.id];
  const outcome = full.attempts?.at(-1)?.outcome;
  if (delivery === undefined || delivery.state !== "pending" || delivery.attempt !== full.attempt || outcome === undefined) {
    return view;
  }
  return { ...view, deliveries: { ...view.deliveries, [full.id]: { ...delivery, returned: outcome as ReturnReason } } };
}

/** Who is there now. That somebody works is told by what it holds, not by an event of its own. */
export function presenceOf(view: View): Presence {
  const { presence, leased, state } = view.session;
  const held = Object.values(view.deliveries)
    .flatMap(({ lease }) => lease ?? [])
    .sort((a, b) => (a.started_at < b.started_at ? -1 : 1))
    .at(-1);
  if (state !== "closed" && (held !== undefined || leased > 0)) {
    const consumer = held?.consumer ?? presence.consumer;
    return { state: "working", since: held?.started_at ?? presence.since, ...(consumer === undefined ? {} : { consumer }) };
  }
  return presence.state === "working" ? { ...presence, state: "online" } : presence;
}

function withSession(view: View, change: Partial<Session>): View {
  return { ...view, session: { ...view.session, ...change } };
}

/** Closing gives up at once what was left, in one event. */
function closed(view: View, event: Event): View {
  const deliveries: Record<string, Known> = {};
  for (const [id, delivery] of Object.entries(view.deliveries)) {
    const left = delivery.state === "pending" || delivery.state === "leased";
    deliveries[id] = left ? moved(delivery, { ...event, type: "delivery.dead", reason: "session_closed" }) : delivery;
  }
  const presence: Presence = { state: "away", since: event.at };
  return withSession({ ...view, deliveries }, { state: "closed", closed_at: event.at, presence, depth: 0, leased: 0 });
}

function accepted(view: View, event: Event): View {
  const message = event.message;
  if (message === undefined || message === null || view.messages.some((other) => other.id === message.id)) {
    return view;
  }
  const deliveries = { ...view.deliveries };
  for (const routed of event.deliveries ?? []) {
    deliveries[routed.id] = {
      id: routed.id,
      message_id: message.id,
      mailbox: routed.mailbox,
      state: "pending",
      attempt: 0,
      failures: 0,
      visible_at: message.deliver_at ?? event.at,
      ...(message.expires_at === undefined ? {} : { expires_at: message.expires_at }),
      receipts: { accepted: event.at },
      cancel_requested: false,
      message_gone: false,
      as_of: event.seq,
    };
  }
  const toAgent = message.to === agentSide(view.session.id);
  const session = {
    ...view.session,
    last_activity: event.at,
    depth: view.session.depth + (toAgent ? 1 : 0),
  };
  const messages = [...view.messages, bare(message)];
  return { ...view, session, messages, deliveries };
}

function redriven(view: View, event: Event): View {
  const old = view.deliveries[event.delivery_id ?? ""];
  const id = event.redriven_as;
  if (old === undefined || id === undefined) {
    return view;
  }
  const successor: Known = view.deliveries[id] ?? {
    id,
    message_id: old.message_id,
    mailbox: old.mailbox,
    state: "pending",
    attempt: 0,
    failures: 0,
    visible_at: event.at,
    receipts: { accepted: event.at },
    cancel_requested: false,
    message_gone: false,
    redrive_of: old.id,
    as_of: event.seq,
  };
  const deliveries = { ...view.deliveries, [old.id]: { ...old, redriven_as: id, as_of: event.seq }, [id]: successor };
  return withSession({ ...view, deliveries }, { depth: view.session.depth + 1 });
}

function onDelivery(view: View, event: Event): View {
  const delivery = view.deliveries[event.delivery_id ?? ""];
  if (delivery === undefined) {
    return counted({ ...view, unplaced: [...view.unplaced, event].slice(-UNPLACED_MAX) }, stateBefore(event), event);
  }
  if (event.seq <= delivery.as_of) {
    return view;
  }
  const deliveries = { ...view.deliveries, [delivery.id]: moved(delivery, event) };
  if (event.type === "delivery.progressed" && delivery.lease !== undefined && event.lease_until !== undefined) {
    // What was taken together is held as long: the event speaks for all of it.
    for (const other of Object.values(view.deliveries)) {
      if (other.id !== delivery.id && other.lease?.started_at === delivery.lease.started_at && other.lease.consumer === delivery.lease.consumer) {
        deliveries[other.id] = { ...other, lease: { ...other.lease, until: event.lease_until } };
      }
    }
  }
  return counted({ ...view, deliveries }, delivery.state, event);
}

/** Keeps the two numbers of the session that the log does not state: what waits and what is held. */
function counted(view: View, before: Delivery["state"] | undefined, event: Event): View {
  const after = stateAfter(event);
  const mailbox = view.deliveries[event.delivery_id ?? ""]?.mailbox;
  if (after === undefined || before === undefined || (mailbox !== undefined && mailbox !== agentSide(view.session.id))) {
    return view;
  }
  const step = (state: Delivery["state"]) => (after === state ? 1 : 0) - (before === state ? 1 : 0);
  const depth = Math.max(0, view.session.depth + step("pending"));
  const leased = Math.max(0, view.session.leased + step("leased"));
  return depth === view.session.depth && leased === view.session.leased ? view : withSession(view, { depth, leased });
}

function stateAfter(event: Event): Delivery["state"] | undefined {
  switch (event.type) {
    case "delivery.presented":
      return "leased";
    case "delivery.returned":
      return "pending";
    case "delivery.answered":
    case "delivery.settled":
    case "delivery.read":
      return "done";
    case "delivery.dead":
      return "dead";
    case "delivery.cancelled":
      return "cancelled";
    default:
      return undefined;
  }
}

/** The state that a delivery which is not loaded most likely came from. */
function stateBefore(event: Event): Delivery["state"] | undefined {
  switch (event.type) {
    case "delivery.presented":
    case "delivery.cancelled":
      return "pending";
    case "delivery.returned":
    case "delivery.answered":
    case "delivery.settled":
      return "leased";
    case "delivery.dead":
      return event.reason === "expired" || event.reason === "session_closed" ? "pending" : "leased";
    default:
      return undefined;
  }
}

/** The delivery after an event of its own. Events state what is so, not what changed. */
function moved(delivery: Known, event: Event): Known {
  const { lease, visible_at: _visible, returned: _returned, reason: _reason, ...rest } = delivery;
  const base: Known = { ...rest, as_of: event.seq };
  const receipts = delivery.receipts;
  switch (event.type) {
    case "message.visible":
      return { ...delivery, as_of: event.seq, visible_at: event.at };
    case "delivery.presented": {
      // A new lease has proven nothing yet: what was seen and said belongs to the one before it.
      const { seen: _seen, progressed: _progressed, ...earlier } = receipts;
      const { progress: _progress, ...fresh } = base;
      return {
        ...fresh,
        state: "leased",
        attempt: event.attempt ?? delivery.attempt + 1,
        lease: { consumer: event.consumer ?? "", started_at: event.at, until: event.lease_until ?? event.at },
        receipts: { ...earlier, presented: event.at },
      };
    }
    case "delivery.seen":
      return { ...delivery, as_of: event.seq, receipts: { ...receipts, seen: event.at } };
    case "delivery.progressed":
      return {
        ...delivery,
        as_of: event.seq,
        ...(event.text === undefined ? {} : { progress: event.text }),
        ...(lease === undefined ? {} : { lease: { ...lease, until: event.lease_until ?? lease.until } }),
        receipts: { ...receipts, seen: receipts.seen ?? event.at, progressed: event.at },
      };
    case "delivery.answered":
      return {
        ...base,
        state: "done",
        ...(event.reply_id === undefined ? {} : { reply_id: event.reply_id }),
        receipts: { ...receipts, seen: receipts.seen ?? event.at, answered: event.at, settled: event.at },
      };
    case "delivery.settled":
      return { ...base, state: "done", receipts: { ...receipts, settled: event.at } };
    case "delivery.read":
      return { ...base, state: "done", receipts: { ...receipts, read: event.at } };
    case "delivery.returned":
      return {
        ...idle(base),
        state: "pending",
        returned: (event.reason ?? "timeout") as ReturnReason,
        failures: event.failures ?? delivery.failures,
        visible_at: event.visible_at ?? event.at,
        ...(event.error === undefined ? {} : { last_error: event.error }),
      };
    case "delivery.dead":
      return {
        ...(event.reason === "rejected" || event.reason === "session_closed" ? base : idle(base)),
        state: "dead",
        reason: event.reason ?? "max_failures",
        // The event does not repeat the count: a lease that ended in this way was the last failure.
        failures: delivery.failures + (event.reason === "max_failures" && delivery.state === "leased" ? 1 : 0),
        ...(event.error === undefined ? {} : { last_error: event.error }),
        receipts: { ...receipts, dead: event.at },
      };
    case "delivery.cancelled":
      return { ...idle(base), state: "cancelled", receipts: { ...receipts, dead: event.at } };
    default:
      return { ...delivery, as_of: event.seq };
  }
}

/** A delivery that nobody works on: what was said of the work is over. */
function idle({ progress: _, ...delivery }: Known): Known {
  return delivery;
}
