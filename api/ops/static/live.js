// Renews what changes, unless the operator has paused it or looks elsewhere.
"use strict";

const EVERY_MS = 5000;

setInterval(() => {
  const live = document.getElementById("live");
  if (live.checked && !document.hidden) htmx.trigger("#now", "tick");
}, EVERY_MS);
