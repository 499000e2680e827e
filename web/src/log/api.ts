// The calls the page makes, and the two ways in which one fails.

import type { Delivery, Page, Problem, Published, Session, Snapshot, Why } from "./wire";

/** The server answered, and said no. */
export class Refused extends Error {
  readonly problem: Problem;
  /** Whether the same call may succeed later. */
  readonly later: boolean;
  readonly retryAfterMs: number | undefined;

  constructor(problem: Problem, retryAfterMs?: number) {
    super(problem.detail ?? problem.title);
    this.problem = problem;
    this.later = problem.status >= 500 || problem.status === 429 || problem.status === 408;
    this.retryAfterMs = retryAfterMs;
  }
}

/** No answer: it is unknown whether the call took effect. */
export class Unreachable extends Error {}

const PATIENCE_MS = 20_000;

async function call<T>(method: string, path: string, body?: unknown, headers: Record<string, string> = {}): Promise<T> {
  let response: Response;
  try {
    response = await fetch(path, {
      method,
      headers: { accept: "application/json", ...(body === undefined ? {} : { "content-type": "application/json" }), ...headers },
      ...(body === undefined ? {} : { body: JSON.stringify(body) }),
      signal: AbortSignal.timeout(PATIENCE_MS),
      cache: "no-store",
    });
  } catch (cause) {
    throw new Unreachable("no answer", { cause });
  }
  if (!response.ok) {
    throw await refusal(response);
  }
  if (response.status === 204) {
    return undefined as T;
  }
  try {
    return (await response.json()) as T;
  } catch (cause) {
    throw new Unreachable("the answer broke off", { cause });
  }
}

/** What a response that is no success says, even if it does not say it as a problem. */
export async function refusal(response: Response): Promise<Refused> {
  const after = Number(response.headers.get("retry-after") ?? Number.NaN);
  const said = (await response.json().catch(() => ({}))) as Partial<Problem>;
  const problem: Problem = {
    type: said.type ?? "about:blank",
    title: said.title ?? `The server answered ${response.status}`,
    status: response.status,
    code: said.code ?? "unknown",
    ...(said.detail === undefined ? {} : { detail: said.detail }),
  };
  return new Refused(problem, Number.isFinite(after) ? after * 1000 : undefined);
}

const session = (id: string) => `/api/sessions/${encodeURIComponent(id)}`;
const delivery = (id: string) => `/api/deliveries/${encodeURIComponent(id)}`;
const query = (params: Record<string, string | number | null | undefined>) => {
  const set = Object.entries(params).filter(([, value]) => value !== null && value !== undefined);
  return set.length === 0 ? "" : `?${new URLSearchParams(set.map(([name, value]) => [name, String(value)]))}`;
};

export const api = {
  sessions: (cursor?: string | null, limit = 50) => call<Page<Session>>("GET", `/api/sessions${query({ limit, cursor })}`),
  session: (id: string) => call<Session>("GET", session(id)),
  open: (title?: string) => call<Session>("POST", "/api/sessions", title === undefined ? {} : { title }),
  rename: (id: string, title: string) => call<Session>("PATCH", session(id), { title }),
  close: (id: string) => call<void>("DELETE", session(id)),
  messages: (id: string, cursor?: string | null, limit = 50) =>
    call<Snapshot>("GET", `${session(id)}/messages${query({ limit, cursor })}`),
  /** The key is also the message's own mark, so that every tab knows the message when the log shows it. */
  send: (id: string, text: string, key: string) =>
    call<Published>("POST", `${session(id)}/messages`, { text, from: "user", correlation_id: key }, { "idempotency-key": key }),
  read: (id: string, cursor: string) => call<{ read_to: string }>("POST", `${session(id)}/read`, { cursor }),
  delivery: (id: string) => call<Delivery>("GET", delivery(id)),
  why: (id: string) => call<Why>("GET", `${delivery(id)}/why`),
  cancel: (id: string) => call<{ state: string; requested: boolean }>("POST", `${delivery(id)}/cancel`, {}),
  redrive: (id: string) => call<{ delivery_id: string }>("POST", `${delivery(id)}/redrive`, {}),
};

export type Api = typeof api;
