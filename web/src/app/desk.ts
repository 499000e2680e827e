// Everything that lives as long as the page: the feed, the list, the outbox and the open conversation.

import { createContext, useContext, useSyncExternalStore } from "react";
import { type Api, api } from "../log/api";
import type { Conversation, Thread } from "../log/conversation";
import { type Connection, Feed } from "../log/feed";
import { Outbox, type Pending } from "../log/outbox";
import { type Rail, Sessions } from "../log/sessions";
import { Store } from "../log/store";
import { lineOf } from "../log/rows";
import type { Session } from "../log/wire";

export interface Desk {
  api: Api;
  feed: Feed;
  sessions: Sessions;
  outbox: Outbox;
  store: Store;
  /** Starts the feed after a cursor, or at the end of the log; the first call counts. */
  start: (cursor: string | undefined) => void;
}

const TITLE_MAX = 60;

export function openDesk(): Desk {
  const feed = new Feed();
  const store = new Store();
  const sessions = new Sessions(api, feed);
  const outbox = new Outbox(api, store, (_, entry) => {
    // A conversation without a title takes that of its first message, until somebody gives it another.
    const session = sessions.rail.sessions?.find((other) => other.id === entry.session);
    if (session !== undefined && session.title === null) {
      const line = lineOf({ text: entry.text } as Parameters<typeof lineOf>[0]).replace(/\p{Cc}+/gu, " ").trim();
      const title = line.length > TITLE_MAX ? `${line.slice(0, TITLE_MAX - 1)}…` : line;
      if (title !== "") {
        api.rename(session.id, title).catch(() => undefined);
      }
    }
  });
  // Whatever brought the stream back brings the messages through as well.
  feed.watch(() => feed.connection.phase === "live" && void outbox.flush());
  addEventListener("online", () => void outbox.flush());
  let started = false;
  const start = (cursor: string | undefined) => {
    if (!started) {
      started = true;
      feed.start(cursor);
      void sessions.load();
      void outbox.start();
    }
  };
  return { api, feed, sessions, outbox, store, start };
}

export const DeskContext = createContext<Desk | undefined>(undefined);

export function useDesk(): Desk {
  const desk = useContext(DeskContext);
  if (desk === undefined) {
    throw new Error("the page has no desk");
  }
  return desk;
}

export function useConnection(): Connection {
  const { feed } = useDesk();
  return useSyncExternalStore(feed.watch, () => feed.connection);
}

export function useRail(): Rail {
  const { sessions } = useDesk();
  return useSyncExternalStore(sessions.watch, () => sessions.rail);
}

export function useOutbox(): readonly Pending[] {
  const { outbox } = useDesk();
  return useSyncExternalStore(outbox.watch, () => outbox.entries);
}

const NO_THREAD: Thread = { view: undefined, missing: false, loadingOlder: false, trimmed: undefined };
const never = () => () => undefined;

export function useThread(conversation: Conversation | undefined): Thread {
  return useSyncExternalStore(conversation?.watch ?? never, () => conversation?.thread ?? NO_THREAD);
}

export const titleOf = (session: Pick<Session, "title">): string => session.title ?? "New conversation";
