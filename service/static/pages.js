// Three conveniences; every page works without them: following a running search, pictures whose marks can be pointed at, and copying.
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
  linkPictures(part, focused);
}

// An image cannot be pointed into, so the picture itself takes its place. Without this its table, and the picture opened alone, have the links.
const HINT = "Point at a mark, or go through them with the arrow keys; Enter opens the trial.";
const drawings = new Map(); // address -> text

function linkPictures(part, focused = null) {
  for (const picture of part.querySelectorAll("picture[data-linked]")) {
    const image = picture.querySelector("img");
    const said = document.createElement("p");
    said.className = "pointed";
    said.setAttribute("aria-hidden", "true"); // the links say it themselves
    const place = document.createElement("div");
    place.className = "drawn";
    picture.after(place, said);
    const draw = async () => {
      const address = image.currentSrc;
      if (!drawings.has(address)) {
        const answer = await fetch(address, { cache: "force-cache" }); // the image just came from there
        if (!answer.ok) return;
        drawings.set(address, await answer.text());
      }
      if (address !== image.currentSrc || address === place.dataset.address) return; // another scheme or width since; drawn already
      place.dataset.address = address;
      const drawn = new DOMParser().parseFromString(drawings.get(address), "image/svg+xml").documentElement;
      if (drawn.localName !== "svg" || !drawn.querySelector("a")) return;
      place.replaceChildren(document.adoptNode(drawn));
      picture.hidden = true;
      said.textContent = HINT;
      travel([...drawn.querySelectorAll("a")], said, focused);
    };
    image.addEventListener("load", draw);
    if (image.complete && image.naturalWidth) draw();
  }
}

// One stop for the Tab key; the arrows go on from there.
function travel(links, said, focused) {
  const stop = (at) => links.forEach((each, place) => each.setAttribute("tabindex", place === at ? "0" : "-1"));
  const tell = (link) => (said.textContent = link ? link.getAttribute("aria-label") : HINT);
  links.forEach((link, at) => {
    link.addEventListener("pointerenter", () => tell(link));
    link.addEventListener("pointerleave", () => tell(links.find((each) => each === document.activeElement)));
    link.addEventListener("focus", () => (stop(at), tell(link)));
    link.addEventListener("blur", () => tell(null));
    link.addEventListener("keydown", (event) => {
      const steps = { ArrowRight: at + 1, ArrowDown: at + 1, ArrowLeft: at - 1, ArrowUp: at - 1, Home: 0, End: links.length - 1 };
      if (!(event.key in steps)) return;
      event.preventDefault();
      links[Math.min(links.length - 1, Math.max(0, steps[event.key]))].focus();
    });
  });
  stop(0);
  links.find((each) => focused && each.getAttribute("href") === focused)?.focus();
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
linkPictures(document);

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
