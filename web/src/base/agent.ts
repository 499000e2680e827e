// Agents are known by the consumer's name; people know them by the program.

const PROGRAMS: readonly (readonly [string, string])[] = [
  ["claude-desktop", "Claude Desktop"],
  ["claude", "Claude"],
  ["cursor", "Cursor"],
  ["vscode", "VS Code"],
  ["codex", "Codex"],
  ["gemini", "Gemini"],
  ["curl", "curl"],
  ["agent", "The agent"],
];

/** `claude-7f3a` is Claude; a name that was not made on this page stands as it is. */
export function agentName(consumer: string | undefined): string {
  // A caller without a name goes by the id of its call.
  if (consumer === undefined || consumer === "" || /^([a-z]+_)?[0-9a-f]{8}-?[0-9a-f-]{20,}$/.test(consumer)) {
    return "The agent";
  }
  const minted = /^(.+)-[0-9a-f]{4}$/.exec(consumer);
  return PROGRAMS.find(([program]) => program === (minted?.[1] ?? consumer))?.[1] ?? consumer;
}
