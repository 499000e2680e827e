// Light, dark, or as the system has it.

import { useSyncExternalStore } from "react";

export type Theme = "system" | "light" | "dark";

const KEY = "bridge-theme";
const watchers = new Set<() => void>();

function stored(): Theme {
  try {
    const theme = localStorage.getItem(KEY);
    return theme === "light" || theme === "dark" ? theme : "system";
  } catch {
    return "system";
  }
}

let theme = stored();

export function applyTheme(): void {
  document.documentElement.dataset["theme"] = theme;
}

export function setTheme(next: Theme): void {
  theme = next;
  applyTheme();
  try {
    localStorage.setItem(KEY, next);
  } catch {
    // It holds until the page is closed.
  }
  watchers.forEach((changed) => changed());
}

export function useTheme(): Theme {
  return useSyncExternalStore(
    (changed) => {
      watchers.add(changed);
      return () => watchers.delete(changed);
    },
    () => theme,
  );
}
