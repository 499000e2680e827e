// Desktop notifications, only after the person has asked for them, and only for a page that is not in sight.

import { useEffect, useState } from "react";
import type { Feed } from "../log/feed";
import { lineOf } from "../log/rows";
import { agentName } from "../base/agent";
import { go } from "./route";

const KEY = "bridge-notify";
const FRESH_MS = 60_000;
export const canNotify = "Notification" in globalThis;

function asked(): boolean {
  try {
    return canNotify && Notification.permission === "granted" && localStorage.getItem(KEY) === "yes";
  } catch {
    return false;
  }
}

export function useNotifications(feed: Pick<Feed, "listen">, onDenied: () => void): readonly [boolean, () => void] {
  const [on, setOn] = useState(asked);
  useEffect(() => {
    if (!on) {
      return undefined;
    }
    return feed.listen({
      onReload: () => undefined,
      onEvent: ({ message, session }) => {
        const wanted = message?.to.endsWith("/user") === true && message.type !== "bounce";
        if (!wanted || document.visibilityState === "visible" || Date.now() - Date.parse(message.created_at) > FRESH_MS) {
          return;
        }
        // The tag makes it one notification, however many tabs there are.
        const note = new Notification(agentName(message.from), { body: lineOf(message).slice(0, 200), tag: message.id });
        note.onclick = () => {
          window.focus();
          go(session);
          note.close();
        };
      },
    });
  }, [feed, on]);
  const toggle = () => {
    const set = (next: boolean) => {
      setOn(next);
      try {
        localStorage.setItem(KEY, next ? "yes" : "no");
      } catch {
        // It holds until the page is closed.
      }
    };
    if (on) {
      set(false);
    } else {
      void Notification.requestPermission().then((answer) => {
        set(answer === "granted");
        if (answer === "denied") {
          onDenied();
        }
      });
    }
  };
  return [on, toggle];
}
