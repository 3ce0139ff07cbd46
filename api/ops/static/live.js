// Refreshes the figures, unless the operator has paused it or the page is hidden.
"use strict";

const EVERY_MS = 5000;

setInterval(() => {
  const live = document.getElementById("live");
  if (live.checked && !document.hidden) htmx.trigger("#now", "tick");
}, EVERY_MS);
