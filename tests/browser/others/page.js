/** Queues of others, each used as its own documentation shows: `send` resolves when the queue has a session. */

import { makeBrowserOfflineTransport, makeFetchTransport } from "@sentry/browser";
import { createCollection, localOnlyCollectionOptions } from "@tanstack/db";
import { startOfflineExecutor } from "@tanstack/offline-transactions";

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

async function tanstack() {
  const sessions = createCollection(localOnlyCollectionOptions({ id: "sessions", getKey: (session) => session.client_session_uuid }));
  const executor = startOfflineExecutor({
    collections: { sessions },
    mutationFns: {
      async send({ transaction }) {
        const response = await post(transaction.mutations[0].modified);
        // As its own example says it. With the status in the text, it would give up at 400, 401, 403 and 422.
        if (!response.ok) throw new Error("Server error");
        sessions.utils.acceptMutations(transaction);
      },
    },
  });
  await executor.waitForInit();
  return async (session) => {
    const transaction = executor.createOfflineTransaction({ mutationFnName: "send", autoCommit: false });
    transaction.mutate(() => sessions.insert(session));
    let isSent = false;
    transaction.commit().then(() => (isSent = true), () => {});
    // `commit` resolves when it is sent: that it is kept, only the outbox shows.
    while (!isSent && !(await executor.peekOutbox()).some(({ id }) => id == transaction.id)) {
      await new Promise((resolve) => setTimeout(resolve, 10));
    }
  };
}

async function ours() {
  const { Outbox } = await import("/viewer/study-outbox/outbox.js");
  const outbox = new Outbox({ url: location.origin, learner: "others", token: () => localStorage.token });
  return (session) => outbox.add(session);
}

window.queues = { workbox, sentry, tanstack, ours };
