// Keys for lists: J and K move from row to row, Enter opens one, ? shows the keys. None of them while somebody types, and none together
// with Ctrl, Alt or ⌘, which belong to the browser. / and Ctrl+K are the theme's.
"use strict";

const ROWS = "#result_list tr.data-row, [data-rows] > li";

function isTyping(element) {
  return element.closest("input, textarea, select, [contenteditable], dialog") !== null;
}

function linkOf(row) {
  return row.querySelector("th a[href], td a[href]") || row.querySelector("a[href]");
}

function moveRow(step) {
  const rows = [...document.querySelectorAll(ROWS)].filter((row) => linkOf(row));
  if (!rows.length) return;
  const here = rows.findIndex((row) => row.contains(document.activeElement));
  const next = here < 0 ? (step > 0 ? 0 : rows.length - 1) : Math.min(Math.max(here + step, 0), rows.length - 1);
  linkOf(rows[next]).focus({ preventScroll: true }); // Enter follows a link by itself
  rows[next].scrollIntoView({ block: "nearest" });
}

function showKeys() {
  const dialog = document.getElementById("keys");
  if (dialog && !dialog.open) dialog.showModal();
}

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || event.isComposing || isTyping(event.target)) return;
  const act = { j: () => moveRow(1), k: () => moveRow(-1), "?": showKeys }[event.key];
  if (!act) return;
  event.preventDefault();
  act();
});

document.addEventListener("click", (event) => {
  if (event.target.closest('[data-opens="keys"]')) showKeys();
});
