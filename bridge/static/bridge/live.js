// Parts of a page that stay up to date: <section data-live="address" data-every="5">. The address answers with the section's inner HTML.
// Nothing is fetched while the page is hidden, and nothing is replaced under the pointer, the focus or a selection of the reader:
// then the button [data-newer] beside the section says that there is something newer.
"use strict";

const MAX_WAIT_MS = 60000;

function isRead(section) {
  const selection = getSelection();
  return section.matches(":hover") || section.contains(document.activeElement)
    || (!selection.isCollapsed && section.contains(selection.anchorNode));
}

function keepUpToDate(section) {
  const every = 1000 * (Number(section.dataset.every) || 5);
  const newer = document.querySelector(`[data-newer="${section.id}"]`);
  const atOnce = section.hasAttribute("data-at-once"); // it is empty until the first answer
  let wait = every, shown = null, fetched = null;
  function show() {
    shown = fetched;
    const opened = [...section.querySelectorAll("details[id][open]")].map((part) => part.id);
    const scrolled = [...section.querySelectorAll(".b-scroll, .b-scroll-x")].map((part) => [part.scrollTop, part.scrollLeft]);
    section.innerHTML = fetched;
    section.removeAttribute("data-at-once");
    for (const id of opened) document.getElementById(id)?.setAttribute("open", "");
    section.querySelectorAll(".b-scroll, .b-scroll-x").forEach((part, number) => part.scrollTo(...(scrolled[number] || [0, 0]).toReversed()));
    if (newer) newer.hidden = true;
    section.dispatchEvent(new CustomEvent("live:shown", { bubbles: true }));
  }
  async function look() {
    if (!document.hidden) {
      try {
        const answer = await fetch(section.dataset.live, { redirect: "error", cache: "no-store" });
        wait = answer.ok ? every : Math.min(wait * 2, MAX_WAIT_MS);
        if (answer.ok) fetched = await answer.text();
        section.toggleAttribute("data-stale", !answer.ok);
      } catch {
        wait = Math.min(wait * 2, MAX_WAIT_MS);
        section.toggleAttribute("data-stale", true);
      }
      if (fetched !== shown) {
        if (isRead(section) && !(atOnce && shown === null)) { if (newer) newer.hidden = false; } else show();
      }
    }
    setTimeout(look, wait);
  }
  if (newer) newer.addEventListener("click", show);
  document.addEventListener("visibilitychange", () => { if (!document.hidden && wait > every) wait = every; });
  setTimeout(look, atOnce ? 0 : wait);
}

document.addEventListener("DOMContentLoaded", () => {
  for (const section of document.querySelectorAll("[data-live]")) keepUpToDate(section);
  document.addEventListener("live:shown", (event) => showTimes(event.target)); // of admin.js
});
