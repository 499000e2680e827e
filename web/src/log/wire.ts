// The wire's shapes, as the server writes them. Only what the page reads is named.

export type Time = string;

export interface Presence {
  state: "online" | "working" | "away";
  consumer?: string;
  since: Time;
}

export interface Session {
  id: string;
  title: string | null;
  state: "open" | "idle" | "closed";
  created_at: Time;
  last_activity: Time;
  closed_at?: Time;
  depth: number;
  leased: number;
  unread: number;
  presence: Presence;
  last_message?: Message;
  instructions?: string;
  dashboard_url?: string;
}

export interface Message {
  id: string;
  seq: number;
  from: string;
  verified: boolean;
  to: string;
  type: string;
  priority: number;
  session?: string;
  payload?: unknown;
  payload_base64?: string;
  text?: string;
  reply_to?: string;
  correlation_id?: string;
  created_at: Time;
  deliver_at?: Time;
  expires_at?: Time;
  headers?: Record<string, string>;
  deliveries?: Delivery[];
}

export interface Receipts {
  accepted: Time;
  presented?: Time;
  seen?: Time;
  progressed?: Time;
  answered?: Time;
  settled?: Time;
  read?: Time;
  dead?: Time;
}

export type DeadReason = "max_failures" | "rejected" | "expired" | "too_many_releases" | "session_closed";
export type ReturnReason = "nack" | "release" | "timeout" | "answer_lost";

export interface Delivery {
  id: string;
  message_id: string;
  mailbox: string;
  state: "pending" | "leased" | "done" | "dead" | "cancelled";
  attempt: number;
  failures: number;
  visible_at?: Time;
  expires_at?: Time;
  lease?: { consumer: string; started_at: Time; until: Time };
  receipts: Receipts;
  progress?: string;
  reason?: DeadReason | (string & {});
  last_error?: string;
  reply_id?: string;
  cancel_requested: boolean;
  message_gone: boolean;
  redrive_of?: string;
  redriven_as?: string;
  attempts?: Attempt[];
}

export interface Attempt {
  attempt: number;
  consumer: string;
  presented_at: Time;
  ended_at?: Time;
  outcome?: string;
  error?: string;
}

/** Why a delivery does not move. Which members are there depends on `reason`. */
export interface Why {
  delivery_id: string;
  state: string;
  reason: string;
  text: string;
  until?: Time;
  consumer?: string;
  attempt?: number;
  failures?: number;
  key?: string;
  head_id?: string;
  head_reason?: string;
  by?: string;
  since?: Time;
  redriven_as?: string;
}

export interface Routed {
  id: string;
  mailbox: string;
}

export interface Published {
  message_id: string;
  seq: number;
  cursor: string;
  duplicate: boolean;
  deliveries: Routed[];
  delivery_count: number;
  depth: number;
  presence?: Presence;
}

/** One event of the log. Which members are there depends on `type`. */
export interface Event {
  type: string;
  seq: number;
  cursor: string;
  at: Time;
  session?: string;
  message_id?: string;
  delivery_id?: string;
  message?: Message | null;
  deliveries?: Routed[];
  attempt?: number;
  consumer?: string;
  lease_until?: Time;
  text?: string;
  reply_id?: string;
  reason?: string;
  failures?: number;
  visible_at?: Time;
  error?: string;
  redriven_as?: string;
  title?: string | null;
  unsettled?: number;
  presence?: Presence;
  mailbox?: string;
}

export interface Page<T> {
  data: T[];
  next_cursor: string | null;
}

export interface Snapshot extends Page<Message> {
  session: Session;
  cursor: string;
}

export interface Problem {
  type: string;
  title: string;
  status: number;
  code: string;
  detail?: string;
}

export type GapReason = "trimmed" | "other_log" | "ahead";

/** The place in the log that a cursor names: cursors of one log compare by it. */
export function seqOf(cursor: string): number {
  const seq = Number(cursor.slice(cursor.lastIndexOf(".") + 1));
  return Number.isSafeInteger(seq) ? seq : 0;
}

/** The log that a cursor belongs to. */
export function logOf(cursor: string): string {
  return cursor.slice(0, Math.max(0, cursor.lastIndexOf(".")));
}
