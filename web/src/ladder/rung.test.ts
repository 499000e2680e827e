import { describe, expect, it } from "vitest";
import { agentName } from "../base/agent";
import { ago, span } from "../base/time";
import type { Pending } from "../log/outbox";
import type { Presence } from "../log/wire";
import { outboxRung, outlook, presenceWords } from "./rung";

const entry: Pending = { key: "k", session: "ses_1", text: "hello", at: 0, state: "waiting" };
const presence = (state: Presence["state"], consumer?: string): Presence => ({ state, since: new Date(0).toISOString(), ...(consumer === undefined ? {} : { consumer }) });

describe("a message that only this browser has", () => {
  it.each([
    [{ state: "sending" }, "sending", undefined],
    [{ state: "waiting" }, "Not sent: no connection. It stays here and goes by itself.", undefined],
    [{ state: "accepted" }, "accepted", undefined],
    [{ state: "refused", refused: { code: "session_closed", title: "" } }, "Refused: the conversation is closed.", "new"],
    [{ state: "refused", refused: { code: "body_too_large", title: "The body is too large" } }, "Refused: the body is too large.", "edit"],
  ] as const)("%o", (change, words, step) => {
    const rung = outboxRung({ ...entry, ...change }, 5_000);
    expect(rung.words).toBe(words);
    expect(rung.step).toBe(step);
  });
});

describe("the line under the composer", () => {
  const here = { live: true, kept: 0, closed: false, waiting: 0, now: 0, presence: presence("online", "claude-7f3a") };
  it.each([
    [here, "Claude is listening"],
    [{ ...here, waiting: 1 }, "Claude is listening (1 before it)"],
    [{ ...here, presence: presence("working", "cursor-12ab"), waiting: 2 }, "Cursor is working; your message waits its turn (2 before it)"],
    [{ ...here, presence: presence("away"), waiting: 2 }, "No agent is connected; your message waits (2 before it)"],
    [{ ...here, live: false }, "Offline; what you send is kept here"],
    [{ ...here, live: false, kept: 1 }, "Offline; 1 message kept here"],
    [{ ...here, live: false, kept: 2 }, "Offline; 2 messages kept here"],
    [{ ...here, closed: true }, "This conversation is closed"],
  ])("%#", (at, words) => {
    expect(outlook(at)).toBe(words);
  });
});

it("says the agent's presence in words", () => {
  expect(presenceWords(presence("away"), 0).words).toBe("No agent yet");
  expect(presenceWords(presence("online", "vscode-00ff"), 0).words).toBe("VS Code is listening");
  expect(presenceWords(presence("working", "my-script"), 0).words).toBe("my-script is working");
  expect(presenceWords(presence("away", "claude-7f3a"), 5 * 60_000).words).toBe("Claude left 5 minutes ago");
});

it("knows programs by the names that the page mints", () => {
  expect(["claude-7f3a", "claude-desktop-7f3a", "claude-smith", "", undefined].map(agentName)).toEqual(["Claude", "Claude Desktop", "claude-smith", "The agent", "The agent"]);
});

it("says how long in short words", () => {
  expect([40, 400, 14_000, 59_900, 83_000, 180_000, 42 * 60_000, 125 * 60_000].map(span)).toEqual(["0.1 s", "0.4 s", "14 s", "60 s", "1 min 23 s", "3 min", "42 min", "2 h 5 min"]);
  expect([0, 5 * 60_000].map((past) => ago(0, past))).toEqual(["now", "5 min ago"]);
});
