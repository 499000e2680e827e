import type { MouseEvent } from "react";
import { presenceWords } from "../ladder/rung";
import { titleOf } from "../app/desk";
import { pathOf } from "../app/route";
import { Icon } from "../base/Icon";
import { useNow } from "../base/now";
import { ago, inFull, ms } from "../base/time";
import { lineOf } from "../log/rows";
import type { Session } from "../log/wire";
import "./rail.css";

interface Props {
  sessions: readonly Session[] | undefined;
  current: string | undefined;
  more: boolean;
  onMore: () => void;
  onOpen: (id: string) => void;
  onNew: () => void;
}

/** The conversations, newest first. */
export function Rail({ sessions, current, more, onMore, onOpen, onNew }: Props) {
  return (
    <nav className="rail" aria-label="Conversations">
      <div className="rail-head">
        <h2>Conversations</h2>
        <button type="button" className="button quiet icon-only" onClick={onNew} aria-label="New conversation" title="New conversation (n)">
          <Icon name="plus" />
        </button>
      </div>
      <ul className="rail-list">
        {(sessions ?? []).map((session) => (
          <Line key={session.id} session={session} current={session.id === current} onOpen={onOpen} />
        ))}
        {more && (
          <li>
            <button type="button" className="button quiet small rail-more" onClick={onMore}>
              Earlier conversations
            </button>
          </li>
        )}
      </ul>
    </nav>
  );
}

function Line({ session, current, onOpen }: { session: Session; current: boolean; onOpen: (id: string) => void }) {
  const now = useNow(10_000);
  const at = ms(session.last_activity);
  const closed = session.state === "closed";
  const presence = closed ? { state: "closed", words: "Closed" } : presenceWords(session.presence, now);
  const last = session.last_message;
  const mine = last?.to.endsWith("/agent") === true;
  const open = (event: MouseEvent) => {
    if (!event.metaKey && !event.ctrlKey && !event.shiftKey && event.button === 0) {
      event.preventDefault();
      onOpen(session.id);
    }
  };
  return (
    <li>
      <a className={`rail-line${current ? " rail-line-current" : ""}${closed ? " rail-line-closed" : ""}${session.unread > 0 && !current ? " rail-line-unread" : ""}`} href={pathOf(session.id)} onClick={open} aria-current={current ? "page" : undefined}>
        <span className={`state state-${presence.state}`} title={presence.words}>
          <span className="off-screen">{presence.words}.</span>
        </span>
        <span className="rail-title" dir="auto">
          {titleOf(session)}
        </span>
        <time className="rail-time" dateTime={session.last_activity} title={inFull(at)}>
          {ago(at, now)}
        </time>
        <span className="rail-last" dir="auto">
          {last === undefined ? (closed ? "Closed" : "Nothing said yet") : last.type === "bounce" ? "A message was not answered" : `${mine ? "You: " : ""}${lineOf(last)}`}
        </span>
        {/* What is unread in the open conversation shows in the thread. */}
        {session.unread > 0 && !current && (
          <span className="unread">
            {session.unread > 99 ? "99+" : session.unread}
            <span className="off-screen"> unread</span>
          </span>
        )}
      </a>
    </li>
  );
}
