// The log as it grows, once for all tabs: a browser opens few connections to one server, and each open stream takes one.
// The tab that holds the lock follows the log and tells the others. When it goes, the next one goes on from where it is.

import { locks } from "./locks";
import { follow } from "./stream";
import { type Event, type GapReason, logOf, seqOf } from "./wire";

export type Phase = "connecting" | "live" | "down";

export interface Connection {
  phase: Phase;
  /** Since when it is so, in the reader's clock. */
  since: number;
}

export interface FeedListener {
  onEvent: (event: Event) => void;
  /** What is known may have a hole: load it again. */
  onReload: (reason: GapReason | undefined) => void;
}

type Told =
  | { kind: "event"; event: Event }
  | { kind: "connection"; connection: Connection }
  | { kind: "reload"; reason: GapReason | undefined }
  | { kind: "hello" };

const PATH = "/api/events";
const LOCK = "bridge-log";

export class Feed {
  #listeners = new Set<FeedListener>();
  #watchers = new Set<() => void>();
  #connection: Connection = { phase: "connecting", since: Date.now() };
  #cursor: string | undefined;
  #reason: GapReason | undefined;
  #leads = false;
  #channel: BroadcastChannel | undefined;
  #end = new AbortController();
  #wake = new EventTarget();

  constructor() {
    if (locks() !== undefined && "BroadcastChannel" in globalThis) {
      // Heard before anything is loaded: whatever was told earlier is in what is loaded later.
      this.#channel = new BroadcastChannel("bridge-log");
      this.#channel.onmessage = (message: MessageEvent<Told>) => this.#hear(message.data);
    }
  }

  /** Starts after `cursor`, or at the end of the log. */
  start(cursor: string | undefined): void {
    this.#advance(cursor);
    const options = { signal: this.#end.signal };
    addEventListener("online", () => this.wake(), options);
    document.addEventListener("visibilitychange", () => this.wake(), options);
    // A page that was frozen has heard nothing meanwhile.
    addEventListener("pageshow", (event) => event.persisted && this.#reload(undefined), options);
    document.addEventListener("resume", () => this.#leads || this.#reload(undefined), options);
    if (this.#channel === undefined) {
      void this.#lead();
      return;
    }
    this.#tell({ kind: "hello" });
    locks()
      ?.request(LOCK, { signal: this.#end.signal }, () => this.#lead())
      .catch(() => undefined);
  }

  stop(): void {
    this.#end.abort();
    this.#channel?.close();
  }

  /** Tries again at once, if there is no connection. */
  wake(): void {
    this.#wake.dispatchEvent(new CustomEvent("wake"));
  }

  listen(listener: FeedListener): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  get connection(): Connection {
    return this.#connection;
  }

  watch = (changed: () => void): (() => void) => {
    this.#watchers.add(changed);
    return () => this.#watchers.delete(changed);
  };

  async #lead(): Promise<void> {
    this.#leads = true;
    await follow(
      PATH,
      this.#cursor,
      {
        onOpen: (resumed) => {
          this.#set("live");
          if (!resumed) {
            this.#tell({ kind: "reload", reason: this.#reason });
            this.#reload(this.#reason);
            this.#reason = undefined;
          }
        },
        onEvent: (event) => {
          this.#tell({ kind: "event", event });
          this.#take(event);
        },
        onAlive: () => undefined,
        onDown: () => this.#set("down"),
        onGap: (reason) => {
          this.#reason = reason;
          this.#cursor = undefined;
        },
      },
      this.#end.signal,
      this.#wake,
    );
  }

  #hear(told: Told): void {
    if (told.kind === "hello") {
      if (this.#leads) {
        this.#tell({ kind: "connection", connection: this.#connection });
      }
    } else if (told.kind === "event") {
      this.#take(told.event);
    } else if (told.kind === "connection") {
      this.#connection = told.connection;
      this.#watchers.forEach((changed) => changed());
    } else {
      this.#cursor = undefined;
      this.#reload(told.reason);
    }
  }

  #take(event: Event): void {
    this.#advance(event.cursor);
    this.#listeners.forEach((listener) => listener.onEvent(event));
  }

  #advance(cursor: string | undefined): void {
    const here = this.#cursor;
    if (cursor !== undefined && (here === undefined || logOf(here) !== logOf(cursor) || seqOf(here) < seqOf(cursor))) {
      this.#cursor = cursor;
    }
  }

  #reload(reason: GapReason | undefined): void {
    this.#listeners.forEach((listener) => listener.onReload(reason));
  }

  #set(phase: Phase): void {
    if (this.#connection.phase !== phase) {
      this.#connection = { phase, since: Date.now() };
      this.#tell({ kind: "connection", connection: this.#connection });
      this.#watchers.forEach((changed) => changed());
    }
  }

  #tell(told: Told): void {
    this.#channel?.postMessage(told);
  }
}
