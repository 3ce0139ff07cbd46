/** The quiz page: choose a topic, answer, finish; and see what became of the sessions. Works without a network. */

import { keep, read } from "./device.js";
import { localTime, Outbox } from "./study-outbox/outbox.js";

/** @typedef {import("./device.js").Account} Account */
/** @typedef {import("./device.js").Draft} Draft */
/** @typedef {import("./device.js").Finished} Finished */
/** @typedef {import("./device.js").Question} Question */
/** @typedef {{ name: string, questions: Question[] }} Topic */

const QUESTIONS = 5;
const SHOWN = 10;
/** The page is served below the API. */
const SERVER = new URL("..", location.href).href;
const RESULT_AFTER = 1500;
const LONGEST_RESULT_AFTER = 300_000;
const SECTIONS = ["sign-in", "topics", "question", "finished"];

/** @type {Topic[]} */
const topics = await (await fetch("questions.json")).json();
const topicOf = new Map(topics.flatMap(({ name, questions }) => questions.map(({ pub_id }) => [pub_id, name])));
const questionOf = new Map(topics.flatMap(({ questions }) => questions.map((question) => [question.pub_id, question])));

/** @type {Account | undefined} */
let account;
/** @type {Outbox | undefined} */
let outbox;
/** @type {Draft | undefined} */
let draft;
/** Drafts are written one after the other. @type {Promise<unknown>} */
let written = Promise.resolve();
/** @type {ReturnType<typeof setTimeout>} */
let later;
let resultAfter = RESULT_AFTER;
/** How many sessions had no result when they were last listed. */
let unknown = 0;

/**
 * @param {string} selector
 * @returns {any}
 */
const $ = (selector) => document.querySelector(selector);

/**
 * Make an element. Texts are set as texts, never as HTML.
 * @param {string} tag
 * @param {Record<string, unknown>} [properties]
 * @param {(Node | string)[]} children
 */
function element(tag, properties = {}, ...children) {
  const made = Object.assign(document.createElement(tag), properties);
  made.append(...children);
  return made;
}

/**
 * Write a count with its noun, such as `2 answers`.
 * @param {number} count
 * @param {string} noun
 */
const plural = (count, noun) => `${count} ${noun}${count == 1 ? "" : "s"}`;

/**
 * Show one part of the page, and move the focus to its heading.
 * @param {string} name
 */
function show(name) {
  for (const each of SECTIONS) $("#" + each).hidden = each != name;
  $("#sessions").hidden = name == "question" || !account;
  $("#notice").hidden = true;
  // So that the browser's back button leads from a question to the topics, not out of the page.
  if (name == "question" && history.state != name) history.pushState(name, "");
  $(`#${name}-title`).focus();
  scrollTo(0, 0);
}

/** @param {unknown} error */
function notify(error) {
  $("#notice").textContent = error instanceof Error ? error.message : String(error);
  $("#notice").hidden = false;
}

// Signing in

/**
 * Read the account from a sign-in link: a learner's token, whose `sub` is the learner, or a learner and a token.
 * @param {string} link
 * @returns {Account | undefined}
 */
function accountOf(link) {
  const parameters = new URLSearchParams(link.slice(link.indexOf("#") + 1));
  const token = parameters.get("token");
  if (!token) return undefined;
  try {
    const part = token.split(".")[1].replaceAll("-", "+").replaceAll("_", "/");
    return { learner: String(JSON.parse(atob(part)).sub), token };
  } catch {
    const learner = parameters.get("learner");
    return learner ? { learner, token } : undefined;
  }
}

/** @param {string} link */
async function signIn(link) {
  const found = accountOf(link);
  if (!found) return notify("This is no sign-in link.");
  await keep("account", found);
  history.replaceState(null, "", location.pathname);
  location.reload();
}

async function signOut() {
  const waiting = (await outbox?.status())?.waiting;
  const stays = "They stay here, and are sent when you have signed in again. Sign out?";
  if (waiting && !confirm(`On this device ${plural(waiting, "session")} ${waiting == 1 ? "waits" : "wait"}. ${stays}`)) return;
  await keep("account", undefined);
  location.reload();
}

function askToSignIn() {
  const waits = "Your sign-in has ended. Your sessions stay on this device, and are sent when you have signed in again: open a new sign-in link, or paste it here.";
  if (account) $("#sign-in-why").textContent = waits;
  if ($("#question").hidden) show("sign-in");
}

// Answering

/**
 * Return the name under which a value of this learner is kept: several learners may share a device.
 * @param {string} name
 */
const mine = (name) => `${name} ${account?.learner}`;

/** @param {Draft | undefined} value */
function keepDraft(value) {
  const copy = structuredClone(value);
  written = written.catch(() => {}).then(() => keep(mine("draft"), copy));
  return written;
}

