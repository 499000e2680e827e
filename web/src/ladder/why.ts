// Why a message does not move, in the words of the page: what the bridge says of it, in the reader's time.

import { agentName } from "../base/agent";
import { atTime, ms, span } from "../base/time";
import type { Known } from "../log/view";
import type { Time, Why } from "../log/wire";

/** How long a message may stand still before anybody asks why. */
export const PATIENCE_MS = 5_000;

/** Since when a message stands still, if it does: nobody has it, or who has it has shown no sign of life. */
export function standsSince(delivery: Known): number | undefined {
  const { receipts, lease } = delivery;
  if (delivery.state === "leased") {
    const begun = ms(lease?.started_at ?? receipts.presented ?? receipts.accepted);
    const lives = [receipts.seen, receipts.progressed].some((time) => time !== undefined && ms(time) >= begun);
    return lives ? undefined : begun;
  }
  if (delivery.state === "pending") {
    return Math.max(ms(receipts.accepted), ms(receipts.presented ?? receipts.accepted), ms(delivery.visible_at ?? receipts.accepted));
  }
  return undefined;
}

/** The reason as a sentence; none if there is nothing to say. */
export function sentence(why: Why, now: number): string | undefined {
  const at = (time: Time | undefined) => (time === undefined ? "" : atTime(ms(time), now));
  const until = why.until === undefined ? "" : ` until ${at(why.until)}`;
  const name = agentName(why.consumer);
  switch (why.reason) {
    case "leased":
      return `${name} has it${until}; then it is handed out again.`;
    case "scheduled":
      return `It is held back${until}.`;
    case "backoff":
      return `It came back, and goes out again ${again(why, now)}.`;
    case "paused":
      return `Paused by ${why.by ?? "somebody"} since ${at(why.since)}.`;
    case "behind":
      return behind(why, name, now);
    case "no_consumer":
      return `Nobody has asked for messages since ${at(why.since)}.`;
    case "no_credit":
      return `${name} holds as many messages as it may.`;
    case "filtered":
      return "Those who ask want other types of messages.";
    case "turn":
      return "It goes out as soon as the agent asks again.";
    case "ending":
      return "It is about to be taken back.";
    case "over":
    case "unread":
      return undefined;
    default:
      // A reason that this page does not know yet: the bridge has words of its own.
      return why.text === "" ? undefined : `${why.text.charAt(0).toUpperCase()}${why.text.slice(1)}.`;
  }
}

function behind(why: Why, name: string, now: number): string {
  switch (why.head_reason) {
    case "leased":
      return `It waits for the message before it, which ${name} has.`;
    case "backoff":
      return `It waits for the message before it, which goes out again ${again(why, now)}.`;
    default:
      return "It waits for the message before it, which goes out first.";
  }
}

function again(why: Why, now: number): string {
  const left = why.until === undefined ? 0 : ms(why.until) - now;
  return left > 0 ? `in ${span(Math.ceil(left / 1000) * 1000)}` : "at once";
}
