/** The browser's locks between tabs. They are missing on pages that came without TLS from another machine. */
export function locks(): LockManager | undefined {
  return (navigator as { locks?: LockManager | null }).locks ?? undefined;
}
