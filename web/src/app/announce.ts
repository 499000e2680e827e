// Says once, to those who listen to the page, that a message has reached another rung.

import { useEffect, useRef, useState } from "react";
import { rung } from "../ladder/rung";
import type { Row } from "../log/rows";
import type { Known } from "../log/view";
import type { Presence } from "../log/wire";
import { lineOf } from "../log/rows";

/** What must change for a rung to be another one; the countdown in its words must not. */
const standing = (delivery: Known) =>
  [delivery.id, delivery.state, delivery.attempt, delivery.receipts.seen !== undefined, delivery.progress ?? ""].join("/");

export function useAnnounced(rows: readonly Row[], presence: Presence | undefined): string {
  const known = useRef(new Map<string, string>());
  const [said, setSaid] = useState("");
  useEffect(() => {
    const first = known.current.size === 0;
    for (const row of rows) {
      const { delivery, message } = row;
      if (delivery === undefined || presence === undefined) {
        continue;
      }
      const now = standing(delivery);
      if (known.current.get(message.id) !== now) {
        known.current.set(message.id, now);
        if (!first) {
          setSaid(`${lineOf(message).slice(0, 40)}: ${rung(delivery, presence, Date.now()).words}`);
        }
      }
    }
  }, [rows, presence]);
  return said;
}
