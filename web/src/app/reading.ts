// Tells the bridge what the person has seen: only what was on the screen, at the end of the thread, in a visible page.

import { useEffect, useRef, useSyncExternalStore } from "react";
import type { Api } from "../log/api";
import { type View, userSide } from "../log/view";

const SETTLE_MS = 400;

export function useVisible(): boolean {
  return useSyncExternalStore(
    (changed) => {
      document.addEventListener("visibilitychange", changed);
      return () => document.removeEventListener("visibilitychange", changed);
    },
    () => document.visibilityState === "visible",
  );
}

/** The place of the newest message to the person that is not marked as read; 0 if there is none. */
export function unreadUpTo(view: View): number {
  const mailbox = userSide(view.session.id);
  const waiting = new Set(
    Object.values(view.deliveries)
      .filter((delivery) => delivery.mailbox === mailbox && delivery.state === "pending")
      .map((delivery) => delivery.message_id),
  );
  return view.messages.reduce((top, message) => (waiting.has(message.id) ? Math.max(top, message.seq) : top), 0);
}

export function useReading(api: Pick<Api, "read">, view: View | undefined, atBottom: boolean): void {
  const visible = useVisible();
  const told = useRef({ session: "", seq: 0 });
  const top = view === undefined ? 0 : unreadUpTo(view);
  const session = view?.session.id ?? "";
  const cursor = view?.cursor ?? "";
  useEffect(() => {
    if (told.current.session !== session) {
      told.current = { session, seq: 0 };
    }
    if (!visible || !atBottom || top <= told.current.seq) {
      return undefined;
    }
    const timer = setTimeout(() => {
      const before = told.current.seq;
      told.current.seq = top;
      api.read(session, cursor).catch(() => {
        told.current.seq = before;
      });
    }, SETTLE_MS);
    return () => clearTimeout(timer);
    // A later cursor alone is no reason to start the pause again.
  }, [api, session, top, visible, atBottom]);
}
