// The thread's lines, derived from the view: each message with how it fares, and each answer with what it answers.

import type { Message } from "./wire";
import { type Known, type View, agentSide, userSide } from "./view";

export interface Row {
  readonly message: Message;
  readonly side: "user" | "agent";
  /** The newest delivery to the agent; an older one may have been sent again as this one. */
  readonly delivery: Known | undefined;
  /** Of an answer: what it answers, if that is loaded. */
  readonly asked: Message | undefined;
  /** Of an answer: its ordinal among the answers to the same message, from 1. */
  readonly ordinal: number;
  /** Of an answer: whether other messages stand between it and its question. */
  readonly apart: boolean;
  readonly removed: boolean;
  /** Whether it is the first of its day. */
  readonly newDay: boolean;
  /** Whether it is the first of all. */
  readonly opens: boolean;
  /** Of what an agent says: whether it goes on from the line before, so that the name need not be repeated. */
  readonly follows: boolean;
}

/** Two things that an agent says within this time belong together. */
const PAUSE_MS = 5 * 60_000;

/** The lines of a view, oldest first. Bounces are left out: the ladder of the message they speak of says the same. */
export function rows(view: View, previous: readonly Row[] = []): readonly Row[] {
  const toAgent = agentSide(view.session.id);
  const toUser = userSide(view.session.id);
  const newest = new Map<string, Known>();
  for (const delivery of Object.values(view.deliveries)) {
    if (delivery.mailbox === toAgent && delivery.redriven_as === undefined) {
      newest.set(delivery.message_id, delivery);
    }
  }
  const byId = new Map(view.messages.map((message) => [message.id, message]));
  const answers = new Map<string, number>();
  const before = new Map(previous.map((row) => [row.message.id, row]));
  const lines: Row[] = [];
  let asked = "";
  let day = "";
  let last: Message | undefined;
  for (const message of view.messages) {
    const side = message.to === toAgent ? "user" : "agent";
    if (message.type === "bounce" || (message.to !== toAgent && message.to !== toUser)) {
      continue;
    }
    const question = message.reply_to;
    const ordinal = question === undefined ? 0 : (answers.get(question) ?? 0) + 1;
    if (question !== undefined) {
      answers.set(question, ordinal);
    }
    const today = new Date(message.created_at).toDateString();
    const apart = question !== undefined && question !== asked;
    const follows =
      side === "agent" &&
      last?.to === toUser &&
      last.from === message.from &&
      today === day &&
      !apart &&
      ordinal <= 1 &&
      Date.parse(message.created_at) - Date.parse(last.created_at) < PAUSE_MS;
    const row: Row = {
      message,
      side,
      delivery: newest.get(message.id),
      asked: question === undefined ? undefined : byId.get(question),
      ordinal,
      apart,
      removed: view.removed.has(message.id),
      newDay: today !== day,
      opens: lines.length === 0 && view.older === null,
      follows,
    };
    day = today;
    last = message;
    asked = side === "user" ? message.id : asked;
    const old = before.get(message.id);
    lines.push(old !== undefined && same(old, row) ? old : row);
  }
  return lines;
}

/** Lines that did not change keep their identity, so that only what changed is drawn again. */
function same(a: Row, b: Row): boolean {
  return (Object.keys(b) as (keyof Row)[]).every((name) => a[name] === b[name]);
}

/** The content of a message as text. */
export function textOf(message: Message): string {
  if (message.text !== undefined) {
    return message.text;
  }
  if (message.payload_base64 !== undefined) {
    return `${Math.floor((message.payload_base64.length * 3) / 4)} bytes that are not text`;
  }
  return message.payload === undefined ? "" : `\`\`\`json\n${JSON.stringify(message.payload, null, 2)}\n\`\`\``;
}

/** The first line of a message, for lists and quotes. */
export function lineOf(message: Message): string {
  return (
    textOf(message)
      .replace(/```[a-z]*\n?/g, "")
      .split("\n")
      .map((line) => line.replace(/^[#>\-*\s]+/, "").replace(/[*_`]/g, ""))
      .find((line) => line.trim() !== "") ?? ""
  );
}