/** Show what another tab has done, if it has begun, continued or ended a session. Returns whether it has. */
async function follow() {
  const before = placeOf(draft);
  try {
    await written;
  } catch {
    return false; // the draft could not be written: only this tab has it
  }
  const kept = await read(mine("draft"));
  // An answer may have been given meanwhile.
  if (placeOf(draft) != before || placeOf(kept) == before) return false;
  draft = kept;
  if (draft && !$("#question").hidden) showQuestion();
  else showTopics();
  return true;
}

/** @param {Draft} [value] */
const placeOf = (value) => value && `${value.session.client_session_uuid} ${value.session.attempts.length}`;

function showTopics() {
  show("topics");
  /**
   * @param {string} name
   * @param {string} detail
   * @param {() => unknown} onclick
   */
  const card = (name, detail, onclick) =>
    element("li", {}, element("button", { type: "button", onclick }, name, element("small", {}, detail)));
  // A finished draft is one that the outbox could not take, such as on a full disk.
  const begun = draft && [
    draft.session.finished_at
      ? card(`Save ${draft.topic}`, plural(draft.session.attempts.length, "answer"), () => finish().catch(notify))
      : card(`Go on with ${draft.topic}`, countOf(draft), showQuestion),
  ];
  $("#topics ul").replaceChildren(
    ...(begun ?? []),
    ...topics.map((topic) =>
      card(topic.name, plural(Math.min(QUESTIONS, topic.questions.length), "question"), () => start(topic).catch(notify))),
  );
}

/** @param {Draft} value */
const countOf = ({ session, questions }) => `question ${session.attempts.length + 1} of ${questions.length}`;

/** @param {Topic} topic */
async function start(topic) {
  if (draft) {
    if (await follow()) return;
    await handOver(); // the session that was begun before: its answers are not lost
  }
  const questions = topic.questions
    .map((question) => ({ question, at: Math.random() }))
    .sort((one, other) => one.at - other.at)
    .slice(0, QUESTIONS)
    .map(({ question }) => question);
  const session = { client_session_uuid: crypto.randomUUID(), started_at: localTime(), attempts: [] };
  draft = { topic: topic.name, questions, session };
  showQuestion();
  await keepDraft(draft);
}

function showQuestion() {
  if (!draft) return;
  if (draft.session.finished_at) return showTopics();
  const { questions, session } = draft;
  const index = session.attempts.length;
  const { text, choices } = questions[index];
  $("#question-title").textContent = text;
  $(".count span").textContent = `${draft.topic}, ${countOf(draft)}`;
  Object.assign($("progress"), { value: index, max: questions.length });
  $(".choices").replaceChildren(
    ...choices.map((choice, n) =>
      element("label", {}, element("input", { type: "radio", name: "choice", value: String(n) }), choice)),
  );
  $("[name=unsure]").checked = false;
  showNext();
  show("question");
}

/** Name what the buttons do: a question may be left without an answer. */
function showNext() {
  $("#question [type=submit]").textContent = $("[name=choice]:checked") ? "Next" : "Skip";
  $("#leave").textContent = draft?.session.attempts.length ? "Finish now" : "Leave";
}

async function answer() {
  if (!draft || draft.session.finished_at) return finish();
  const chosen = $("[name=choice]:checked");
  const { questions, session } = draft;
  session.attempts.push({
    pub_id: questions[session.attempts.length].pub_id,
    selected: chosen ? Number(chosen.value) : null,
    unsure: $("[name=unsure]").checked,
    answered_at: localTime(),
  });
  if (session.attempts.length == questions.length) return finish();
  showQuestion();
  keepDraft(draft).catch(notify); // the next answer need not wait until the draft is written
}

async function finish() {
  const count = draft?.session.attempts.length;
  await handOver();
  if (!count) return showTopics();
  $("#finished > p").textContent = `${plural(count, "answer")} saved on this device, to be sent as soon as there is a network. Some browsers send only while this page is open.`;
  show("finished");
}

async function leave() {
  if (!(await follow())) await finish();
}

/** Give the session to the outbox. If that fails, the draft stays, and the learner can try again. */
async function handOver() {
  if (!draft || !outbox) return;
  const { session } = draft;
  if (session.attempts.length) {
    // The draft is kept first: after a crash on the way, the same session is added again, which changes nothing.
    session.finished_at ??= localTime();
    await keepDraft(draft);
    await outbox.add(session);
    const id = session.client_session_uuid;
    const others = (await finished()).filter((each) => each.id != id);
    const ended = { id, what: describe(session), at: Date.now(), answers: session.attempts };
    await keep(mine("finished"), [ended, ...others].slice(0, SHOWN));
  }
  await keepDraft(undefined);
  draft = undefined;
}

