// Messages on their way from this browser to the bridge. Each is kept under its idempotency key until the bridge has
// accepted it, and goes by itself: after a reload, after a time without connection, from whichever tab is there.

import { type Api, Refused } from "./api";
import { locks } from "./locks";
import type { Kept, Store } from "./store";
import type { Published } from "./wire";

export interface Pending extends Kept {
  /** `waiting` until the bridge is reached, `accepted` until the log shows it. */
  state: "sending" | "waiting" | "refused" | "accepted";
}

const FIRST_PAUSE_MS = 1_000;
const LONGEST_PAUSE_MS = 15_000;
const LOCK = "bridge-outbox";

export class Outbox {
  #api: Pick<Api, "send">;
  #store: Store;
  #entries: readonly Pending[] = [];
  #watchers = new Set<() => void>();
  #channel: BroadcastChannel | undefined;
  #running = false;
  #again = false;
  #reached = true;
  #failures = 0;
  #timer: ReturnType<typeof setTimeout> | undefined;
  #onAccepted: (published: Published, entry: Kept) => void;

  constructor(api: Pick<Api, "send">, store: Store, onAccepted: (published: Published, entry: Kept) => void = () => undefined) {
    this.#api = api;
    this.#store = store;
    this.#onAccepted = onAccepted;
    if ("BroadcastChannel" in globalThis) {
      this.#channel = new BroadcastChannel("bridge-outbox");
      this.#channel.onmessage = () => void this.#look();
    }
  }

  get entries(): readonly Pending[] {
    return this.#entries;
  }

  watch = (changed: () => void): (() => void) => {
    this.#watchers.add(changed);
    return () => this.#watchers.delete(changed);
  };

  /** Shows what was kept before and sends it. */
  async start(): Promise<void> {
    await this.#look();
    await this.flush();
  }

  /** Keeps the message, then sends it. Resolves when it is kept. */
  async add(session: string, text: string): Promise<void> {
    // Two messages of one moment keep their order.
    const at = Math.max(Date.now(), (this.#entries.at(-1)?.at ?? 0) + 1);
    const entry: Kept = { key: newKey(), session, text, at };
    this.#set([...this.#entries, { ...entry, state: this.#reached ? "sending" : "waiting" }]);
    try {
      await this.#store.keep(entry);
      this.#channel?.postMessage("changed");
    } catch {
      // Without a store (a private window may refuse it) the message lives as long as this tab.
    }
    void this.flush();
  }

  /** Takes back what was not accepted and gives its text. */
  async discard(key: string): Promise<string> {
    const text = this.#entries.find((entry) => entry.key === key)?.text ?? "";
    this.#set(this.#entries.filter((entry) => entry.key !== key));
    await this.#store.forget(key).catch(() => undefined);
    this.#channel?.postMessage("changed");
    return text;
  }

  /** The log shows these: from here on they are the thread's. */
  seen(keys: ReadonlySet<string>): void {
    const left = this.#entries.filter((entry) => !keys.has(entry.key));
    if (left.length !== this.#entries.length) {
      this.#entries.filter((entry) => keys.has(entry.key)).forEach((entry) => void this.#store.forget(entry.key).catch(() => undefined));
      this.#set(left);
    }
  }

  /** Sends what waits, oldest first. Only one tab does; the keys make it harmless where that cannot be arranged. */
  async flush(): Promise<void> {
    clearTimeout(this.#timer);
    if (this.#running) {
      this.#again = true;
      return;
    }
    this.#running = true;
    try {
      do {
        this.#again = false;
        await (locks()?.request(LOCK, () => this.#sendAll()) ?? this.#sendAll());
      } while (this.#again);
    } finally {
      this.#running = false;
    }
  }

  async #sendAll(): Promise<void> {
    // Another tab may have sent or discarded what this one still shows.
    await this.#look();
    for (const entry of this.#entries.filter((other) => other.state === "sending" || other.state === "waiting")) {
      try {
        const published = await this.#api.send(entry.session, entry.text, entry.key);
        this.#reached = true;
        this.#failures = 0;
        this.#state(entry.key, { state: "accepted" });
        this.#onAccepted(published, entry);
        await this.#store.forget(entry.key).catch(() => undefined);
        this.#channel?.postMessage("changed");
      } catch (error) {
        if (error instanceof Refused && !error.later) {
          const refused = { code: error.problem.code, title: error.problem.title };
          this.#state(entry.key, { state: "refused", refused });
          await this.#store.keep({ key: entry.key, session: entry.session, text: entry.text, at: entry.at, refused }).catch(() => undefined);
          this.#channel?.postMessage("changed");
          continue;
        }
        this.#reached = false;
        this.#set(this.#entries.map((other) => (other.state === "sending" ? { ...other, state: "waiting" } : other)));
        this.#tryLater(error instanceof Refused ? error.retryAfterMs : undefined);
        return;
      }
    }
  }

  #tryLater(stated: number | undefined): void {
    const full = Math.min(LONGEST_PAUSE_MS, FIRST_PAUSE_MS * 2 ** this.#failures);
    this.#failures += 1;
    this.#timer = setTimeout(() => void this.flush(), stated ?? full / 2 + (full / 2) * Math.random());
  }

  /** Brings what is shown in line with what is kept. */
  async #look(): Promise<void> {
    const kept = await this.#store.kept().catch(() => undefined);
    if (kept === undefined) {
      return;
    }
    const keys = new Set(kept.map((entry) => entry.key));
    const shown = new Map(this.#entries.map((entry) => [entry.key, entry]));
    const now = Date.now();
    const entries = kept.map((entry): Pending => {
      const state = entry.refused === undefined ? (this.#reached ? "sending" : "waiting") : "refused";
      return { ...entry, state: shown.get(entry.key)?.state === "accepted" ? "accepted" : state };
    });
    // What another tab has sent stays in sight until the log shows it here.
    const passing = this.#entries.filter((entry) => !keys.has(entry.key) && (entry.state === "accepted" || now - entry.at < 2_000));
    this.#set([...entries, ...passing].sort((a, b) => a.at - b.at));
  }

  #state(key: string, change: Partial<Pending>): void {
    this.#set(this.#entries.map((entry) => (entry.key === key ? { ...entry, ...change } : entry)));
  }

  #set(entries: readonly Pending[]): void {
    this.#entries = entries;
    this.#watchers.forEach((changed) => changed());
  }
}

/** A random key. `crypto.randomUUID` is missing on pages that came without TLS from another machine. */
export function newKey(): string {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
}
