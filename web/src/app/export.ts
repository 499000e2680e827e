// The whole conversation as one file.

import type { Api } from "../log/api";
import type { Message, Session } from "../log/wire";

export interface Exported {
  session: Session;
  /** Everything in it is from up to here. */
  cursor: string;
  messages: Message[];
}

const PAGE = 100;

export async function collect(api: Pick<Api, "messages">, id: string): Promise<Exported> {
  const newest = await api.messages(id, null, PAGE);
  let messages = newest.data;
  let older = newest.next_cursor;
  while (older !== null) {
    const page = await api.messages(id, older, PAGE);
    messages = [...page.data, ...messages];
    older = page.next_cursor;
  }
  return { session: newest.session, cursor: newest.cursor, messages };
}

export function download(name: string, content: unknown): void {
  const address = URL.createObjectURL(new Blob([JSON.stringify(content, null, 2)], { type: "application/json" }));
  const link = document.createElement("a");
  link.href = address;
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(address), 10_000);
}