// The sessions

/**
 * @param {string} id
 * @param {string} what
 * @param {number} at
 * @param {string} state
 * @param {string} [why]
 */
function entry(id, what, at, state, why) {
  const time = new Date(at).toLocaleString([], { dateStyle: "medium", timeStyle: "short" });
  const made = element("li", {}, element("span", { className: "what" }, `${what}, ${time}`), element("span", { className: `state ${state}` }, state));
  made.dataset.id = id;
  if (why) made.append(element("p", { className: "why" }, why));
  return made;
}

/**
 * @param {string} title
 * @param {unknown} [why] a name such as `other_learner`
 */
const reason = (title, why) => (why ? `${title}: ${String(why).replaceAll("_", " ")}` : title);

/** @param {import("./study-outbox/store.js").Session} session */
function describe(session) {
  const first = /** @type {{ pub_id: string }} */ (session.attempts[0]);
  return `${topicOf.get(first.pub_id) ?? "Session"}, ${plural(session.attempts.length, "answer")}`;
}

/** @returns {Promise<Finished[]>} */
const finished = async () => (await read(mine("finished"))) ?? [];

/**
 * List the answers of a session, and if the server has said so, when each question is due next.
 * @param {Finished["answers"]} answers
 * @param {Finished["due"]} [due]
 */
function review(answers, due = {}) {
  const lines = answers.flatMap(({ pub_id, selected, unsure }) => {
    const question = questionOf.get(pub_id);
    if (!question) return [];
    const chosen = selected == null ? "no answer" : question.choices[selected];
    const day = due[pub_id] && `, next on ${new Date(`${due[pub_id]}T12:00`).toLocaleDateString([], { dateStyle: "medium" })}`;
    return [element("li", {}, question.text, element("small", {}, `${chosen}${unsure ? ", not sure" : ""}${day ?? ""}`))];
  });
  return element("details", {}, element("summary", {}, "Your answers"), element("ol", {}, ...lines));
}

async function showSessions() {
  if (!outbox) return;
  const [status, items, all] = await Promise.all([outbox.status(), outbox.items(), finished()]);
  const kept = items.reverse().map(({ id, session, added, state, problem, tries }) => {
    const fault = tries ? `The server failed with this session ${plural(tries, "time")}. It is sent again later.` : "";
    const why = problem ? reason(problem.title, problem.reason) : fault;
    const made = entry(id, describe(session), added, state, why);
    made.append(review(/** @type {any} */ (session.attempts)));
    if (state == "refused") {
      const remove = () => forget(id, describe(session));
      made.append(element("button", { type: "button", className: "quiet", onclick: remove }, "Delete"));
    }
    return made;
  });
  // A session that is no longer in the outbox was recorded by the server.
  const sent = all.filter(({ id }) => !items.some((item) => item.id == id));
  const recorded = sent.map(({ id, what, at, answers, refused, why, due }) => {
    const made = entry(id, what, at, refused ? "refused" : "sent", why);
    made.append(review(answers, due));
    return made;
  });
  const opened = new Set([...document.querySelectorAll("#sessions details[open]")].map((each) => each.closest("li")?.dataset.id));
  $("#sessions ul").replaceChildren(...kept, ...recorded);
  for (const each of document.querySelectorAll("#sessions li")) {
    if (opened.has(/** @type {HTMLElement} */ (each).dataset.id)) each.querySelector("details")?.setAttribute("open", "");
  }
  $("#summary").textContent = summarise(status, sent.length);
  $("#send").hidden = !status.waiting;
  $("#save").hidden = !items.length;
  const away = status.waiting > 0 && status.lastAnswer?.status === 0;
  $("#network").textContent = !navigator.onLine ? "Offline" : away ? "No connection to the server" : "";
  clearTimeout(later);
  const open = sent.filter(({ why }) => !why).length;
  if (open > unknown) resultAfter = RESULT_AFTER;
  unknown = open;
  if (open) later = setTimeout(() => readResults(sent), resultAfter);
}

/** Read the token each time, as another tab may have signed in. Returns null if another learner did: their token must not be used. */
async function token() {
  const now = await read("account");
  return now?.learner == account?.learner ? now?.token : null;
}

/**
 * Ask what the server made of the sessions that it has recorded.
 * @param {Finished[]} sent
 */
