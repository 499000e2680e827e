// How far the first use has come, told by the log alone.

import type { View } from "../log/view";
import { userSide } from "../log/view";

export interface Progress {
  /** The agent has called. */
  called: boolean;
  /** It has asked for messages. */
  received: boolean;
  /** It has answered one. */
  answered: boolean;
}

export function progressOf(view: View): Progress {
  const taken = Object.values(view.deliveries).some((delivery) => delivery.attempt > 0);
  const toUser = userSide(view.session.id);
  const answered = view.messages.some((message) => message.to === toUser && message.type !== "bounce");
  const { presence } = view.session;
  // Whoever asks for messages is seen to be there, and remembered by name.
  const received = taken || presence.state !== "away" || presence.consumer !== undefined;
  return { called: received || answered, received, answered };
}
