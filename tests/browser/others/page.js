/** Queues of others, each used as its own documentation shows: `send` resolves when the queue has a session. */

import { makeBrowserOfflineTransport, makeFetchTransport } from "@sentry/browser";

const URL = "/ingest/study/attempts";
const HEADERS = { Authorization: `Bearer ${localStorage.token}`, "Content-Type": "application/json" };

const post = (session) => fetch(URL, { method: "POST", headers: HEADERS, body: JSON.stringify(session) });

async function workbox() {
  await navigator.serviceWorker.register("workbox.js");
  await navigator.serviceWorker.ready;
  // What the service worker could not send, it has queued when the request fails here.
  return (session) => post(session).catch(() => {});
}

async function sentry() {
  // An envelope is lines of JSON, whose last one is the item.
  const unpacked = (_, options) => post(JSON.parse(String(options.body).trim().split("\n").at(-1)));
  const transport = makeBrowserOfflineTransport((options) => makeFetchTransport(options, unpacked))({
    url: URL,
    flushAtStartup: true,
    maxQueueSize: 100,
    recordDroppedEvent() {},
  });
  return (session) => transport.send([{}, [[{ type: "event" }, session]]]);
}

async function ours() {
  const { Outbox } = await import("/viewer/study-outbox/outbox.js");
  const outbox = new Outbox({ url: location.origin, learner: "others", token: () => localStorage.token });
  return (session) => outbox.add(session);
}

window.queues = { workbox, sentry, ours };
