// Which conversation the address names.

import { useSyncExternalStore } from "react";

const watchers = new Set<() => void>();

function watch(changed: () => void): () => void {
  watchers.add(changed);
  addEventListener("popstate", changed);
  return () => {
    watchers.delete(changed);
    removeEventListener("popstate", changed);
  };
}

/** The session of a path such as `/dashboard/ses_…`. */
export function sessionOf(path: string): string | undefined {
  const found = /^\/dashboard\/([^/]+)\/?$/.exec(path)?.[1];
  return found === undefined ? undefined : decodeURIComponent(found);
}

export const pathOf = (session: string | undefined): string => (session === undefined ? "/" : `/dashboard/${encodeURIComponent(session)}`);

export function useSessionId(): string | undefined {
  return useSyncExternalStore(watch, () => sessionOf(location.pathname));
}

export function go(session: string | undefined): void {
  if (location.pathname !== pathOf(session)) {
    history.pushState(null, "", pathOf(session));
    watchers.forEach((changed) => changed());
  }
}
