import { type ComponentType, type LazyExoticComponent, lazy } from "react";

const AGAIN_MS = 2_000;

/** A part of the page that is fetched when it is first needed; without connection it comes as soon as there is one. */
export function later<P>(load: () => Promise<{ default: ComponentType<P> }>): LazyExoticComponent<ComponentType<P>> {
  return lazy(async () => {
    for (;;) {
      try {
        return await load();
      } catch {
        await new Promise((resolve) => setTimeout(resolve, AGAIN_MS));
      }
    }
  });
}
