/** The page without a network: all its files come from a cache, which is filled with all of them or not at all. */

// The server writes a digest of the files here: when a file changes, this worker is new, and fetches all files.
const VERSION = "{version}";
const CACHE = "viewer-" + VERSION;
const FILES = [
  "./",
  "viewer.css",
  "viewer.js",
  "device.js",
  "questions.json",
  "manifest.webmanifest",
  "icon.svg",
  "icon-192.png",
  "icon-512.png",
  "study-outbox/outbox.js",
  "study-outbox/store.js",
  "study-outbox/answer.js",
];

self.addEventListener("install", (event) => {
  self.skipWaiting();
  // If the browser has `addRoutes`, uploads do not even start this worker.
  event.addRoutes?.({ condition: { requestMethod: "POST" }, source: "network" });
  event.waitUntil(caches.open(CACHE).then((cache) => cache.addAll(FILES.map((file) => new Request(file, { cache: "reload" })))));
});

self.addEventListener("activate", (event) => {
  const old = (names) => names.filter((name) => name.startsWith("viewer-") && name != CACHE);
  event.waitUntil(
    caches.keys().then((names) => Promise.all(old(names).map((name) => caches.delete(name)))).then(() => self.clients.claim()),
  );
});

self.addEventListener("fetch", (event) => {
  // Uploads are left to the outbox: a worker that answered them could lose them.
  if (event.request.method != "GET" || !event.request.url.startsWith(self.registration.scope)) return;
  event.respondWith(
    caches.open(CACHE).then((cache) => cache.match(event.request, { ignoreSearch: true })).then((found) => found ?? fetch(event.request)),
  );
});
