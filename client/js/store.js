/** The sessions of one learner in IndexedDB. */

/**
 * @typedef {{
 *   client_session_uuid: string, attempts: object[], started_at?: string, finished_at?: string,
 *   [field: string]: unknown
 * }} Session as the endpoint takes it, without `sent_at`
 * @typedef {{
 *   id: string, session: Session, added: number, state: "waiting" | "refused", tries: number, nextAt: number,
 *   problem?: import("./answer.js").Problem
 * }} Item times in milliseconds since 1970
 * @typedef {[state: string, added: number, nextAt: number, id: string]} Entry
 */

const SESSIONS = "sessions";
/** Its keys tell all that is needed to choose what to send; sessions of 100 KB need not be read for it. */
const ORDER = "order";

export class Store {
  #name;
  /** @type {Promise<IDBDatabase> | undefined} */
  #database;

  /** @param {string} name */
  constructor(name) {
    this.#name = name;
  }

  /**
   * Keep a new session, on the disk. One that is there with the same content stays as it is.
   * @param {Item} item
   */
  add(item) {
    return this.#run("readwrite", (sessions, transaction) => {
      const known = sessions.get(item.id);
      known.onsuccess = () => {
        if (!known.result) sessions.add(item);
        else if (canonical(known.result.session) != canonical(item.session)) transaction.abort();
      };
    }, "strict");
  }

  /**
   * @param {string} id
   * @returns {Promise<Item | undefined>}
   */
  get(id) {
    return this.#run("readonly", (sessions) => sessions.get(id));
  }

  /** @returns {Promise<Item[]>} */
  all() {
    return this.#run("readonly", (sessions) => sessions.index(ORDER).getAll());
  }

  /**
   * List the sessions of a state, oldest first.
   * @param {Item["state"]} state
   */
  async list(state) {
    /** @type {Entry[]} */
    const entries = [];
    await this.#run("readonly", (sessions) => {
      const walk = sessions.index(ORDER).openKeyCursor(IDBKeyRange.bound([state], [state, []]));
      walk.onsuccess = () => {
        const cursor = walk.result;
        if (!cursor) return;
        entries.push(/** @type {any} */ ([...(/** @type {any} */ (cursor.key)), cursor.primaryKey]));
        cursor.continue();
      };
    });
    return entries;
  }

  /**
   * Change a session that is still there; without a change, delete it.
   * @param {string} id
   * @param {Partial<Item>} [change]
   */
  change(id, change) {
    return this.#run("readwrite", (sessions) => {
      if (!change) return sessions.delete(id);
      const known = sessions.get(id);
      known.onsuccess = () => known.result && sessions.put({ ...known.result, ...change });
    });
  }

  /**
   * Run a transaction; resolves when it is complete: at a full quota, `onsuccess` of a put comes and is wrong.
   * @param {IDBTransactionMode} mode
   * @param {(sessions: IDBObjectStore, transaction: IDBTransaction) => IDBRequest | void} work
   * @param {IDBTransactionDurability} [durability]
   * @returns {Promise<any>}
   */
  async #run(mode, work, durability = "relaxed") {
    const transaction = await this.#begin(mode, durability).catch(() => {
      // A handle that the browser has closed, as when site data are cleared: open another, once.
      this.#database = undefined;
      return this.#begin(mode, durability);
    });
    return new Promise((resolve, reject) => {
      const request = work(transaction.objectStore(SESSIONS), transaction);
      transaction.oncomplete = () => resolve(request?.result);
      // Without an error it was `add` that aborted.
      transaction.onabort = () => reject(transaction.error ?? new Error("another session has this client_session_uuid"));
    });
  }

  /**
   * @param {IDBTransactionMode} mode
   * @param {IDBTransactionDurability} durability
   */
  async #begin(mode, durability) {
    return (await (this.#database ??= this.#open())).transaction(SESSIONS, mode, { durability });
  }

  /** @returns {Promise<IDBDatabase>} */
  #open() {
    return new Promise((resolve, reject) => {
      const request = indexedDB.open(this.#name, 1);
      request.onupgradeneeded = () =>
        request.result.createObjectStore(SESSIONS, { keyPath: "id" }).createIndex(ORDER, ["state", "added", "nextAt"]);
      request.onsuccess = () => {
        const database = request.result;
        // Cleared by the browser, or deleted by the page, which would wait for us.
        database.onclose = database.onversionchange = () => {
          database.close();
          this.#database = undefined;
        };
        resolve(database);
      };
      request.onerror = () => reject(request.error);
    });
  }
}

/**
 * Write a session so that equal ones are written alike.
 * @param {Session} session
 */
function canonical(session) {
  return JSON.stringify(session, (_, value) =>
    value && typeof value == "object" ? Object.fromEntries(Object.entries(value).sort()) : value,
  );
}
