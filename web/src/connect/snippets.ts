// How each program is told of the bridge. The agent's name is in the address, so that the bridge knows it when it is back.

export type Client = "claude-code" | "claude-desktop" | "cursor" | "vscode" | "curl";

export interface Snippet {
  client: Client;
  label: string;
  /** Where the text goes. */
  where: string;
  text: string;
  language: string;
}

const minted = new Map<string, string>();

/** Four digits of its own for each conversation; the same ones as long as the page is open. */
export function mintedFor(session: string): string {
  const known = minted.get(session);
  if (known !== undefined) {
    return known;
  }
  const fresh = Array.from(crypto.getRandomValues(new Uint8Array(2)), (byte) => byte.toString(16).padStart(2, "0")).join("");
  minted.set(session, fresh);
  return fresh;
}

const json = (value: unknown) => JSON.stringify(value, null, 2);

export function snippets(origin: string, session: string, mark = mintedFor(session)): readonly Snippet[] {
  const address = (program: string) => `${origin}/mcp?agent=${program}-${mark}`;
  return [
    {
      client: "claude-code",
      label: "Claude Code",
      where: "In a terminal:",
      language: "shell",
      text: `claude mcp add --transport http bridge "${address("claude")}"`,
    },
    {
      client: "claude-desktop",
      label: "Claude Desktop",
      where: "In claude_desktop_config.json (Settings, Developer, Edit Config), with the full path of bridge as the command:",
      language: "json",
      text: json({
        mcpServers: { bridge: { command: "bridge", args: ["mcp", "--url", origin, "--agent", `claude-desktop-${mark}`] } },
      }),
    },
    {
      client: "cursor",
      label: "Cursor",
      where: "In .cursor/mcp.json:",
      language: "json",
      text: json({ mcpServers: { bridge: { url: address("cursor") } } }),
    },
    {
      client: "vscode",
      label: "VS Code",
      where: "In .vscode/mcp.json:",
      language: "json",
      text: json({ servers: { bridge: { type: "http", url: address("vscode") } } }),
    },
    {
      client: "curl",
      label: "curl",
      where: "Play the agent by hand. Take the next message; this waits up to 25 s:",
      language: "shell",
      text: receiveByHand(origin, session, mark),
    },
  ];
}

function receiveByHand(origin: string, session: string, mark: string): string {
  const body = { mailbox: `session:${session}/agent`, consumer: `curl-${mark}`, wait_ms: 25_000 };
  return `curl -s ${origin}/api/receive \\\n  -H 'content-type: application/json' \\\n  -d '${JSON.stringify(body)}'`;
}

/** The answer by hand; the token is the one that came with the message. */
export function answerByHand(origin: string, session: string, mark = mintedFor(session)): string {
  const body = JSON.stringify({ token: "TOKEN", consumer: `curl-${mark}`, outcome: "answer", reply: { text: "Hello" } });
  return `curl -s ${origin}/api/settle \\\n  -H 'content-type: application/json' \\\n  -d '${body}'`;
}

/** What makes an agent join: the words that the bridge itself uses. */
export function sentence(session: string): string {
  return `Connect to the bridge's MCP server and use session_id: "${session}" for all calls. Call wait_for_messages, or get_pending_messages and follow next_poll_instruction; answer each message with send_response_to_web.`;
}
