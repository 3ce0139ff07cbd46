/** For a service worker: send what waits when the browser finds the network, with no tab open. */

const TAG = "study-outbox:";

/**
 * Answer Background Sync, where the browser has it. It is a hint: an open page sends without it.
 * @param {(learner: string) => import("./outbox.js").Outbox | undefined | Promise<import("./outbox.js").Outbox | undefined>} open
 *   opens a learner's outbox, or none where there is no token
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
  // The browser tries again after a failure only.
  if ((await outbox?.status())?.waiting) throw new Error("sessions wait");
}
