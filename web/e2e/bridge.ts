// A real bridge for one test: its own process, port and data, which outlive a kill.

import { type ChildProcess, spawn } from "node:child_process";
import { mkdirSync, mkdtempSync, rmSync } from "node:fs";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";

export const BIN = resolve(process.env["BRIDGE_BIN"] ?? join(import.meta.dirname, "../../target/debug/bridge"));

function freePort(): Promise<number> {
  return new Promise((done, failed) => {
    const server = createServer();
    server.on("error", failed);
    server.listen(0, "127.0.0.1", () => {
      const address = server.address();
      server.close(() => (typeof address === "object" && address !== null ? done(address.port) : failed(new Error("no port"))));
    });
  });
}

const sleep = (ms: number) => new Promise((done) => setTimeout(done, ms));

export class Bridge {
  readonly url: string;
  #port: number;
  #data: string;
  #process: ChildProcess | undefined;
  /** What the process last said. */
  said = "";

  private constructor(port: number) {
    this.#port = port;
    this.#data = mkdtempSync(join(tmpdir(), "bridge-e2e-"));
    this.url = `http://127.0.0.1:${port}`;
  }

  static async start(): Promise<Bridge> {
    const bridge = new Bridge(await freePort());
    await bridge.resume();
    return bridge;
  }

  /** Starts the process on the same port and data as before. */
  async resume(): Promise<void> {
    const child = spawn(BIN, ["serve", "--listen", `127.0.0.1:${this.#port}`, "--data", this.#data], { stdio: ["ignore", "pipe", "pipe"] });
    this.#process = child;
    const listen = (chunk: Buffer) => {
      this.said = (this.said + chunk.toString()).slice(-10_000);
    };
    child.stdout?.on("data", listen);
    child.stderr?.on("data", listen);
    for (let tries = 0; tries < 300; tries += 1) {
      if (child.exitCode !== null) {
        throw new Error(`the bridge ended with ${child.exitCode}:\n${this.said}`);
      }
      const answer = await fetch(`${this.url}/health`).catch(() => undefined);
      if (answer?.ok === true) {
        return;
      }
      await sleep(50);
    }
    throw new Error(`the bridge does not answer:\n${this.said}`);
  }

  /** Ends the process as a power cut would. */
  async kill(): Promise<void> {
    const child = this.#process;
    if (child === undefined || child.exitCode !== null || child.signalCode !== null) {
      return;
    }
    const over = new Promise((done) => child.once("exit", done));
    child.kill("SIGKILL");
    await over;
  }

  /** Loses everything, as when another disk is put in. */
  forget(): void {
    rmSync(this.#data, { recursive: true, force: true });
    mkdirSync(this.#data);
  }

  async remove(): Promise<void> {
    await this.kill();
    rmSync(this.#data, { recursive: true, force: true });
  }

  async call<T>(method: string, path: string, body?: unknown): Promise<T> {
    const response = await fetch(this.url + path, {
      method,
      headers: body === undefined ? {} : { "content-type": "application/json" },
      ...(body === undefined ? {} : { body: JSON.stringify(body) }),
    });
    const text = await response.text();
    if (!response.ok) {
      throw new Error(`${method} ${path}: ${response.status} ${text}`);
    }
    return (text === "" ? undefined : JSON.parse(text)) as T;
  }

  open(title?: string): Promise<{ id: string }> {
    return this.call("POST", "/api/sessions", title === undefined ? {} : { title });
  }

  page(session: string): string {
    return `${this.url}/dashboard/${session}`;
  }
}

export interface Taken {
  token: string;
  message: { id: string; text: string };
}

/** An agent that is played by hand. */
export class Agent {
  #bridge: Bridge;
  #session: string;
  #name: string;

  constructor(bridge: Bridge, session: string, name = "claude-7f3a") {
    this.#bridge = bridge;
    this.#session = session;
    this.#name = name;
  }

  /** Asks for messages and takes what is there, waiting if nothing is. */
  async look(wish: Record<string, unknown> = {}): Promise<Taken[]> {
    const { deliveries } = await this.#bridge.call<{ deliveries: Taken[] }>("POST", "/api/receive", {
      mailbox: `session:${this.#session}/agent`,
      consumer: this.#name,
      wait_ms: 20_000,
      ...wish,
    });
    return deliveries;
  }

  async take(wish: Record<string, unknown> = {}): Promise<Taken> {
    const [first] = await this.look(wish);
    if (first === undefined) {
      throw new Error("there is nothing to take");
    }
    return first;
  }

  settle(taken: Taken, outcome: string, more: Record<string, unknown> = {}): Promise<unknown> {
    return this.#bridge.call("POST", "/api/settle", { token: taken.token, consumer: this.#name, outcome, ...more });
  }

  answer(taken: Taken, text: string): Promise<unknown> {
    return this.settle(taken, "answer", { reply: { text } });
  }

  /** Says something of its own accord. */
  say(text: string, more: Record<string, unknown> = {}): Promise<unknown> {
    return this.#bridge.call("POST", `/api/sessions/${this.#session}/messages`, { text, from: "agent", ...more });
  }

  /** Writes as the person, without the page. */
  hear(text: string, more: Record<string, unknown> = {}): Promise<unknown> {
    return this.#bridge.call("POST", `/api/sessions/${this.#session}/messages`, { text, from: "user", ...more });
  }
}
