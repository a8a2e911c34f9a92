// Two conveniences; every page works without them: following a running search, and copying.
"use strict";

const PAUSE_MS = 5000;

function say(text) {
  const status = document.getElementById("announce");
  if (status) status.textContent = text;
}

// Replaces the changing part, keeping what the reader has opened and where the focus is.
function replace(part, html) {
  const open = new Set([...part.querySelectorAll("details[open][id]")].map((each) => each.id));
  const focused = part.contains(document.activeElement) ? document.activeElement.getAttribute("href") : null;
  part.innerHTML = html;
  for (const each of part.querySelectorAll("details[id]")) each.open = open.has(each.id);
  if (focused) [...part.querySelectorAll("a")].find((each) => each.getAttribute("href") === focused)?.focus();
}

async function follow(part) {
  let etag = "";
  for (;;) {
    await new Promise((done) => setTimeout(done, PAUSE_MS));
    if (document.hidden) continue;
    try {
      const answer = await fetch(part.dataset.live, { headers: etag ? { "If-None-Match": etag } : {}, cache: "no-store" });
      if (answer.status === 304) continue;
      if (!answer.ok) throw new Error(String(answer.status));
      etag = answer.headers.get("etag") ?? "";
      replace(part, await answer.text());
      const progress = part.querySelector("#progress-text strong");
      if (!progress) {
        location.reload(); // the search has ended
        return;
      }
      say(progress.textContent);
    } catch {
      say("The page cannot reach the service; it tries again.");
    }
  }
}

for (const part of document.querySelectorAll("[data-live]")) follow(part);

for (const button of document.querySelectorAll("button[data-copy]")) {
  if (!navigator.clipboard) continue;
  button.hidden = false;
  button.addEventListener("click", async () => {
    await navigator.clipboard.writeText(document.getElementById(button.dataset.copy).textContent);
    say("Copied.");
    button.firstChild.textContent = "Copied";
    setTimeout(() => (button.firstChild.textContent = "Copy"), 2000);
  });
}
