import { BackgroundSyncPlugin } from "workbox-background-sync";
import { registerRoute } from "workbox-routing";
import { NetworkOnly } from "workbox-strategies";

registerRoute(
  ({ url }) => url.pathname == "/ingest/study/attempts",
  new NetworkOnly({ plugins: [new BackgroundSyncPlugin("sessions")] }),
  "POST",
);
addEventListener("install", () => self.skipWaiting());
addEventListener("activate", (event) => event.waitUntil(self.clients.claim()));
