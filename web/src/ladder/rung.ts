// The newest rung of a message, in words: what is proven to have happened to it, and what the person can do.

import { agentName } from "../base/agent";
import { atTime, lasting, ms, span } from "../base/time";
import type { Pending } from "../log/outbox";
import type { Known } from "../log/view";
import type { Presence } from "../log/wire";

export type Glyph = "sending" | "accepted" | "presented" | "seen" | "working" | "answered" | "waiting" | "returned" | "ended";
export type Tone = "calm" | "busy" | "good" | "warn" | "bad";
export type Step = "connect" | "new" | "redrive" | "edit" | "retry";

export interface Rung {
  glyph: Glyph;
  tone: Tone;
  words: string;
  /** What the person can do about it. */
  step?: Step;
  /** When it came to be so. */
  at: number;
  /** Whether the words change with the time. */
  ticks?: boolean;
}

/** Charged returns until a message is given up, on the agent's side. */
export const ATTEMPTS = 5;
const UNTAKEN_MS = 10 * 60_000;

/** The rung of a message that is only in this browser. */
export function outboxRung(entry: Pending, now: number): Rung {
  const at = entry.at;
  if (entry.state === "accepted") {
    return { glyph: "accepted", tone: "calm", words: "accepted", at };
  }
  if (entry.state === "refused") {
    return entry.refused?.code === "session_closed"
      ? { glyph: "ended", tone: "bad", words: "Refused: the conversation is closed.", step: "new", at }
      : { glyph: "ended", tone: "bad", words: `Refused: ${lower(entry.refused?.title ?? "the bridge would not take it")}.`, step: "edit", at };
  }
  // A message just written is on its way, even if the one before it did not get through.
  return entry.state === "sending" || now - at < 1_000
    ? { glyph: "sending", tone: "calm", words: "sending", at }
    : { glyph: "waiting", tone: "warn", words: "Not sent: no connection. It stays here and goes by itself.", at };
}

/** The rung of a delivery. */
export function rung(delivery: Known, presence: Presence, now: number): Rung {
  const { receipts } = delivery;
  switch (delivery.state) {
    case "leased":
      return leased(delivery);
    case "done":
      return receipts.answered === undefined
        ? { glyph: "presented", tone: "calm", words: "done, without an answer", at: ms(receipts.settled ?? receipts.accepted) }
        : {
            glyph: "answered",
            tone: "good",
            words: `answered in ${span(ms(receipts.answered) - ms(receipts.accepted))}`,
            at: ms(receipts.answered),
          };
    case "dead":
      return dead(delivery, now);
    case "cancelled":
      return { glyph: "ended", tone: "calm", words: "Taken back before it was answered.", step: "redrive", at: ms(receipts.dead ?? receipts.accepted) };
    case "pending":
      return delivery.attempt === 0 ? untaken(delivery, presence, now) : returned(delivery, now);
  }
}

function leased(delivery: Known): Rung {
  const { receipts, lease } = delivery;
  const begun = ms(lease?.started_at ?? receipts.presented ?? receipts.accepted);
  const since = (time: string | undefined) => time !== undefined && ms(time) >= begun;
  if (delivery.cancel_requested) {
    return { glyph: "waiting", tone: "calm", words: "Asked back; the agent still has it.", at: begun };
  }
  if (since(receipts.progressed)) {
    const words = delivery.progress === undefined ? "working" : `working: “${delivery.progress}”`;
    return { glyph: "working", tone: "busy", words, at: ms(receipts.progressed ?? receipts.accepted) };
  }
  return since(receipts.seen)
    ? { glyph: "seen", tone: "calm", words: "seen", at: ms(receipts.seen ?? receipts.accepted) }
    : { glyph: "presented", tone: "calm", words: "presented", at: begun };
}

function untaken(delivery: Known, presence: Presence, now: number): Rung {
  const { accepted } = delivery.receipts;
  const visible = ms(delivery.visible_at ?? accepted);
  const at = ms(accepted);
  if (visible > now && visible > at) {
    return { glyph: "waiting", tone: "calm", words: `accepted, to be handed out at ${atTime(visible, now)}`, at, ticks: true };
  }
  const waited = now - Math.max(visible, at);
  if (waited >= UNTAKEN_MS && presence.state !== "working") {
    const words = `Nobody has taken it for ${lasting(waited)}.`;
    return { glyph: "waiting", tone: "warn", words, step: "connect", at, ticks: true };
  }
  return { glyph: "accepted", tone: "calm", words: "accepted", at, ticks: true };
}

