// The rail's conversations: a list from the server, kept fresh by events. Counts are never reckoned here; what an event
// may have changed in number is asked for again.

import { type Api, Refused } from "./api";
import type { Feed } from "./feed";
import type { Event, Session } from "./wire";

export interface Rail {
  readonly sessions: readonly Session[] | undefined;
  readonly more: string | null;
}

const SETTLE_MS = 250;
const AGAIN_MS = 2_000;

/** What changes a number, or who works. */
const COUNTED = new Set([
  "message.accepted",
  "session.closed",
  "delivery.presented",
  "delivery.answered",
  "delivery.settled",
  "delivery.returned",
  "delivery.dead",
  "delivery.cancelled",
  "delivery.read",
]);

/** The list after an event, as far as the event itself says what is so. */
export function reduceRail(sessions: readonly Session[], event: Event): readonly Session[] {
  const id = event.session;
  if (id === undefined) {
    return sessions;
  }
  if (event.type === "session.opened") {
    return sessions.some((session) => session.id === id) ? sessions : [opened(id, event), ...sessions];
  }
  const found = sessions.find((session) => session.id === id);
  const next = found === undefined ? undefined : changed(found, event);
  if (found === undefined || next === undefined || next === found) {
    return sessions;
  }
  return sorted(sessions.map((session) => (session === found ? next : session)));
}

function opened(id: string, event: Event): Session {
  return {
    id,
    title: event.title ?? null,
    state: "open",
    created_at: event.at,
    last_activity: event.at,
    depth: 0,
    leased: 0,
    unread: 0,
    presence: { state: "away", since: event.at },
  };
}

function changed(session: Session, event: Event): Session {
  switch (event.type) {
    case "session.renamed":
      return { ...session, title: event.title ?? null };
    case "session.closed":
      return { ...session, state: "closed", closed_at: event.at };
    case "presence.changed":
      return event.presence === undefined ? session : { ...session, presence: event.presence };
    case "message.accepted": {
      const message = event.message;
      if (!message || message.type === "bounce" || (session.last_message?.seq ?? -1) >= message.seq) {
        return session;
      }
      return { ...session, last_message: message, last_activity: event.at };
    }
    default:
      return session;
  }
}

/** Newest activity first, as the server lists them. */
function sorted(sessions: readonly Session[]): readonly Session[] {
  return [...sessions].sort((a, b) => (a.last_activity < b.last_activity ? 1 : a.last_activity > b.last_activity ? -1 : 0));
}

export class Sessions {
  #api: Api;
  #rail: Rail = { sessions: undefined, more: null };
  #watchers = new Set<() => void>();
  #stale = new Set<string>();
  #timer: ReturnType<typeof setTimeout> | undefined;
  #again: ReturnType<typeof setTimeout> | undefined;

  constructor(api: Api, feed: Pick<Feed, "listen">) {
    this.#api = api;
    feed.listen({ onEvent: (event) => this.#onEvent(event), onReload: () => void this.load() });
  }

  get rail(): Rail {
    return this.#rail;
  }

  watch = (changed: () => void): (() => void) => {
    this.#watchers.add(changed);
    return () => this.#watchers.delete(changed);
  };

  async load(): Promise<void> {
    clearTimeout(this.#again);
    try {
      const page = await this.#api.sessions();
      this.#set({ sessions: sorted(page.data), more: page.next_cursor });
    } catch {
      clearTimeout(this.#again);
      this.#again = setTimeout(() => void this.load(), AGAIN_MS);
    }
  }

  async loadMore(): Promise<void> {
    const page = await this.#api.sessions(this.#rail.more);
    const have = this.#rail.sessions ?? [];
    const fresh = page.data.filter((session) => have.every((other) => other.id !== session.id));
    this.#set({ sessions: sorted([...have, ...fresh]), more: page.next_cursor });
  }

  /** Puts what a call has answered into the list, before the log tells the same. */
  put(session: Session): void {
    const { instructions: _, dashboard_url: __, ...row } = session;
    const others = (this.#rail.sessions ?? []).filter((other) => other.id !== row.id);
    this.#set({ sessions: sorted([row, ...others]), more: this.#rail.more });
  }

  #onEvent(event: Event): void {
    if (this.#rail.sessions !== undefined) {
      this.#set({ sessions: reduceRail(this.#rail.sessions, event), more: this.#rail.more });
    }
    if (event.session !== undefined && COUNTED.has(event.type)) {
      this.#stale.add(event.session);
      this.#timer ??= setTimeout(() => void this.#refresh(), SETTLE_MS);
    }
  }

  async #refresh(): Promise<void> {
    this.#timer = undefined;
    const stale = [...this.#stale];
    this.#stale.clear();
    if (stale.length > 5) {
      return this.load();
    }
    for (const id of stale) {
      try {
        const fresh = await this.#api.session(id);
        const last = fresh.last_message ?? this.#rail.sessions?.find((session) => session.id === id)?.last_message;
        this.put(last === undefined ? fresh : { ...fresh, last_message: last });
      } catch (error) {
        if (!(error instanceof Refused)) {
          return; // The stream is down as well; when it returns, later events ask again.
        }
      }
    }
  }

  #set(rail: Rail): void {
    if (rail.sessions !== this.#rail.sessions || rail.more !== this.#rail.more) {
      this.#rail = rail;
      this.#watchers.forEach((changed) => changed());
    }
  }
}
