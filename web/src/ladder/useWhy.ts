// Asks the bridge why a message does not move: when that is shown, when the message has moved, and when the answer says
// that it changes; never on a beat.

import { useEffect, useState } from "react";
import type { Known } from "../log/view";
import type { Presence, Why } from "../log/wire";
import { ms } from "../base/time";
import { PATIENCE_MS, standsSince } from "./why";

/** The least pause between two questions, whatever the answers say. */
const PAUSE_MS = 1_000;
/** The longest time that a browser waits for. */
const LONGEST_MS = 2_147_483_647;

export type AskWhy = (delivery: string) => Promise<Why>;

/** Why this delivery stands still; nothing while it does not, or while nobody knows. */
export function useWhy(ask: AskWhy, delivery: Known, presence: Presence): Why | undefined {
  const [answer, setAnswer] = useState<{ of: string; why: Why }>();
  const since = standsSince(delivery);
  // Another state of the delivery, or of who takes it, may have another reason.
  const of = `${delivery.id} ${delivery.as_of} ${presence.state} ${presence.since}`;
  useEffect(() => {
    if (since === undefined) {
      return;
    }
    let timer: ReturnType<typeof setTimeout>;
    let current = true;
    const later = (delay: number) => {
      timer = setTimeout(() => {
        ask(delivery.id).then(
          (why) => {
            if (!current) {
              return;
            }
            setAnswer({ of, why });
            const left = why.until === undefined ? 0 : ms(why.until) - Date.now();
            // A time that is over already tells of what happens now: the log will say it.
            if (left > 0 && left < LONGEST_MS) {
              later(Math.max(left, PAUSE_MS));
            }
          },
          // Who cannot be told why still sees the rung.
          () => current && setAnswer(undefined),
        );
      }, delay);
    };
    later(Math.max(0, since + PATIENCE_MS - Date.now()));
    return () => {
      current = false;
      clearTimeout(timer);
    };
  }, [ask, delivery.id, since, of]);
  return since !== undefined && answer?.of === of ? answer.why : undefined;
}
