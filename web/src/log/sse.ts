// Server-sent events, read piece by piece. Written out because EventSource tells neither a status nor a heartbeat.

export interface Sent {
  id: string | undefined;
  event: string;
  data: string;
}

/** Returns a function that takes the next piece of text and gives the events that are complete with it. */
export function sseParser(): (piece: string) => Sent[] {
  let rest = "";
  let id: string | undefined;
  let event = "";
  let data: string[] = [];
  return (piece) => {
    const sent: Sent[] = [];
    // A piece may end between the two characters of a line's end.
    const lines = (rest + piece).split(/\r\n|\n|\r(?!$)/);
    rest = lines.pop() ?? "";
    for (const line of lines) {
      if (line === "") {
        if (data.length > 0) {
          sent.push({ id, event: event === "" ? "message" : event, data: data.join("\n") });
        }
        event = "";
        data = [];
        continue;
      }
      const colon = line.indexOf(":");
      const field = colon < 0 ? line : line.slice(0, colon);
      const value = colon < 0 ? "" : line.slice(colon + (line[colon + 1] === " " ? 2 : 1));
      if (field === "data") {
        data.push(value);
      } else if (field === "event") {
        event = value;
      } else if (field === "id") {
        id = value;
      }
    }
    return sent;
  };
}
