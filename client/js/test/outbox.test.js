import "fake-indexeddb/auto";
import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";
import { createServer } from "node:http";
import { after, before, beforeEach, test } from "node:test";

// What a browser has and Node has not; the truth is tests/browser.
Object.defineProperty(globalThis, "navigator", { value: {} });
globalThis.addEventListener ??= () => {};

const { Outbox, localTime } = await import("../outbox.js");

/** @type {import("node:http").Server} */
let server;
let url = "";
/** How the server answers; what it has received. */
let answer = recorded;
let received = [];
let most = 0;
let now = 0;

before(async () => {
  server = createServer(async (request, response) => {
    most = Math.max(most, ++now);
    let text = "";
    for await (const part of request) text += part;
    const upload = JSON.parse(text);
    received.push({ upload, headers: request.headers });
    await answer({ upload, token: request.headers.authorization?.slice(7) }, response);
    now--;
    response.end();
  });
  await new Promise((resolve) => server.listen(0, "127.0.0.1", () => resolve(undefined)));
  url = `http://127.0.0.1:${server.address().port}`;
});

after(() => {
  server.close();
  server.closeAllConnections();
});

beforeEach(() => {
  answer = recorded;
  received = [];
  most = now = 0;
});

function write(response, status, body, headers = {}) {
  const type = status < 300 ? "application/json" : "application/problem+json";
  response.writeHead(status, { "Content-Type": type, ...headers });
  response.write(JSON.stringify(body));
}

function recorded({ upload }, response) {
  write(response, 202, { status: "received", client_session_uuid: upload.client_session_uuid });
}

function problem(status, slug, headers) {
  return (_, response) => write(response, status, { type: `/problems/${slug}`, title: slug, status }, headers);
}

function session(fields = {}) {
  const attempts = [{ pub_id: "q", selected: 0, unsure: false, answered_at: localTime() }];
  return { client_session_uuid: randomUUID(), attempts, ...fields };
}

/** Open an outbox of a learner of its own, and note its events. */
function open(token = () => "good", learner = randomUUID()) {
  const outbox = new Outbox({ url, learner, token });
  const events = [];
  for (const type of ["sent", "refused", "token-needed", "stuck"]) {
    outbox.addEventListener(type, ({ detail }) => events.push([type, detail?.id]));
  }
  return { outbox, events, learner };
}

