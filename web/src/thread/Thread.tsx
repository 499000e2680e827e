// The conversation, newest at the bottom. It stays at the bottom only if it was there.

import { type ReactNode, type RefObject, Suspense, useCallback, useEffect, useImperativeHandle, useLayoutEffect, useRef, useState } from "react";
import { Icon } from "../base/Icon";
import { later } from "../base/later";
import type { Pending } from "../log/outbox";
import type { Row } from "../log/rows";
import type { Presence } from "../log/wire";
import type { LongListHandle } from "./LongList";
import { Message, type MessageActions, Unsent } from "./Message";
import "./thread.css";

const LongList = later(() => import("./LongList"));

/** Up to so many messages all are in the page, where the browser can search them. */
const PLAIN_MAX = 120;
const NEAR_PX = 32;
/** Earlier messages are asked for before the reader has come to the first one. */
const AHEAD_PX = 400;

export interface ThreadHandle {
  toEnd: () => void;
  show: (message: string) => void;
}

interface Props {
  rows: readonly Row[];
  unsent: readonly Pending[];
  presence: Presence;
  chosen: string | undefined;
  actions: MessageActions;
  older: boolean;
  loadingOlder: boolean;
  onOlder: () => void;
  onBottom: (atBottom: boolean) => void;
  handle: RefObject<ThreadHandle | null>;
  children?: ReactNode;
}

/** A message keeps its key from the outbox on, so that it is not drawn anew when it is accepted. */
const keyOf = (row: Row) => (row.side === "user" ? row.message.correlation_id : undefined) ?? row.message.id;

export function Thread({ rows, unsent, presence, chosen, actions, older, loadingOlder, onOlder, onBottom, handle, children }: Props) {
  const scroller = useRef<HTMLDivElement>(null);
  const content = useRef<HTMLDivElement>(null);
  const long = useRef<LongListHandle>(null);
  const stuck = useRef(true);
  const [away, setAway] = useState(false);
  const [seenSeq, setSeenSeq] = useState(0);
  const virtual = rows.length > PLAIN_MAX;
  const last = rows.at(-1)?.message.seq ?? 0;
  const fresh = away ? rows.filter((row) => row.side === "agent" && row.message.seq > seenSeq).length : 0;

  /** The message at the upper edge, and how far from it: what has to stay there when something comes in above. */
  const edge = useRef<{ message: string; offset: number }>(undefined);
  const remember = useCallback(() => {
    const box = scroller.current;
    const top = box?.getBoundingClientRect().top ?? 0;
    const found = Array.from(box?.querySelectorAll<HTMLElement>("[data-message]") ?? []).find((line) => line.getBoundingClientRect().bottom > top);
    edge.current = found === undefined ? undefined : { message: found.dataset["message"] ?? "", offset: found.getBoundingClientRect().top - top };
  }, []);

  const toEnd = useCallback(() => {
    const box = scroller.current;
    if (box !== null) {
      stuck.current = true;
      box.scrollTop = box.scrollHeight;
    }
  }, []);

  useImperativeHandle(handle, () => ({
    toEnd,
    show: (message) => {
      const index = rows.findIndex((row) => row.message.id === message);
      if (virtual && index >= 0) {
        stuck.current = false;
        long.current?.show(index);
      }
      requestAnimationFrame(() => {
        const found = scroller.current?.querySelector<HTMLElement>(`[data-message="${CSS.escape(message)}"]`);
        found?.scrollIntoView({ block: "nearest" });
        found?.focus({ preventScroll: true });
      });
    },
  }));

  const onScroll = () => {
    const box = scroller.current;
    if (box === null) {
      return;
    }
    const atBottom = box.scrollHeight - box.scrollTop - box.clientHeight < NEAR_PX;
    if (atBottom === away) {
      setAway(!atBottom);
      setSeenSeq(last);
      onBottom(atBottom);
    }
    stuck.current = atBottom;
    remember();
    if (box.scrollTop < AHEAD_PX && older && !loadingOlder) {
      onOlder();
    }
  };

  // Whatever grows - a message, a rung, a picture of code - the end stays in sight if it was.
  useEffect(() => {
    const box = scroller.current;
    const inner = content.current;
    if (box === null || inner === null || typeof ResizeObserver === "undefined") {
      return undefined;
    }
    const observer = new ResizeObserver(() => stuck.current && toEnd());
    observer.observe(inner);
    observer.observe(box);
    return () => observer.disconnect();
  }, [toEnd]);

  // An older page comes in above: what is in sight stays where it is. A long list sees to that itself.
  const first = rows[0]?.message.id;
  useLayoutEffect(() => {
    const box = scroller.current;
    const was = edge.current;
    if (box === null) {
      return;
    }
    if (stuck.current) {
      box.scrollTop = box.scrollHeight;
    } else if (was !== undefined) {
      const found = box.querySelector<HTMLElement>(`[data-message="${CSS.escape(was.message)}"]`);
      if (found !== null) {
        box.scrollTop += found.getBoundingClientRect().top - box.getBoundingClientRect().top - was.offset;
      }
    }
  }, [first, last, unsent.length]);
  useEffect(() => {
    const box = scroller.current;
    if (box !== null && !stuck.current && box.scrollTop < AHEAD_PX && older && !loadingOlder) {
      onOlder();
    }
  }, [first, older, loadingOlder, onOlder]);

  const line = (row: Row) => <Message key={keyOf(row)} row={row} presence={presence} chosen={chosen === row.message.id} actions={actions} />;

  return (
    <div className="thread">
      {/* While the reader is further up, what scrolls into the page is old and nothing to announce. */}
      <div
        className="thread-scroll"
        ref={scroller}
        onScroll={onScroll}
        role="log"
        aria-label="Conversation"
        aria-live={away ? "off" : "polite"}
        aria-relevant="additions"
        aria-busy={loadingOlder}
        tabIndex={0}
      >
        <div className="thread-content" ref={content}>
          {older && (
            <button type="button" className="button quiet small thread-older" onClick={onOlder} disabled={loadingOlder}>
              {loadingOlder ? "Loading earlier messages" : "Earlier messages"}
            </button>
          )}
          {children}
          {virtual ? (
            <Suspense fallback={rows.map(line)}>
              <LongList rows={rows} keyOf={keyOf} line={line} scroller={scroller} handle={long} from={() => (stuck.current ? undefined : edge.current?.message)} />
            </Suspense>
          ) : (
            rows.map(line)
          )}
          {unsent.map((entry) => (
            <Unsent key={entry.key} entry={entry} actions={actions} />
          ))}
        </div>
      </div>
      {away && (
        <button type="button" className="button thread-new" onClick={toEnd}>
          <Icon name="down" />
          {fresh === 0 ? "Latest" : `${fresh} new`}
        </button>
      )}
    </div>
  );
}
