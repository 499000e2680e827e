import { useSyncExternalStore } from "react";

/** Whether the window is as the query says. */
export function useMedia(query: string): boolean {
  return useSyncExternalStore(
    (changed) => {
      const list = matchMedia(query);
      list.addEventListener("change", changed);
      return () => list.removeEventListener("change", changed);
    },
    () => matchMedia(query).matches,
  );
}

export const WIDE = "(min-width: 1100px)";
export const MEDIUM = "(min-width: 700px)";
