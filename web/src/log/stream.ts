// One connection to the log that comes back by itself, after the last event it has shown.

import { refusal } from "./api";
import { sseParser } from "./sse";
import type { Event, GapReason } from "./wire";

export interface StreamHandlers {
  /** The connection stands. `resumed` is false if it begins at the end of the log, so that what was before is unknown. */
  onOpen: (resumed: boolean) => void;
  onEvent: (event: Event) => void;
  /** Bytes came: the other end lives. */
  onAlive: () => void;
  onDown: () => void;
  /** The cursor does not fit: load what is there and go on from it. */
  onGap: (reason: GapReason) => void;
}

const FIRST_PAUSE_MS = 250;
const LONGEST_PAUSE_MS = 8_000;
/** More than two heartbeats. */
const SILENCE_MS = 35_000;

/** A pause before the next try: doubling, with half of it left to chance so that many pages do not return at once. */
export function pause(failures: number, random: number): number {
  const full = Math.min(LONGEST_PAUSE_MS, FIRST_PAUSE_MS * 2 ** failures);
  return full / 2 + (full / 2) * random;
}

/** Follows the log until `signal` ends it. `wake` cuts a pause short. */
export async function follow(
  path: string,
  after: string | undefined,
  handlers: StreamHandlers,
  signal: AbortSignal,
  wake: EventTarget,
): Promise<void> {
  let cursor = after;
  let failures = 0;
  while (!signal.aborted) {
    try {
      await once(path, cursor, signal, {
        ...handlers,
        onOpen: (resumed) => {
          failures = 0;
          handlers.onOpen(resumed);
        },
        onEvent: (event) => {
          cursor = event.cursor;
          handlers.onEvent(event);
        },
        onGap: (reason) => {
          cursor = undefined;
          handlers.onGap(reason);
        },
      });
    } catch {
      // Every failure is treated alike: say so, wait, try again.
    }
    if (signal.aborted) {
      return;
    }
    handlers.onDown();
    await sleep(pause(failures, Math.random()), signal, wake);
    failures += 1;
  }
}

async function once(path: string, cursor: string | undefined, signal: AbortSignal, handlers: StreamHandlers): Promise<void> {
  const silence = new AbortController();
  const listen = () => setTimeout(() => silence.abort(), SILENCE_MS);
  let timer = listen();
  try {
    const response = await fetch(`${path}?after=${encodeURIComponent(cursor ?? "head")}`, {
      headers: { accept: "text/event-stream" },
      signal: AbortSignal.any([signal, silence.signal]),
      cache: "no-store",
    });
    if (!response.ok || response.body === null) {
      const refused = await refusal(response);
      if (refused.problem.code === "invalid_cursor" && cursor !== undefined) {
        handlers.onGap("other_log");
      }
      throw refused;
    }
    handlers.onOpen(cursor !== undefined);
    const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
    const parse = sseParser();
    for (;;) {
      const { done, value } = await reader.read();
      if (done) {
        return;
      }
      clearTimeout(timer);
      timer = listen();
      handlers.onAlive();
      for (const sent of parse(value)) {
        if (sent.event === "gap") {
          handlers.onGap((JSON.parse(sent.data) as { reason: GapReason }).reason);
          return;
        }
        if (sent.event === "message") {
          handlers.onEvent(JSON.parse(sent.data) as Event);
        }
      }
    }
  } finally {
    clearTimeout(timer);
    silence.abort();
  }
}

function sleep(ms: number, signal: AbortSignal, wake: EventTarget): Promise<void> {
  return new Promise((resolve) => {
    const end = () => {
      clearTimeout(timer);
      signal.removeEventListener("abort", end);
      wake.removeEventListener("wake", end);
      resolve();
    };
    const timer = setTimeout(end, ms);
    signal.addEventListener("abort", end);
    wake.addEventListener("wake", end);
  });
}
