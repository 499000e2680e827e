// One open conversation: a snapshot, the events after it, and older pages when they are asked for.

import { type Api, Refused } from "./api";
import type { Feed } from "./feed";
import { type View, begin, prepend, recall, reduce } from "./view";
import { type Event, type GapReason, logOf, seqOf } from "./wire";

export interface Thread {
  readonly view: View | undefined;
  /** Why there is no view and will be none. */
  readonly missing: boolean;
  readonly loadingOlder: boolean;
  /** What a reload found out: what was before is no longer there. */
  readonly trimmed: GapReason | undefined;
}

const NOTHING: Thread = { view: undefined, missing: false, loadingOlder: false, trimmed: undefined };
const AGAIN_MS = 2_000;
const RECALLED_MAX = 10;

export class Conversation {
  readonly id: string;
  #api: Api;
  #thread: Thread = NOTHING;
  #watchers = new Set<() => void>();
  /** Events that came while a snapshot was on its way. */
  #early: Event[] | undefined = [];
  #unlisten: () => void;
  #again: ReturnType<typeof setTimeout> | undefined;
  #ended = false;
  #loads = 0;

  constructor(id: string, api: Api, feed: Pick<Feed, "listen">) {
    this.id = id;
    this.#api = api;
    this.#unlisten = feed.listen({ onEvent: (event) => this.#onEvent(event), onReload: (reason) => void this.load(reason) });
  }

  get thread(): Thread {
    return this.#thread;
  }

  watch = (changed: () => void): (() => void) => {
    this.#watchers.add(changed);
    return () => this.#watchers.delete(changed);
  };

  /** Loads what is there now and gives its cursor; tries again until there is an answer. */
  async load(reason?: GapReason): Promise<string | undefined> {
    const load = ++this.#loads;
    clearTimeout(this.#again);
    this.#early ??= [];
    try {
      const snapshot = await this.#api.messages(this.id);
      if (this.#ended || load !== this.#loads) {
        return undefined;
      }
      const before = this.#thread.view;
      let view = begin(snapshot);
      const oldest = before?.messages[0];
      const lost = reason !== undefined && oldest !== undefined && snapshot.next_cursor === null && snapshot.data.every((m) => m.id !== oldest.id);
      for (const event of this.#early ?? []) {
        view = reduce(view, event);
      }
      this.#early = undefined;
      this.#set({ view, missing: false, trimmed: lost ? reason : this.#thread.trimmed });
      void this.#recall(view);
      return view.cursor;
    } catch (error) {
      if (this.#ended || load !== this.#loads) {
        return undefined;
      }
      if (error instanceof Refused && !error.later) {
        this.#set({ missing: true });
        return undefined;
      }
      return new Promise((resolve) => {
        this.#again = setTimeout(() => resolve(this.load(reason)), AGAIN_MS);
      });
    }
  }

  /** Asks why the few deliveries that went back to their mailbox did so: a snapshot does not say. */
  async #recall(view: View): Promise<void> {
    const returned = Object.values(view.deliveries).filter((delivery) => delivery.returned !== undefined);
    for (const { id } of returned.slice(0, RECALLED_MAX)) {
      const full = await this.#api.delivery(id).catch(() => undefined);
      if (full !== undefined && !this.#ended && this.#thread.view !== undefined) {
        this.#set({ view: recall(this.#thread.view, full) });
      }
    }
  }

  async loadOlder(): Promise<void> {
    const older = this.#thread.view?.older;
    if (older === undefined || older === null || this.#thread.loadingOlder) {
      return;
    }
    this.#set({ loadingOlder: true });
    try {
      const page = await this.#api.messages(this.id, older);
      const view = this.#thread.view;
      if (!this.#ended && view !== undefined && view.older === older) {
        this.#set({ view: prepend(view, page) });
      }
    } catch {
      // The next look upwards tries again.
    } finally {
      this.#set({ loadingOlder: false });
    }
  }

  end(): void {
    this.#ended = true;
    clearTimeout(this.#again);
    this.#unlisten();
  }

  #onEvent(event: Event): void {
    if (event.session !== undefined && event.session !== this.id) {
      return;
    }
    if (this.#early !== undefined) {
      this.#early.push(event);
    }
    const view = this.#thread.view;
    if (view === undefined) {
      return;
    }
    if (logOf(view.cursor) !== logOf(event.cursor)) {
      void this.load("other_log");
      return;
    }
    if (event.seq > seqOf(view.cursor)) {
      this.#set({ view: reduce(view, event) });
    }
  }

  #set(change: Partial<Thread>): void {
    this.#thread = { ...this.#thread, ...change };
    this.#watchers.forEach((changed) => changed());
  }
}