async function until(holds, patience = 8000) {
  for (const end = Date.now() + patience; !(await holds()); ) {
    if (Date.now() > end) assert.fail("waited too long");
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
}

const isEmpty = (outbox) => until(async () => !(await outbox.items()).length);

test("a session is sent with the time of sending, and deleted", async () => {
  const { outbox, events } = open();
  const one = session({ sent_at: "2026-01-01T00:00:00Z" });
  await outbox.add(one);
  await isEmpty(outbox);
  assert.equal(received.length, 1);
  const [{ upload, headers }] = received;
  assert.equal(headers.authorization, "Bearer good");
  assert.deepEqual({ ...upload, sent_at: undefined }, { ...one, sent_at: undefined });
  assert.ok(Math.abs(Date.now() - Date.parse(upload.sent_at)) < 60_000);
  assert.deepEqual(events, [["sent", one.client_session_uuid]]);
});

test("four at once, and each once", async () => {
  const { outbox, learner } = open(() => null);
  for (let n = 0; n < 20; n++) await outbox.add(session());
  answer = async (request, response) => {
    await new Promise((resolve) => setTimeout(resolve, 20));
    recorded(request, response);
  };
  const { outbox: again } = open(() => "good", learner);
  await isEmpty(again);
  assert.equal(new Set(received.map(({ upload }) => upload.client_session_uuid)).size, received.length);
  assert.equal(received.length, 20);
  assert.ok(most > 1 && most <= 4);
});

test("the same session twice is one; other content under its id is an error", async () => {
  const { outbox } = open(() => null);
  const one = session();
  await outbox.add(one);
  const [{ pub_id, ...rest }] = one.attempts;
  await outbox.add({ attempts: [{ ...rest, pub_id }], client_session_uuid: one.client_session_uuid });
  await assert.rejects(outbox.add({ ...one, attempts: [...one.attempts, ...one.attempts] }), /another session/);
  assert.equal((await outbox.items()).length, 1);
});

test("what can never be sent is refused at once", async () => {
  const { outbox } = open(() => null);
  const [attempt] = session().attempts;
  for (const wrong of [
    { client_session_uuid: undefined },
    { client_session_uuid: "42" },
    { attempts: undefined },
    { attempts: [] },
    { attempts: Array(501).fill(attempt) },
    { note: "é".repeat(600_000) },
  ]) await assert.rejects(outbox.add(session(wrong)), RangeError);
  await outbox.add(session({ attempts: Array(500).fill(attempt) }));
  assert.equal((await outbox.items()).length, 1);
});

test("a refused session is kept with its problem, and the rest goes on", async () => {
  const bad = session();
  answer = (request, response) =>
    (request.upload.client_session_uuid == bad.client_session_uuid ? problem(422, "invalid-payload") : recorded)(request, response);
  const { outbox, events } = open();
  await outbox.add(bad);
  await outbox.add(session());
  await until(async () => (await outbox.status()).waiting == 0);
  const [item] = await outbox.items();
  assert.equal(item.state, "refused");
  assert.equal(item.problem?.type, "/problems/invalid-payload");
  assert.deepEqual(events.map(([type]) => type).sort(), ["refused", "sent"]);
  const { client_session_uuid, attempts } = JSON.parse(await outbox.export());
  assert.deepEqual({ client_session_uuid, attempts }, bad);
  await outbox.forget(item.id);
  assert.deepEqual(await outbox.items(), []);
});

test("a failing server pauses the whole outbox: one probe a round, not four", async () => {
  const { outbox, learner } = open(() => null);
  for (let n = 0; n < 8; n++) await outbox.add(session());
  answer = problem(503, "ingest-closed");
  const { outbox: sending } = open(() => "good", learner);
  await until(() => received.length > 0);
  await until(async () => (await sending.status()).nextTry > 0 && now == 0);
  const first = received.length;
  assert.ok(first <= 4);
  await until(() => received.length > first);
  assert.equal(received.length, first + 1); // the probe
  answer = recorded;
  await isEmpty(sending);
});

test("a Retry-After is obeyed, also by flush", async () => {
  answer = problem(429, "too-many-requests", { "Retry-After": "1800" });
  const { outbox } = open();
  await outbox.add(session());
  await until(async () => (await outbox.status()).nextTry > Date.now() + 1_700_000);
  await outbox.flush();
  await outbox.add(session());
  assert.equal(received.length, 1);
  assert.equal((await outbox.status()).lastAnswer?.status, 429);
});

test("a fault with one session delays that one alone; flush tries it now", async () => {
  const bad = session();
  answer = (request, response) =>
    (request.upload.client_session_uuid == bad.client_session_uuid ? problem(500, "internal-error") : recorded)(request, response);
  const { outbox, events } = open();
  await outbox.add(bad);
  for (let n = 0; n < 5; n++) await outbox.add(session());
  await until(() => events.length == 5);
  for (let tries = 1; tries <= 8; tries++) {
    await until(async () => (await outbox.items())[0].tries == tries);
    const { nextAt } = (await outbox.items())[0];
    assert.ok(Math.abs(nextAt - Date.now() - 1000 * 2 ** tries) < 2000);
    if (tries < 8) await outbox.flush();
  }
  assert.deepEqual(events.at(-1), ["stuck", bad.client_session_uuid]);
});

test("flush sends a session that waits for its next try, also after the token has expired", async () => {
  answer = problem(500, "internal-error");
  let current = "old";
  const { outbox, events } = open(({ refused }) => (refused ? (current = "new") : current));
  await outbox.add(session());
  await until(async () => (await outbox.items())[0].tries > 2);
  answer = (request, response) => (request.token == "new" ? recorded : problem(401, "unauthenticated"))(request, response);
  await outbox.flush();
  assert.deepEqual(await outbox.items(), []);
  assert.equal(events.at(-1)[0], "sent");
});

test("flush posts a session once that a proxy refuses, though every new token is refused for another", async () => {
  const large = session();
  answer = problem(500, "internal-error");
  let made = 0;
  const { outbox, events } = open(() => `wrong ${made++}`);
  for (const each of [large, session()]) await outbox.add(each);
  await until(async () => (await outbox.items()).every(({ tries }) => tries > 2));
  const isLarge = ({ upload }) => upload.client_session_uuid == large.client_session_uuid;
  answer = (request, response) => (isLarge(request) ? response.writeHead(413) : problem(401, "unauthenticated")(request, response));
  const before = received.length;
  await outbox.flush();
  assert.equal(received.slice(before).filter(isLarge).length, 1);
  assert.ok(received.length <= before + 12);
  assert.equal(events.at(-1)[0], "token-needed");
});

/** The first post is alone; the old token is refused when four are under way, one after the other. */
async function refusedAfterTheFirst(request, response) {
  const isGood = request.token == "new" || received.length == 1;
  await new Promise((resolve) => setTimeout(resolve, 25 * (received.length % 4)));
  (isGood ? recorded : problem(401, "unauthenticated"))(request, response);
}

test("four refused lanes ask for one token", async () => {
  const asked = [];
  let current = "old";
  const token = ({ refused }) => {
    if (refused) {
      asked.push(current);
      current = "new";
    }
    return current;
  };
  const { outbox, learner } = open(() => null);
  for (let n = 0; n < 12; n++) await outbox.add(session());
  answer = refusedAfterTheFirst;
  const { outbox: sending, events } = open(token, learner);
  await isEmpty(sending);
  assert.deepEqual(asked, ["old"]);
  assert.equal(events.filter(([type]) => type == "token-needed").length, 0);
});

test("a source that goes on giving the old token first is asked for the new one once", async () => {
  let asked = 0;
  const token = ({ refused }) => (refused ? (asked++, "new") : "old");
  const { outbox, learner } = open(() => null);
  for (let n = 0; n < 12; n++) await outbox.add(session());
  answer = refusedAfterTheFirst;
  const { outbox: sending } = open(token, learner);
  await isEmpty(sending);
  assert.equal(asked, 1);
});

test("a renewed token that was good is renewed once more when it is refused, hours later", async () => {
  let good = "second";
  let current = "first";
  const token = ({ refused }) => (refused ? (current = good) : current);
  answer = (request, response) => (request.token == good ? recorded : problem(401, "unauthenticated"))(request, response);
  const { outbox } = open(token);
  for (good of ["second", "third", "fourth"]) {
    await outbox.add(session());
    await isEmpty(outbox);
  }
});

for (const [name, fresh] of [["none", () => null], ["the same", () => "old"], ["another that is refused", () => "bad"]]) {
  test(`refused, and the new token is ${name}: hold, and go on after signing in`, async () => {
    let current = "old";
    let asked = 0;
    const token = ({ refused }) => (refused && current == "old" ? (asked++, fresh()) : current);
    answer = (request, response) => (request.token == "good" ? recorded : problem(401, "unauthenticated"))(request, response);
    const { outbox, events } = open(token);
    await outbox.add(session());
    await until(() => events.length);
    await outbox.add(session());
    await until(() => events.length > 1);
    assert.ok(events.every(([type]) => type == "token-needed"));
    assert.equal(asked, 1);
    assert.ok((await outbox.items()).every(({ tries, state }) => tries == 0 && state == "waiting"));
    assert.ok(received.length <= 2);
    current = "good";
    await outbox.flush();
    await isEmpty(outbox);
  });
}

test("a source that always makes another token is not asked for ever", async () => {
  let made = 0;
  answer = problem(401, "unauthenticated");
  const { outbox, events } = open(() => `wrong ${made++}`);
  await outbox.add(session());
  await until(() => events.length);
  assert.deepEqual(events, [["token-needed", undefined]]);
  assert.ok(received.length <= 12);
  const posts = received.length;
  await outbox.add(session());
  await until(() => events.length > 1);
  assert.ok(received.length <= posts + 4);
  answer = recorded;
  await outbox.flush();
  await isEmpty(outbox);
});

test("a token that something between has refused is tried again after an hour", async () => {
  const real = globalThis.setTimeout;
  /** @type {(() => void)[]} */
  const hourly = [];
  globalThis.setTimeout = (act, delay) => (delay == 3_600_000 ? (hourly.push(act), 0) : real(act, delay));
  try {
    answer = (_, response) => response.writeHead(401);
    const { outbox, events } = open();
    await outbox.add(session());
    await until(() => events.length && hourly.length);
    await outbox.add(session());
    assert.ok(received.length <= 2);
    answer = recorded;
    hourly.at(-1)();
    await isEmpty(outbox);
  } finally {
    globalThis.setTimeout = real;
  }
});

test("a handle that was closed without an event is opened again", async () => {
  const { outbox } = open(() => null);
  await outbox.add(session());
  const begin = IDBDatabase.prototype.transaction;
  IDBDatabase.prototype.transaction = function (...some) {
    IDBDatabase.prototype.transaction = begin;
    this.close();
    return begin.apply(this, some);
  };
  await outbox.add(session());
  assert.equal((await outbox.items()).length, 2);
});

test("a clock that was set back by a week delays nothing", async () => {
  answer = problem(500, "internal-error");
  const { outbox } = open();
  await outbox.add(session());
  await until(async () => (await outbox.items())[0].tries == 1);
  answer = recorded;
  const real = Date.now;
  Date.now = () => real() - 7 * 86_400_000;
  try {
    await outbox.add(session());
    await isEmpty(outbox);
  } finally {
    Date.now = real;
  }
});

test("a time is written with the device's offset, never with Z", () => {
  const time = localTime(new Date("2026-11-22T00:00:41.250Z"));
  assert.match(time, /^2026-11-2[12]T\d\d:\d\d:41\.250[+-]\d\d:\d\d$/);
  assert.equal(Date.parse(time), Date.parse("2026-11-22T00:00:41.250Z"));
});