async function readResults(sent) {
  // A result may never come: the upload is dead, or the token has expired.
  resultAfter = Math.min(2 * resultAfter, LONGEST_RESULT_AFTER);
  for (const { id } of sent.filter(({ why }) => !why)) {
    const headers = { Authorization: `Bearer ${await token()}` };
    const answer = await fetch(`${SERVER}ingest/study/attempts/${id}`, { headers }).catch(() => undefined);
    const upload = answer?.ok ? await answer.json() : {};
    if (!["ingested", "rejected"].includes(upload.status)) continue;
    /** @param {string} count */
    const sum = (count) => (upload.result?.topics ?? []).reduce((/** @type {number} */ all, /** @type {any} */ topic) => all + topic[count], 0);
    const why = upload.reason
      ? reason("The server could not use the session", upload.reason)
      : `${sum("correct_count")} correct, ${sum("wrong_count")} wrong, ${sum("unsure_count")} unsure`;
    const due = Object.fromEntries((upload.result?.questions ?? []).map((/** @type {any} */ each) => [each.pub_id, each.due]));
    const all = await finished();
    await keep(mine("finished"), all.map((each) => (each.id == id ? { ...each, why, due, refused: !!upload.reason } : each)));
  }
  await showSessions();
}

/**
 * @param {import("./study-outbox/outbox.js").Status} status
 * @param {number} sent
 */
function summarise({ waiting, refused, nextTry }, sent) {
  const parts = [];
  if (waiting) parts.push(`${plural(waiting, "session")} ${waiting == 1 ? "waits" : "wait"} on this device.`);
  if (waiting && nextTry && nextTry > Date.now() + 5000) {
    parts.push(`Next try at ${new Date(nextTry).toLocaleTimeString([], { timeStyle: "short" })}.`);
  }
  if (refused) parts.push(`${plural(refused, "session")} ${refused == 1 ? "was" : "were"} refused.`);
  if (!parts.length) parts.push(sent ? "Everything is sent." : "None yet.");
  return parts.join(" ");
}

/**
 * @param {string} id
 * @param {string} what
 */
async function forget(id, what) {
  if (!confirm(`Delete this session (${what})? Its answers are lost.`)) return;
  await keep(mine("finished"), (await finished()).filter((each) => each.id != id));
  await outbox?.forget(id);
}

async function save() {
  const file = new Blob([(await outbox?.export()) ?? ""], { type: "application/x-ndjson" });
  const link = element("a", { href: URL.createObjectURL(file), download: "sessions.ndjson" });
  link.click();
}

// The start

/** @param {KeyboardEvent} event */
function press(event) {
  if ($("#question").hidden || event.ctrlKey || event.altKey || event.metaKey) return;
  const choice = $(`[name=choice][value="${Number(event.key) - 1}"]`);
  if (choice) choice.click();
  else if (event.key == "u") $("[name=unsure]").click();
  else if (event.key == "Enter" && document.activeElement?.tagName != "BUTTON") $("#question form").requestSubmit();
  else return;
  event.preventDefault();
}

function listen() {
  const on = (/** @type {string} */ selector, /** @type {string} */ type, /** @type {() => unknown} */ act) => {
    let busy = false;
    $(selector).addEventListener(type, async (/** @type {Event} */ event) => {
      event.preventDefault();
      if (busy) return;
      busy = true;
      await Promise.resolve(act()).catch(notify);
      busy = false;
    });
  };
  on("#sign-in form", "submit", () => signIn($("#link").value));
  on("#question form", "submit", answer);
  $("#question form").addEventListener("change", showNext);
  on("#leave", "click", leave);
  on("#finished button", "click", showTopics);
  on("#send", "click", () => outbox?.flush());
  on("#save", "click", save);
  on("#sign-out", "click", signOut);
  document.addEventListener("keydown", press);
  for (const type of ["online", "offline"]) addEventListener(type, () => void showSessions());
  addEventListener("focus", () => {
    if (!$("#question").hidden || !$("#topics").hidden) follow().catch(notify);
  });
  addEventListener("popstate", () => {
    if (!account || location.hash) return;
    if (draft && history.state == "question") showQuestion();
    else showTopics();
  });
  addEventListener("hashchange", () => location.hash && void signIn(location.hash));
}

async function open() {
  listen();
  if (location.hash.includes("token=")) await signIn(location.hash);
  account = await read("account");
  if (!account) return show("sign-in");
  $("#learner").textContent = `Learner ${account.learner}`;
  $("#sign-out").hidden = false;
  outbox = new Outbox({
    url: SERVER,
    learner: account.learner,
    token: async ({ refused }) => (refused ? null : token()),
  });
  outbox.addEventListener("change", () => void showSessions());
  outbox.addEventListener("token-needed", askToSignIn);
  draft = await read(mine("draft"));
  if (draft) showQuestion();
  else showTopics();
  await showSessions();
  if (draft?.session.finished_at) await finish();
}

if ("serviceWorker" in navigator) {
  // In browsers without modules in service workers, the page works offline, but without Background Sync.
  navigator.serviceWorker
    .register("sw.js", { type: "module" })
    .catch(() => navigator.serviceWorker.register("offline.js"))
    .catch(notify);
}
await open().catch(notify);
