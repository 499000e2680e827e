// An agent on the official Python SDK: its own process, which can be killed and started again.

import { type ChildProcessByStdio, spawn } from "node:child_process";
import { once } from "node:events";
import { join } from "node:path";
import type { Readable, Writable } from "node:stream";

/** What a program keeps about the bridge, as it stands in its configuration. */
export type Server = { url: string } | { command: string; args: string[] };

/** What the agent tells, one member at a time. */
export interface Told {
  connected?: string;
  holding?: string[];
  answering?: string;
  failed?: string;
  disconnected?: string;
}

export class SdkAgent {
  /** What it told in all its lives. */
  readonly told: Told[] = [];
  /** The same as it came, complaints included. */
  said = "";
  #python: string;
  #arguments: string[];
  #process: ChildProcessByStdio<Writable, Readable, Readable>;

  constructor(python: string, server: Server, session: string) {
    this.#python = python;
    this.#arguments = [join(import.meta.dirname, "agent.py"), JSON.stringify(server), session];
    this.#process = this.#start();
  }

  /** Starts it again. It remembers nothing; its name is in its configuration. */
  resume(): void {
    this.#process = this.#start();
  }

  #start(): ChildProcessByStdio<Writable, Readable, Readable> {
    const child = spawn(this.#python, this.#arguments, { stdio: ["pipe", "pipe", "pipe"] });
    let rest = "";
    child.stdout.setEncoding("utf8").on("data", (chunk: string) => {
      this.said += chunk;
      const lines = (rest + chunk).split("\n");
      rest = lines.pop() ?? "";
      this.told.push(...lines.map((line) => JSON.parse(line) as Told));
    });
    child.stderr.setEncoding("utf8").on("data", (chunk: string) => {
      this.said += chunk;
    });
    // A cue to an agent that has died is no fault of the cue.
    child.stdin.on("error", () => undefined);
    return child;
  }

  /** Lets it answer what it thinks about. */
  goOn(): void {
    this.#process.stdin.write("\n");
  }

  /** Ends it as a power cut would. */
  async kill(): Promise<void> {
    this.#process.kill("SIGKILL");
    await this.#over();
  }

  /** Lets it say goodbye, and tells its exit code. */
  async leave(): Promise<number | null> {
    this.#process.stdin.end();
    await this.#over();
    return this.#process.exitCode;
  }

  async #over(): Promise<void> {
    if (this.#process.exitCode === null && this.#process.signalCode === null) {
      await once(this.#process, "exit");
    }
  }
}
