import { render, screen } from "@testing-library/react";
import userEvent from "@testing-library/user-event";
import { beforeEach, expect, it } from "vitest";
import Setup from "./Setup";
import { mintedFor, sentence, snippets } from "./snippets";

const none = { called: false, received: false, answered: false };

beforeEach(() => localStorage.clear());

it("gives each program an address with a name of its own", () => {
  const texts = snippets("http://127.0.0.1:8765", "ses_1", "7f3a").map((snippet) => snippet.text);
  expect(texts[0]).toBe('claude mcp add --transport http bridge "http://127.0.0.1:8765/mcp?agent=claude-7f3a"');
  expect(JSON.parse(texts[1] ?? "").mcpServers.bridge.args).toEqual(["mcp", "--url", "http://127.0.0.1:8765", "--agent", "claude-desktop-7f3a"]);
  expect(JSON.parse(texts[2] ?? "").mcpServers.bridge.url).toContain("agent=cursor-7f3a");
  expect(JSON.parse(texts[3] ?? "").servers.bridge).toEqual({ type: "http", url: "http://127.0.0.1:8765/mcp?agent=vscode-7f3a" });
  expect(texts[4]).toContain('"mailbox":"session:ses_1/agent"');
});

it("keeps a conversation's mark", () => {
  expect(mintedFor("ses_1")).toBe(mintedFor("ses_1"));
  expect(mintedFor("ses_1")).toMatch(/^[0-9a-f]{4}$/);
});

it("shows three steps, and ticks what is done", () => {
  const { rerender, container } = render(<Setup session="ses_1" progress={none} />);
  expect(container.querySelectorAll(".step")).toHaveLength(3);
  expect(container.querySelectorAll(".step-done")).toHaveLength(0);
  rerender(<Setup session="ses_1" progress={{ ...none, called: true, received: true }} />);
  expect(container.querySelectorAll(".step-done")).toHaveLength(2);
  expect(screen.getByText(sentence("ses_1"))).toBeTruthy();
});

it("lets one play the agent by hand", async () => {
  render(<Setup session="ses_1" progress={none} />);
  await userEvent.click(screen.getByRole("tab", { name: "curl" }));
  expect(screen.getByText(/api\/receive/)).toBeTruthy();
  expect(screen.getByText(/api\/settle/)).toBeTruthy();
});
