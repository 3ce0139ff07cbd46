/**
 * Finished quiz sessions, kept on the device until the server has recorded them.
 *
 * A session is on the disk when `add` resolves, and is deleted only after the server's own answer that carries
 * its id. Several tabs may share an outbox: one of them sends.
 */

import { judge, LONGEST, retryAfter } from "./answer.js";
import { Store } from "./store.js";

/**
 * @typedef {import("./answer.js").Problem} Problem
 * @typedef {import("./store.js").Session} Session
 * @typedef {import("./store.js").Item} Item
 * @typedef {(why: { refused: boolean }) => string | null | undefined | Promise<string | null | undefined>} Token
 * @typedef {{
 *   url: string, learner: string | number, token: Token
 * }} Options `url`: the server's; `token`: gives a token, or null if there is none at present
 * @typedef {{
 *   waiting: number, refused: number, oldest: number | null, nextTry: number | null,
 *   lastAnswer: { status: number, at: number } | null, persisted: boolean
 * }} Status times in milliseconds since 1970; `lastAnswer.status` is 0 if no answer came
 */

const MAX_ATTEMPTS = 500;
/** 1 MiB, less what `sent_at` adds. */
const MAX_BYTES = 1_048_500;
/** A browser sends 64 KiB at most for a page that is being closed: the outbox uses a little less. */
const MAX_KEEPALIVE_BYTES = 61_440;
const DEADLINE = 30_000;
/** A sending tab that shows no progress for this many seconds hangs: another tab takes over. */
const HANGS = 45;
const LONGEST_PAUSE = 60_000;
const LONGEST_WAIT = 900_000;
const STUCK = 8;
const MAX_REFUSALS = 8;
const UUID = /^[\da-f]{8}(-[\da-f]{4}){4}[\da-f]{8}$/;

/** Events: `change`, `sent`, `refused`, `token-needed`, `stuck`. */
export class Outbox extends EventTarget {
  #url;
  #ask;
  #name;
  #store;
  #channel;
  /** @type {Promise<void> | undefined} */
  #drain;
  /** The number of the drain (run of sending) that may go on: a drain that has lost the lock stops. */
  #turn = 0;
  #again = false;
  #all = false;
  #held = false;
  /**
   * Three numbers: rounds that failed since the last answer, the end of the pause, and the end that Retry-After asks
   * for. It starts as after one failure, with one post alone: four posts at once would each ask for a preflight.
   */
  #pause = [1, 0, 0];
  /** Tokens that were refused. @type {Set<unknown>} */
  #refused = new Set();
  /** The new token (or its promise) asked for after the last refusal. @type {[ReturnType<Token>] | undefined} */
  #fresh;
  /** How many refusals of tokens came since the last answer of another kind: `token` may give a new token each time. */
  #refusals = 0;
  #flying = 0;
  /** Seconds without a sign of the tab that sends. Only seconds in which this tab runs count: it may be suspended. */
  #silence = 0;
  /** @type {Status["lastAnswer"]} */
  #lastAnswer = null;
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #timer;

  /** @param {Options} options */
  constructor({ url, learner, token }) {
    super();
    this.#url = url.replace(/\/$/, "") + "/ingest/study/attempts";
    this.#ask = token;
    this.#name = "study-outbox:" + learner;
    this.#store = new Store(this.#name);
    this.#channel = new BroadcastChannel(this.#name);
    this.#channel.onmessage = ({ data }) => {
      this.#silence = 0;
      this.#pause = data;
      this.#emit("change");
      this.#wake(); // waits for the lock, to take over at once if the sending tab dies
    };
    for (const type of ["pageshow", "visibilitychange"]) addEventListener(type, () => void this.#wake());
    // An answer of a captive portal or a proxy means nothing on another network.
    addEventListener("online", () => void this.flush());
    this.#wake();
  }

