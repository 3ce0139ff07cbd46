/** What the page keeps on the device, beside the outbox: who is signed in, the session that has begun, and finished sessions. */

/**
 * @typedef {{ learner: string, token: string }} Account
 * @typedef {{ pub_id: string, text: string, choices: string[] }} Question
 * @typedef {{ pub_id: string, selected: number | null, unsure: boolean, answered_at: string }} Answer
 * @typedef {{
 *   topic: string, questions: Question[],
 *   session: { client_session_uuid: string, started_at: string, finished_at?: string, attempts: Answer[] }
 * }} Draft
 * @typedef {{
 *   id: string, what: string, at: number, answers: Answer[], refused?: boolean, why?: string, due?: Record<string, string>
 * }} Finished `why`: what the server made of the session; `due`: the day on which a question is due next
 */

const VALUES = "values";

/**
 * Read a value; undefined if there is none.
 * @param {string} key
 * @returns {Promise<any>}
 */
export function read(key) {
  return run("readonly", (values) => values.get(key));
}

/**
 * Keep a value; it is on the disk when this resolves. The value undefined deletes it.
 * @param {string} key
 * @param {unknown} value
 */
export function keep(key, value) {
  return run("readwrite", (values) => (value === undefined ? values.delete(key) : values.put(value, key)));
}

/**
 * @param {IDBTransactionMode} mode
 * @param {(values: IDBObjectStore) => IDBRequest} work
 */
async function run(mode, work) {
  const database = await open();
  try {
    return await new Promise((resolve, reject) => {
      const transaction = database.transaction(VALUES, mode, { durability: "strict" });
      const request = work(transaction.objectStore(VALUES));
      transaction.oncomplete = () => resolve(request.result);
      transaction.onabort = () => reject(transaction.error);
    });
  } finally {
    database.close();
  }
}

/** @returns {Promise<IDBDatabase>} */
function open() {
  return new Promise((resolve, reject) => {
    const request = indexedDB.open("viewer", 1);
    request.onupgradeneeded = () => request.result.createObjectStore(VALUES);
    request.onsuccess = () => resolve(request.result);
    request.onerror = () => reject(request.error);
  });
}