function returned(delivery: Known, now: number): Rung {
  const due = ms(delivery.visible_at ?? delivery.receipts.accepted);
  const left = Math.ceil((due - now) / 1000);
  const next = delivery.failures === 0 ? "" : ` (attempt ${Math.min(delivery.failures + 1, ATTEMPTS)} of ${ATTEMPTS})`;
  const again = left > 0 ? `Handed out again in ${span(left * 1000)}${next}.` : `It waits to be handed out again${next}.`;
  const rung = { glyph: "returned", tone: "warn", at: ms(delivery.receipts.presented ?? delivery.receipts.accepted), ticks: true } as const;
  switch (delivery.returned) {
    case "nack":
      return { ...rung, words: `The agent could not do it${said(delivery.last_error)}. ${again}` };
    case "release":
      return { ...rung, tone: "calm", words: left > 0 ? `The agent put it back. ${again}` : "The agent put it back. It waits to be handed out again." };
    case "answer_lost":
      return { ...rung, words: `It did not reach the agent. ${again}` };
    default:
      return { ...rung, words: `The agent took it and fell silent. ${again}` };
  }
}

function dead(delivery: Known, now: number): Rung {
  const at = ms(delivery.receipts.dead ?? delivery.receipts.accepted);
  const rung = { glyph: "ended", tone: "bad", step: "redrive", at } as const;
  switch (delivery.reason) {
    case "max_failures": {
      const attempts = Math.max(delivery.failures, 1);
      const why = delivery.last_error === undefined ? ": the agent stopped each time" : `: the agent stopped each time, at last with “${delivery.last_error}”`;
      return { ...rung, words: `Given up after ${attempts} attempt${attempts === 1 ? "" : "s"}${why}.` };
    }
    case "rejected":
      return { ...rung, words: `The agent declined${said(delivery.last_error)}.` };
    case "expired":
      return { ...rung, words: `Expired unanswered at ${atTime(at, now)}.` };
    case "session_closed":
      return { ...rung, words: "The conversation was closed before it was answered.", step: "new" };
    case "too_many_releases":
      return { ...rung, words: "Given up: the agent put it back too many times." };
    default:
      return { ...rung, words: `Given up: ${delivery.reason ?? "the reason is not known"}.` };
  }
}

const said = (error: string | undefined) => (error === undefined || error === "" ? "" : `: “${error}”`);
const lower = (sentence: string) => sentence.charAt(0).toLowerCase() + sentence.slice(1).replace(/\.$/, "");

/** What the composer says will happen to the next message. */
export function outlook(at: { live: boolean; kept: number; closed: boolean; presence: Presence; waiting: number; now: number }): string {
  const before = at.waiting === 0 ? "" : ` (${at.waiting} before it)`;
  if (!at.live) {
    return at.kept === 0 ? "Offline; what you send is kept here" : `Offline; ${at.kept} message${at.kept === 1 ? "" : "s"} kept here`;
  }
  if (at.closed) {
    return "This conversation is closed";
  }
  const name = agentName(at.presence.consumer);
  switch (at.presence.state) {
    case "online":
      return `${name} is listening${before}`;
    case "working":
      return `${name} is working; your message waits its turn${before}`;
    case "away":
      return `No agent is connected; your message waits${before}`;
  }
}

/** The agent's presence, for the header. */
export function presenceWords(presence: Presence, now: number): { state: "online" | "working" | "away" | "none"; words: string } {
  const name = agentName(presence.consumer);
  if (presence.state === "working") {
    return { state: "working", words: `${name} is working` };
  }
  if (presence.state === "online") {
    return { state: "online", words: `${name} is listening` };
  }
  if (presence.consumer === undefined) {
    return { state: "none", words: "No agent yet" };
  }
  return { state: "away", words: `${name} left ${agoWords(now - ms(presence.since), ms(presence.since), now)}` };
}

function agoWords(past: number, at: number, now: number): string {
  return past < 60_000 ? "just now" : past < 3_600_000 ? `${lasting(past)} ago` : `at ${atTime(at, now)}`;
}
