/** The service worker: the page offline, and Background Sync if the browser has it. */

import "./offline.js";
import { read } from "./device.js";
import { Outbox } from "./study-outbox/outbox.js";
import { onSync } from "./study-outbox/sw.js";

onSync(async (learner) => {
  const account = await read("account");
  if (account?.learner != learner) return undefined;
  return new Outbox({ url: new URL("..", location.href).href, learner, token: ({ refused }) => (refused ? null : account.token) });
});
