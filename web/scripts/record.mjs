// Records what a running bridge tells of each state a message can be in, for the tests of the reducer:
//   node scripts/record.mjs http://127.0.0.1:8765
// Each record holds the snapshot before, the events, and the snapshot after, in which the events must end.
import { mkdirSync, writeFileSync } from "node:fs";

const base = process.argv[2] ?? "http://127.0.0.1:8765";
const folder = new URL("../src/log/records/", import.meta.url).pathname;
const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

async function call(method, path, body) {
  const response = await fetch(base + path, {
    method,
    headers: body === undefined ? {} : { "content-type": "application/json" },
    ...(body === undefined ? {} : { body: JSON.stringify(body) }),
  });
  const text = await response.text();
  if (!response.ok) throw new Error(`${method} ${path}: ${response.status} ${text}`);
  return text === "" ? undefined : JSON.parse(text);
}

const play = (session) => ({
  id: session.id,
  send: (text, more = {}) => call("POST", `/api/sessions/${session.id}/messages`, { text, from: "user", ...more }),
  say: (text, more = {}) => call("POST", `/api/sessions/${session.id}/messages`, { text, from: "agent", ...more }),
  take: async (more = {}) => {
    const wish = { mailbox: `session:${session.id}/agent`, consumer: "claude-7f3a", wait_ms: 10_000, ...more };
    const { deliveries } = await call("POST", "/api/receive", wish);
    if (deliveries.length === 0) throw new Error("nothing to take");
    return deliveries[0];
  },
  settle: (delivery, outcome, more = {}) => call("POST", "/api/settle", { token: delivery.token, consumer: "claude-7f3a", outcome, ...more }),
});

const states = {
  accepted: async (p) => {
    await p.send("Are you there?");
  },
  presented: async (p) => {
    await p.send("Are you there?");
    await p.take();
  },
  working: async (p) => {
    await p.send("Why is the job slow?");
    await p.settle(await p.take(), "extend", { progress: "reading the logs" });
  },
  answered: async (p) => {
    await p.send("Why is the job slow?");
    const taken = await p.take();
    await p.settle(taken, "extend", { progress: "reading the logs" });
    await p.settle(taken, "answer", { reply: { text: "It waits for the disk." } });
  },
  acknowledged: async (p) => {
    await p.send("Thanks");
    await p.settle(await p.take(), "ack");
  },
  "answered-twice": async (p) => {
    await p.send("Is it safe?");
    const taken = await p.take();
    await p.settle(taken, "answer", { reply: { text: "Yes." } });
    await p.say("On second thought: no.", { type: "answer", reply_to: taken.message.id });
  },
  "fell-silent": async (p) => {
    await p.send("Are you there?");
    await p.take({ lease_ms: 1000 });
    await sleep(2500);
  },
  "could-not": async (p) => {
    await p.send("Run the tests");
    await p.settle(await p.take(), "nack", { delay_ms: 60_000, reason: "the tests do not build" });
  },
  "put-back": async (p) => {
    await p.send("Run the tests");
    await p.settle(await p.take(), "release", { delay_ms: 0 });
  },
  "taken-again": async (p) => {
    await p.send("Run the tests");
    await p.settle(await p.take(), "nack", { delay_ms: 0, reason: "the tests do not build" });
    await p.take({ consumer: "cursor-12ab" });
  },
  "given-up": async (p) => {
    await p.send("Run the tests");
    for (let attempt = 0; attempt < 5; attempt += 1) {
      await p.settle(await p.take(), "nack", { delay_ms: 0, reason: "the tests do not build" });
    }
  },
  declined: async (p) => {
    await p.send("Send the money");
    await p.settle(await p.take(), "reject", { reason: "I may not do that" });
  },
  expired: async (p) => {
    await p.send("Now or never", { ttl_ms: 1000 });
    await sleep(2500);
  },
  cancelled: async (p) => {
    const { deliveries } = await p.send("Never mind");
    await call("POST", `/api/deliveries/${deliveries[0].id}/cancel`, {});
  },
  "sent-again": async (p) => {
    const { deliveries } = await p.send("Send the money");
    await p.settle(await p.take(), "reject", { reason: "I may not do that" });
    await call("POST", `/api/deliveries/${deliveries[0].id}/redrive`, {});
    await p.settle(await p.take(), "answer", { reply: { text: "Done." } });
  },
  read: async (p) => {
    await p.say("The nightly job is done.");
    const { cursor } = await call("GET", `/api/sessions/${p.id}/messages`);
    await call("POST", `/api/sessions/${p.id}/read`, { cursor });
  },
  renamed: async (p) => {
    await call("PATCH", `/api/sessions/${p.id}`, { title: "The nightly job" });
  },
  closed: async (p) => {
    await p.send("One thing more");
    await call("DELETE", `/api/sessions/${p.id}`);
    await sleep(500);
  },
};

/** The session's events after a cursor, until nothing has come for a while. */
async function eventsAfter(session, cursor) {
  const stop = new AbortController();
  const response = await fetch(`${base}/api/sessions/${session}/events?after=${encodeURIComponent(cursor)}`, {
    headers: { accept: "text/event-stream" },
    signal: stop.signal,
  });
  if (!response.ok) throw new Error(`events: ${response.status} ${await response.text()}`);
  let text = "";
  let quiet = setTimeout(() => stop.abort(), 800);
  try {
    for await (const piece of response.body.pipeThrough(new TextDecoderStream())) {
      text += piece;
      clearTimeout(quiet);
      quiet = setTimeout(() => stop.abort(), 800);
    }
  } catch (error) {
    if (!stop.signal.aborted) throw error;
  }
  return text
    .split("\n")
    .filter((line) => line.startsWith("data:"))
    .map((line) => JSON.parse(line.slice(5)));
}

const wanted = process.argv.slice(3);
mkdirSync(folder, { recursive: true });
await Promise.all(
  Object.entries(states)
    .filter(([name]) => wanted.length === 0 || wanted.includes(name))
    .map(async ([name, run]) => {
      const session = await call("POST", "/api/sessions", { title: name });
      const before = await call("GET", `/api/sessions/${session.id}/messages`);
      await run(play(session));
      const events = await eventsAfter(session.id, before.cursor);
      const after = await call("GET", `/api/sessions/${session.id}/messages`);
      writeFileSync(`${folder}${name}.json`, `${JSON.stringify({ before, events, after }, null, 1)}\n`);
      console.log(name, events.map((event) => event.type).join(" "));
    }),
);
