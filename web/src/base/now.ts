import { useSyncExternalStore } from "react";

// One timer for everything on the page that tells time, so that it all changes in one stroke.
const watchers = new Set<() => void>();
let timer: ReturnType<typeof setInterval> | undefined;
let now = Date.now();

function watch(changed: () => void): () => void {
  if (watchers.size === 0) {
    now = Date.now();
    timer = setInterval(() => {
      now = Date.now();
      watchers.forEach((watcher) => watcher());
    }, 1000);
  }
  watchers.add(changed);
  return () => {
    watchers.delete(changed);
    if (watchers.size === 0) {
      clearInterval(timer);
    }
  };
}

/** The time, in whole steps: what is drawn with it changes only as often as it must. */
export function useNow(stepMs = 1000): number {
  return useSyncExternalStore(watch, () => Math.floor(now / stepMs) * stepMs);
}
