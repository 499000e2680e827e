// What the browser keeps for the person and nobody else has: the messages not yet accepted, and the drafts.

export interface Kept {
  /** The idempotency key: sending twice under it stores one message. */
  key: string;
  session: string;
  text: string;
  /** Milliseconds since 1970; also the order of sending. */
  at: number;
  /** Why the server will not take it. */
  refused?: { code: string; title: string };
}

const NAME = "bridge";
const OUTBOX = "outbox";
const DRAFTS = "drafts";

function done<T>(request: IDBRequest<T>): Promise<T> {
  return new Promise((resolve, reject) => {
    request.onsuccess = () => resolve(request.result);
    request.onerror = () => reject(request.error ?? new Error("the browser's store failed"));
  });
}

export class Store {
  #database: Promise<IDBDatabase>;

  constructor(name = NAME) {
    const request = indexedDB.open(name, 1);
    request.onupgradeneeded = () => {
      request.result.createObjectStore(OUTBOX, { keyPath: "key" });
      request.result.createObjectStore(DRAFTS);
    };
    this.#database = done(request);
    this.#database.catch(() => undefined);
  }

  async kept(): Promise<Kept[]> {
    const all = (await this.#run(OUTBOX, "readonly", (store) => store.getAll())) as Kept[];
    return all.sort((a, b) => a.at - b.at);
  }

  async keep(entry: Kept): Promise<void> {
    await this.#run(OUTBOX, "readwrite", (store) => store.put(entry));
  }

  async forget(key: string): Promise<void> {
    await this.#run(OUTBOX, "readwrite", (store) => store.delete(key));
  }

  async draft(session: string): Promise<string> {
    return ((await this.#run(DRAFTS, "readonly", (store) => store.get(session))) as string | undefined) ?? "";
  }

  async keepDraft(session: string, text: string): Promise<void> {
    await this.#run(DRAFTS, "readwrite", (store) => (text === "" ? store.delete(session) : store.put(text, session)));
  }

  /** Resolves when the change is in the database, not merely asked for. */
  async #run(name: string, mode: IDBTransactionMode, work: (store: IDBObjectStore) => IDBRequest): Promise<unknown> {
    const database = await this.#database;
    return new Promise((resolve, reject) => {
      const transaction = database.transaction(name, mode, { durability: "strict" });
      const request = work(transaction.objectStore(name));
      transaction.oncomplete = () => resolve(request.result);
      transaction.onabort = () => reject(transaction.error ?? new Error("the browser's store gave up"));
      transaction.onerror = () => reject(transaction.error ?? new Error("the browser's store failed"));
    });
  }
}
