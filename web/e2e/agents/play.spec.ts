// A person in the browser and an agent on the official SDK talk for twenty turns, while all that is between them fails.

import type { Page } from "@playwright/test";
import type { Event, Message } from "../../src/log/wire";
import { BIN, type Bridge } from "../bridge";
import { test as base, expect, explain, log, outlook, picture, rungOf, send } from "../page";
import { SdkAgent, type Server, type Told } from "./agent";

const THINKING = "working: “thinking”";
const NOT_SENT = "Not sent: no connection. It stays here and goes by itself.";
const ANSWERED = /^answered in \d/;

const test = base.extend<{ enter: (major: string, server: Server, session: string) => SdkAgent }>({
  enter: async ({}, use, info) => {
    const agents: SdkAgent[] = [];
    await use((major, server, session) => {
      const python = process.env[`MCP_SDK_${major}`];
      if (python === undefined) {
        throw new Error(`MCP_SDK_${major} names no Python that has the SDK; scripts/mcp-sdk sees to that`);
      }
      const agent = new SdkAgent(python, server, session);
      agents.push(agent);
      return agent;
    });
    for (const agent of agents) {
      await agent.kill();
      explain(info, "the agent", agent.said);
    }
  },
});

/** The page gives an address to the one program, and a command to the other. */
const programs = [
  ["HTTP", "Cursor"],
  ["stdio", "Claude Desktop"],
] as const;

for (const major of ["1", "2"]) {
  for (const [transport, program] of programs) {
    test(`SDK ${major}.x over ${transport}: every message is answered once, in order, whatever is killed`, async ({ page, bridge, enter }) => {
      const asked: string[] = [];
      const say = async (...texts: string[]) => {
        for (const text of texts) {
          await send(page, text);
          asked.push(text);
        }
        return texts;
      };

      await page.goto(bridge.url);
      await page.getByRole("button", { name: "New conversation" }).click();
      const { server, session } = await whatThePageSays(page, program);
      const agent = enter(major, server, session);
      await reach(page, await say("01 Are you there?"), ANSWERED);

      // The bridge is killed while the agent works, and the person writes on.
      const thought = "02 Please think about this";
      await reach(page, await say(thought), THINKING);
      await reach(page, await say("03 and this", "04 and that", "05 and one thing more"), "accepted");
      await bridge.kill();
      await reach(page, await say("06 Are you still there?", "07 I see no connection", "08 So I wait"), NOT_SENT);
      agent.goOn();
      await tells(agent, { answering: thought });
      await bridge.resume();
      await reach(page, asked, ANSWERED);

      // The agent is killed with messages in its hands, and the page is loaded anew before it is back.
      await reach(page, await say("09 Please think again"), THINKING);
      const held = await say("10 Do think before you start", "11 Then do this", "12 And then that");
      await reach(page, held, "accepted");
      agent.goOn();
      await tells(agent, { holding: held });
      await reach(page, held.slice(0, 1), THINKING);
      await agent.kill();
      await page.reload();
      await reach(page, held.slice(1), "presented");
      await reach(page, await say("13 Did you get that?"), "accepted");
      agent.resume();
      agent.goOn();
      await reach(page, asked, ANSWERED);

      // The bridge is killed while the agent waits, and the page goes with what it could not send.
      await expect(outlook(page)).toHaveText(/is listening/);
      await bridge.kill();
      await reach(page, await say("14 Hello?", "15 Nobody there", "16 I load the page again"), NOT_SENT);
      await expect(page.reload()).rejects.toThrow("ERR_CONNECTION_REFUSED");
      // The browser's own page about that comes a moment later, and would cut off the next navigation.
      await expect(page).toHaveURL("chrome-error://chromewebdata/");
      await bridge.resume();
      await page.goto(bridge.page(session));
      await reach(page, asked, ANSWERED);

      await reach(page, await say("17 One", "18 two", "19 three", "20 and goodbye"), ANSWERED);
      await picture(page, `sdk-${major}-${transport}`);
      // What it would still have said, it has said when it is gone.
      expect(await agent.leave()).toBe(0);
      expect(asked).toHaveLength(20);
      await everyOneIsShownOnce(page, asked);
      await everyOneIsKeptOnce(bridge, session, asked);
      if (transport === "stdio") {
        const connections = agent.told.filter(({ connected }) => connected !== undefined);
        expect(connections, "behind `bridge mcp` an agent connects once in its life").toHaveLength(2);
      }
    });
  }
}

/** What a program is told to keep, and its agent to use. */
async function whatThePageSays(page: Page, program: string): Promise<{ server: Server; session: string }> {
  await page.getByRole("tab", { name: program }).click();
  const snippet = await page.getByRole("region", { name: `For ${program}` }).innerText();
  const { bridge } = (JSON.parse(snippet) as { mcpServers: { bridge: Server } }).mcpServers;
  const sentence = await page.getByRole("region", { name: "What to tell it" }).innerText();
  const session = /session_id: "(\w+)"/.exec(sentence)?.[1] ?? "";
  return { server: "command" in bridge ? { ...bridge, command: BIN } : bridge, session };
}

/** Waits until the page says this of each of these messages. */
async function reach(page: Page, messages: string[], rung: string | RegExp): Promise<void> {
  for (const message of messages) {
    await expect(rungOf(page, message)).toHaveText(rung);
  }
}

async function tells(agent: SdkAgent, what: Told): Promise<void> {
  await expect.poll(() => agent.told).toContainEqual(what);
}

const answerTo = (text: string) => `re: ${text}`;

async function everyOneIsShownOnce(page: Page, asked: string[]): Promise<void> {
  await expect(log(page).locator(".message-mine .bubble")).toHaveText(asked);
  await expect(log(page).locator(".message-theirs .bubble")).toHaveText(asked.map(answerTo));
  await expect(log(page).locator(".rung")).toHaveText(asked.map(() => ANSWERED));
}

async function everyOneIsKeptOnce(bridge: Bridge, session: string, asked: string[]): Promise<void> {
  const { data: messages } = await bridge.call<{ data: Message[] }>("GET", `/api/sessions/${session}/messages?limit=100`);
  const questions = messages.filter(({ reply_to }) => reply_to === undefined);
  expect(questions.map(({ text }) => text)).toEqual(asked);
  const answers = messages.filter(({ reply_to }) => reply_to !== undefined);
  expect(answers.map(({ reply_to }) => reply_to)).toEqual(questions.map(({ id }) => id));
  expect(answers.map(({ text }) => text)).toEqual(asked.map(answerTo));

  const { data: events } = await bridge.call<{ data: Event[] }>("GET", `/api/sessions/${session}/events?limit=1000`);
  const answered = events.filter(({ type }) => type === "delivery.answered");
  expect(answered.map(({ message_id }) => message_id)).toEqual(questions.map(({ id }) => id));
}
