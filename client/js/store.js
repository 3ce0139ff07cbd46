/** The sessions of one learner in IndexedDB. */

import { LONGEST } from "./answer.js";

/**
 * @typedef {{
 *   client_session_uuid: string, attempts: object[], started_at?: string, finished_at?: string,
 *   [field: string]: unknown
 * }} Session as the endpoint takes it, without `sent_at`
 * @typedef {{
 *   id: string, session: Session, added: number, state: "waiting" | "refused", tries: number, nextAt: number,
 *   problem?: import("./answer.js").Problem
 * }} Item times in milliseconds since 1970
 * @typedef {{ key: any } | null} Place the key in an index: the state, and `added` or `nextAt`
 */

const SESSIONS = "sessions";

export class Store {
  #name;
  /** @type {Promise<IDBDatabase> | undefined} */
  #database;

  /** @param {string} name */
  constructor(name) {
    this.#name = name;
  }

  /**
   * Keep a new session, on the disk. If it is there already, with the same content, nothing changes.
   * @param {Item} item
   */
  add(item) {
    // One request, without a look before it: `add` fails if the id is there already.
    return this.#run((sessions) => [sessions.add(item)], "readwrite", "strict").catch(async (error) => {
      const known = await this.get(item.id);
      if (canonical(known?.session) != canonical(item.session)) throw known ? new Error("another session has this id") : error;
    });
  }

  /**
   * @param {string} id
   * @returns {Promise<Item | undefined>}
   */
  async get(id) {
    return (await this.#run((sessions) => [sessions.get(id)]))[0];
  }

  /** @returns {Promise<Item[]>} refused sessions first, then waiting ones, each kind oldest first */
  async all() {
    return (await this.#run((sessions) => [sessions.index("added").getAll()]))[0];
  }

  /**
   * List the ids of waiting sessions that are due at a time. A session whose time is further away than any wait was
   * written before the clock was set back: it is due, too.
   * @param {number} time
   * @returns {Promise<string[][]>}
   */
  due(time) {
    return this.#run((sessions) =>
      [range("waiting", 0, time), range("waiting", time + LONGEST)].map((keys) => sessions.index("nextAt").getAllKeys(keys)),
    );
  }

  /**
   * Count the waiting and the refused sessions; find the waiting one that is oldest, and the one that is due first.
   * @returns {Promise<[waiting: number, refused: number, oldest: Place, next: Place]>}
   */
  summary() {
    const waits = range("waiting");
    return this.#run((sessions) => {
      const added = sessions.index("added");
      return [added.count(waits), added.count(range("refused")), added.openKeyCursor(waits), sessions.index("nextAt").openKeyCursor(waits)];
    });
  }

  /**
   * Change a session that is still there; without a change, delete it.
   * @param {string} id
   * @param {Partial<Item>} [change]
   */
  change(id, change) {
    return this.#run((sessions) => {
      if (!change) return [sessions.delete(id)];
      const known = sessions.get(id);
      known.onsuccess = () => known.result && sessions.put({ ...known.result, ...change });
    }, "readwrite");
  }

  /**
   * Run a transaction; resolves when it is complete. (`onsuccess` of a put is no proof: with a full quota it comes,
   * too.) If the work returns all its writes, the browser is told that no other write follows, and need not wait.
   * (It is not told so of reads: in Chromium 156, reads of values over 64 KB would then never end.
   * tests/browser/test_storage.py)
   * @param {(sessions: IDBObjectStore) => IDBRequest[] | void} work
   * @param {IDBTransactionMode} [mode]
   * @param {IDBTransactionDurability} [durability]
   * @returns {Promise<any>} the results of the requests that the work returned
   */
  async #run(work, mode, durability = "relaxed") {
    const begin = async () => (await (this.#database ??= this.#open())).transaction(SESSIONS, mode, { durability });
    const transaction = await begin().catch(() => {
      // The browser may have closed the database, as when site data are cleared: open it again, once.
      this.#database = undefined;
      return begin();
    });
    return new Promise((resolve, reject) => {
      const requests = work(transaction.objectStore(SESSIONS));
      if (mode && requests) transaction.commit();
      transaction.oncomplete = () => resolve(requests?.map(({ result }) => result));
      transaction.onabort = () => reject(transaction.error);
    });
  }

  /** @returns {Promise<IDBDatabase>} */
  #open() {
    return new Promise((resolve, reject) => {
      const request = indexedDB.open(this.#name, 1);
      request.onupgradeneeded = () => {
        const sessions = request.result.createObjectStore(SESSIONS, { keyPath: "id" });
        // By these indexes, what to send is chosen without reading sessions of 100 KB.
        for (const field of ["added", "nextAt"]) sessions.createIndex(field, ["state", field]);
      };
      request.onsuccess = () => {
        const database = request.result;
        // The browser has cleared the database; or the page deletes it, and the deletion waits until we close it.
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
 * @param {Item["state"]} state
 * @param {number} [from]
 * @param {number | []} [to] an empty array comes after every number
 */
function range(state, from = 0, to = []) {
  return IDBKeyRange.bound([state, from], [state, to]);
}

/**
 * Write a session so that equal sessions give equal texts.
 * @param {Session} [session]
 */
function canonical(session) {
  return JSON.stringify(session, (_, value) =>
    value && typeof value == "object" ? Object.fromEntries(Object.entries(value).sort()) : value,
  );
}