  /**
   * Keep a finished session, and send it. Resolves when it is on the disk. Rejects if the session can never be
   * sent, if another session has its id, or if the disk is full.
   * @param {Session} session
   */
  async add(session) {
    const id = String(session.client_session_uuid).toLowerCase();
    const text = JSON.stringify({ ...session, sent_at: undefined });
    const count = session.attempts?.length;
    if (!UUID.test(id) || !(count > 0 && count <= MAX_ATTEMPTS) || bytes(text).length > MAX_BYTES) {
      throw new RangeError("a session has a client_session_uuid, 1 to 500 attempts, 1 MiB at most");
    }
    const now = Date.now();
    await this.#store.add({ id, session: JSON.parse(text), added: now, state: "waiting", tries: 0, nextAt: now });
    navigator.storage?.persist();
    navigator.serviceWorker?.ready
      .then((/** @type {any} */ worker) => worker.sync?.register(this.#name))
      .catch(() => {}); // a hint, which most browsers do not take
    this.#tell();
    this.#wake();
  }

  /** Try every session now, unless a Retry-After is not over yet. Resolves when no more can be done at present. */
  flush() {
    this.#all = true;
    this.#pause[1] = this.#pause[2];
    this.#refused.clear();
    this.#refusals = 0;
    this.#fresh = undefined;
    return this.#wake();
  }

  /** @returns {Promise<Status>} */
  async status() {
    const [waiting, refused, oldest, next] = await this.#store.summary();
    return {
      waiting,
      refused,
      oldest: oldest && oldest.key[1],
      nextTry: next && Math.max(this.#pause[1], next.key[1]),
      lastAnswer: this.#lastAnswer,
      persisted: !!(await navigator.storage?.persisted()),
    };
  }

  /** List what is kept: refused sessions first, then waiting ones, each kind oldest first. */
  items() {
    return this.#store.all();
  }

  /**
   * Delete a session that the learner gives up.
   * @param {string} id
   */
  async forget(id) {
    await this.#store.change(id.toLowerCase());
    this.#tell();
  }

  /** Write what is kept as NDJSON, which `study-ingest upload` reads. */
  async export() {
    return (await this.items()).map(({ session }) => JSON.stringify(session) + "\n").join("");
  }

  /** @returns {Promise<void>} */
  async #wake() {
    this.#again = true;
    return (this.#drain ??= this.#lock(async () => {
      const turn = ++this.#turn;
      while (turn == this.#turn && ((await this.#round(turn)) || this.#again));
    })
      // Another tab has taken over, or the store fails.
      .then(() => this.#schedule(0), () => this.#schedule(LONGEST_PAUSE)));
  }

  /**
   * Run the work in one tab at a time. Without the lock nothing would be lost, but sessions would be sent twice.
   * @param {() => Promise<void>} work
   */
  async #lock(work) {
    const { locks } = navigator;
    if (!locks) return work();
    const waits = new AbortController();
    this.#silence = 0;
    const watch = setInterval(() => ++this.#silence > HANGS && waits.abort(), 1000);
    const hold = () => {
      clearInterval(watch);
      return work();
    };
    try {
      await locks.request(this.#name, { signal: waits.signal }, hold).catch((error) => {
        if (!waits.signal.aborted) throw error;
        return locks.request(this.#name, { steal: true }, hold);
      });
    } finally {
      this.#turn++;
    }
  }

  /**
   * Send what is due: one session after a failure, else four at once. Returns whether to go on.
   * @param {number} turn
   */
  async #round(turn) {
    this.#again = this.#held = false;
    const now = Date.now();
    const [rounds, until] = this.#pause;
    if (due(until) > now) return false;
    let ids = (await this.#store.due(this.#all ? Infinity : now)).flat();
    if (!ids.length) return false;
    // After a failure, send one session alone, a different one each time: the session itself may be the cause.
    if (rounds) ids = [ids[rounds % ids.length]];
    this.#all &&= rounds > 0;
    /** @type {string | undefined} */
    let stop;
    let asked = 0;
    const lane = async () => {
      for (let id; !stop && turn == this.#turn && (id = ids.shift()); ) {
        const item = await this.#store.get(id);
        if (item?.state != "waiting") continue; // sent, refused or deleted meanwhile
        const [action, wait = 0] = await this.#send(item);
        // `flush` sent it before it was due: it is sent again in this round, with a fresh token.
        if (action == "token" && item.nextAt > now) ids.push(id);
        if (action == "pause" || (action == "hold" && !stop)) stop = action;
        asked = Math.max(asked, wait);
      }
    };
    await Promise.all([lane(), lane(), lane(), lane()]);
    if ((this.#held = stop == "hold")) this.#emit("token-needed");
    else {
      const pause = Math.random() * Math.min(LONGEST_PAUSE, 1000 * 2 ** rounds);
      this.#pause = stop ? [rounds + 1, Date.now() + Math.max(asked, pause), Date.now() + asked] : [0, 0, 0];
      this.#tell();
    }
    return !stop;
  }

  /**
   * Send one session, and do what the answer demands. Returns the action, and the milliseconds of Retry-After.
   * @param {Item} item
   * @returns {Promise<[import("./answer.js").Action, number?]>}
   */
  async #send(item) {
    const { id } = item;
    let token;
    try {
      token = await this.#token();
    } catch {
      this.#fresh = undefined;
      return ["pause"]; // such as when a token has to be fetched, and the network is away
    }
    if (!token) return ["hold"];
    const answer = await this.#post(bytes(JSON.stringify({ ...item.session, sent_at: localTime() })), token);
    this.#lastAnswer = { status: answer.status, at: Date.now() };
    const [action, problem] = judge(id, answer);
    if (action == "token") {
      // Tokens are noted by value, as four lanes may have sent the same one.
      if (!this.#refused.has(token)) {
        this.#refused.add(token);
        // If the new token is refused, too, ask for no more.
        if (!this.#refusals++) this.#fresh = undefined;
      }
      if (this.#refusals > MAX_REFUSALS) return ["hold"];
    } else this.#refusals = 0;
    if (action == "delete") {
      await this.#store.change(id);
      this.#emit("sent", item);
    } else if (action == "refuse") {
      await this.#store.change(id, { state: "refused", problem });
      this.#emit("refused", { ...problem, id });
    } else if (action == "later") {
      const tries = item.tries + 1;
      await this.#store.change(id, { tries, nextAt: Date.now() + Math.min(LONGEST_WAIT, 1000 * 2 ** tries) });
      if (tries == STUCK) this.#emit("stuck", item);
    }
    this.#tell();
    return [action, answer.wait];
  }

  /**
   * @param {Uint8Array<ArrayBuffer>} body
   * @param {string} token
   */
  async #post(body, token) {
    const share = this.#flying + body.length <= MAX_KEEPALIVE_BYTES ? body.length : 0;
    this.#flying += share;
    try {
      // No `cache` option: "no-store" would ask for a preflight each time.
      const response = await fetch(this.#url, {
        method: "POST",
        body,
        headers: { Authorization: "Bearer " + token, "Content-Type": "application/json" },
        credentials: "omit",
        referrerPolicy: "no-referrer",
        redirect: "error",
        keepalive: share > 0,
        signal: AbortSignal.timeout(DEADLINE),
      });
      // Always read the body: only then is the share of `keepalive` released.
      const text = await response.text();
      return {
        status: response.status,
        type: response.headers.get("Content-Type"),
        text,
        wait: retryAfter(response.headers.get("Retry-After")),
      };
    } catch {
      return { status: 0, wait: 0 };
    } finally {
      this.#flying -= share;
    }
  }

  /** Return a token that was not refused, or null; a new token is asked for once for all lanes. */
  async #token() {
    let token = await this.#ask({ refused: false });
    if (this.#refused.has(token)) token = await (this.#fresh ??= [this.#ask({ refused: true })])[0];
    return this.#refused.has(token) ? null : token;
  }

  /**
   * Wake again when the next session is due, but not before a pause.
   * @param {number} pause
   */
  async #schedule(pause) {
    this.#drain = undefined;
    const { nextTry } = await this.status().catch(() => ({ nextTry: 0 }));
    clearTimeout(this.#timer);
    if (nextTry == null) return;
    // A refused token may be good: a proxy may have refused it.
    this.#timer = this.#held
      ? setTimeout(() => this.flush(), LONGEST)
      : setTimeout(() => this.#wake(), Math.max(pause, due(nextTry) - Date.now()));
  }

  /** Tell this tab and the others that something has changed; for the others it is also a sign that this tab runs. */
  #tell() {
    this.#channel.postMessage(this.#pause);
    this.#emit("change");
  }

  /**
   * @param {string} type
   * @param {object} [detail]
   */
  #emit(type, detail) {
    this.dispatchEvent(new CustomEvent(type, { detail }));
  }
}

/**
 * Write a time as the device's wall clock shows it, with its offset: both decide the study date.
 * @param {Date} [at]
 */
export function localTime(at = new Date()) {
  const offset = -at.getTimezoneOffset() * 60_000;
  const iso = (/** @type {number} */ time) => new Date(time).toISOString();
  return iso(+at + offset).slice(0, -1) + (offset < 0 ? "-" : "+") + iso(Math.abs(offset)).slice(11, 16);
}

/**
 * Return a time at which something is due, or 0 where a clock that was set back makes it too far away.
 * @param {number} time
 */
function due(time) {
  return time - Date.now() > LONGEST ? 0 : time;
}

/** @param {string} text */
function bytes(text) {
  return new TextEncoder().encode(text);
}
