// What our own pages add: times that stay true in the reader's zone, copy buttons, questions before what cannot be undone,
// and a transcript that fills itself without jumping.
"use strict";

// Unit, its seconds, and from when it is used: a window of 48 hours does not close "tomorrow".
const UNITS = [["day", 86400, 172800], ["hour", 3600, 3600], ["minute", 60, 60]];
const REFRESH_MS = 3000, TICK_MS = 20000, LOGIN_MS = 2000, LOGIN_WATCH_MS = 5 * 60 * 1000;

function showTimes(root) {
  const words = new Intl.RelativeTimeFormat(document.documentElement.lang || "en", { numeric: "auto" });
  for (const time of root.querySelectorAll("time.b-time")) {
    const when = new Date(time.dateTime), left = (when - Date.now()) / 1000;
    const seconds = left + 59 >= 3600 ? left + 59 : left; // what was given 30 days just now has 30 days, not 29
    const [unit, size] = UNITS.find(([, , from]) => Math.abs(seconds) >= from) || [null, 1];
    time.title = when.toLocaleString(document.documentElement.lang || "en", { dateStyle: "medium", timeStyle: "long" }); // names the zone
    if (unit) time.textContent = words.format(Math.trunc(seconds / size), unit);
  }
}

async function copy(button) {
  const source = document.getElementById(button.dataset.copy);
  try {
    await navigator.clipboard.writeText(source.textContent);
  } catch {
    getSelection().selectAllChildren(source); // without https the browser lets nobody copy: select it at least
    return;
  }
  const label = button.textContent;
  button.textContent = button.dataset.done;
  setTimeout(() => { button.textContent = label; }, 1500);
}

// Replaces only the bubbles that look different, and stays at the end if the reader was there.
function merge(list, html) {
  const fresh = document.createElement("ol");
  fresh.innerHTML = html;
  const atEnd = list.scrollHeight - list.scrollTop - list.clientHeight < 40;
  const known = new Map([...list.querySelectorAll("li[id]")].map((item) => [item.id, item]));
  let changed = false;
  for (const item of fresh.querySelectorAll("li[id]")) {
    const old = known.get(item.id);
    if (old && old.dataset.stamp === item.dataset.stamp) continue;
    changed = true;
    if (old) old.replaceWith(item); else list.append(item);
    showTimes(item);
  }
  if (changed) list.querySelectorAll("li.b-aside:not([id])").forEach((item) => item.remove());
  if (changed && atEnd) list.scrollTop = list.scrollHeight;
}

function follow(list) {
  let wait = REFRESH_MS;
  async function look() {
    if (!document.hidden) {
      try {
        const answer = await fetch(list.dataset.refresh, { redirect: "error" });
        if (answer.ok) merge(list, await answer.text());
        wait = answer.ok ? REFRESH_MS : 30000;
      } catch {
        wait = Math.min(wait * 2, 60000);
      }
    }
    setTimeout(look, wait);
  }
  setTimeout(look, wait);
}

// The theme's menu and filter switches listen to the mouse only.
function reachable(root) {
  for (const item of root.querySelectorAll("a:not([href]), span")) {
    if (!item.hasAttribute("x-on:click")) continue;
    item.tabIndex = 0;
    item.setAttribute("role", "button");
    item.addEventListener("keydown", (event) => {
      if (event.key !== "Enter" && event.key !== " ") return;
      event.preventDefault();
      item.click();
    });
  }
}

// A secret that is pasted can be looked at before it is saved.
function revealable(input) {
  const button = document.createElement("button");
  const { show, hide } = document.getElementById("reveal-words").dataset;
  button.type = "button";
  button.className = "b-button b-reveal";
  button.textContent = show;
  button.setAttribute("aria-pressed", "false");
  button.setAttribute("aria-controls", input.id);
  button.addEventListener("click", () => {
    const hidden = input.type === "password";
    input.type = hidden ? "text" : "password";
    button.textContent = hidden ? hide : show;
    button.setAttribute("aria-pressed", String(hidden));
  });
  input.after(button);
}

// A code that waits to be scanned: the page says what became of it, and opens the account when it is made.
function watchScan(box) {
  const [picture, words, asks, again] = ["[role=img]", "[role=status]", "[data-asks]", "[data-again]"].map((name) => box.querySelector(name));
  const form = box.querySelector("#scan-answer");
  let typed = "";
  function show(state) {
    if (state.text && words.textContent !== state.text) words.textContent = state.text;
    if (asks.hidden && state.asks) setTimeout(() => form.elements.typed.focus());
    asks.hidden = !state.asks;
    picture.hidden = !state.goes_on;
    again.hidden = state.goes_on;
  }
  async function look() {
    try {
      const data = new FormData(form);
      data.set("typed", typed);
      const answer = await fetch(box.dataset.state, { method: "POST", body: data, redirect: "error" });
      if (answer.ok) {
        const state = await answer.json();
        if (data.get("typed") === typed) typed = "";
        if (state.url) { location.assign(state.url); return; }
        show(state);
        if (!state.goes_on) return;
      }
    } catch {
      // no network for a moment
    }
    setTimeout(look, REFRESH_MS);
  }
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    typed = form.elements.typed.value;
    form.elements.typed.value = "";
  });
  if (again.hidden) setTimeout(look, REFRESH_MS);
}

// The login of an account: the newest code and what became of it, until somebody is logged in or for some minutes.
function watchLogin(box) {
  const [picture, words, paused, leave] = ["[role=img]", "[role=status]", "[data-paused]", "[data-logged-in]"].map((name) => box.querySelector(name));
  const badge = document.getElementById("health"), reason = document.getElementById("reason");
  let until = Date.now() + LOGIN_WATCH_MS, drawn = null;
  function show(state) {
    if (state.picture !== drawn) picture.innerHTML = drawn = state.picture;
    picture.hidden = !state.picture;
    if (words.textContent !== state.words) words.textContent = state.words;
    badge.innerHTML = state.badge;
    document.getElementById("connection").outerHTML = state.connection;
    reason.textContent = state.reason;
    leave.hidden = !state.is_logged_in;
    showTimes(badge.parentElement.parentElement);
  }
  async function look() {
    if (Date.now() > until) { picture.hidden = true; paused.hidden = false; return; }
    try {
      const answer = document.hidden ? null : await fetch(box.dataset.state, { redirect: "error", cache: "no-store" });
      const state = answer && answer.ok ? await answer.json() : null;
      if (state) show(state);
      if (state && state.is_logged_in) return;
    } catch {
      // no network for a moment
    }
    setTimeout(look, LOGIN_MS);
  }
  paused.querySelector("button").addEventListener("click", () => {
    until = Date.now() + LOGIN_WATCH_MS;
    paused.hidden = true;
    look();
  });
  if (leave.hidden) setTimeout(look, LOGIN_MS);
}

document.addEventListener("click", (event) => {
  const button = event.target.closest("[data-copy], [data-confirm]");
  if (!button) return;
  if (button.dataset.copy) copy(button);
  else if (!confirm(button.dataset.confirm)) event.preventDefault();
});

document.addEventListener("DOMContentLoaded", () => {
  showTimes(document);
  reachable(document);
  if (document.getElementById("reveal-words")) document.querySelectorAll('#content-main input[type="password"]').forEach(revealable);
  setInterval(() => showTimes(document), TICK_MS);
  const scan = document.getElementById("scan");
  if (scan) watchScan(scan);
  const login = document.getElementById("login");
  if (login) watchLogin(login);
  const list = document.getElementById("bubbles");
  if (!list) return;
  list.scrollTop = list.scrollHeight;
  if (list.dataset.refresh) follow(list);
});
