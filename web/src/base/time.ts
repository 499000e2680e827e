// Times as people say them, in the reader's zone.

const clock = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit", hourCycle: "h23" });
const exact = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit", second: "2-digit", hourCycle: "h23" });
const day = new Intl.DateTimeFormat(undefined, { day: "numeric", month: "short" });
const weekday = new Intl.DateTimeFormat(undefined, { weekday: "long", day: "numeric", month: "long" });
const full = new Intl.DateTimeFormat(undefined, { dateStyle: "full", timeStyle: "long" });

const MINUTE = 60_000;
const HOUR = 60 * MINUTE;

export const ms = (time: string): number => Date.parse(time);

const today = (at: number, now: number) => new Date(at).toDateString() === new Date(now).toDateString();

/** `14:03`; with the day if it was another one. */
export function atTime(at: number, now: number): string {
  return today(at, now) ? clock.format(at) : `${day.format(at)}, ${clock.format(at)}`;
}

/** `14:03:07`. */
export const toTheSecond = (at: number): string => exact.format(at);

/** Everything there is to say, for whoever points at it. */
export const inFull = (at: number): string => full.format(at);

export function dayOf(at: number, now: number): string {
  return today(at, now) ? "Today" : today(at, now - 24 * HOUR) ? "Yesterday" : weekday.format(at);
}

/** Relative under an hour, absolute after. */
export function ago(at: number, now: number): string {
  const past = now - at;
  if (past < MINUTE) {
    return "now";
  }
  return past < HOUR ? `${Math.floor(past / MINUTE)} min ago` : atTime(at, now);
}

/** How long something took or takes: `0.4 s`, `14 s`, `3 min`, `2 h 5 min`. */
export function span(duration: number): string {
  const seconds = Math.max(0, duration) / 1000;
  if (seconds < 1) {
    return `${Math.max(0.1, Math.round(seconds * 10) / 10)} s`;
  }
  if (seconds < 60) {
    return `${Math.round(seconds)} s`;
  }
  const minutes = Math.floor(seconds / 60);
  if (minutes < 10) {
    const rest = Math.round(seconds % 60);
    return rest === 0 || rest === 60 ? `${rest === 60 ? minutes + 1 : minutes} min` : `${minutes} min ${rest} s`;
  }
  return minutes < 60 ? `${minutes} min` : minutes % 60 === 0 ? `${minutes / 60} h` : `${Math.floor(minutes / 60)} h ${minutes % 60} min`;
}

/** How long something has lasted, in whole words: `10 minutes`, `3 hours`. */
export function lasting(duration: number): string {
  const minutes = Math.floor(duration / MINUTE);
  const [count, unit] = minutes < 60 ? [minutes, "minute"] : minutes < 48 * 60 ? [Math.floor(minutes / 60), "hour"] : [Math.floor(minutes / 1440), "day"];
  return `${count} ${unit}${count === 1 ? "" : "s"}`;
}
