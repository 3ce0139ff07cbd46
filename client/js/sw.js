/** For a service worker: send what waits as soon as the browser finds a network, even if no tab is open. */

const TAG = "study-outbox:";

/**
 * Answer Background Sync, if the browser has it. Background Sync is only a hint: an open page sends without it.
 * @param {(learner: string) => import("./outbox.js").Outbox | undefined | Promise<import("./outbox.js").Outbox | undefined>} open
 *   opens a learner's outbox; gives undefined if there is no token
 */
export function onSync(open) {
  addEventListener("sync", (/** @type {any} */ event) => {
    if (event.tag.startsWith(TAG)) event.waitUntil(send(open, event.tag.slice(TAG.length)));
  });
}

/**
 * @param {Parameters<typeof onSync>[0]} open
 * @param {string} learner
 */
async function send(open, learner) {
  const outbox = await open(learner);
  await outbox?.flush();
  // The browser tries again only after a failure.
  if ((await outbox?.status())?.waiting) throw new Error("sessions wait");
}
