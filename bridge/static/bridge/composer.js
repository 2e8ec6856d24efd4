// Writing in a conversation: Ctrl+Enter (⌘+Enter) sends, once however long it is held; /shortcut and the list insert a canned answer where the cursor is.
"use strict";

function insertText(area, from, to, text) {
  area.setRangeText(text, from, to, "end");
  area.dispatchEvent(new Event("input", { bubbles: true }));
  area.focus();
}

// The canned answer whose shortcut stands, behind a slash, just before the cursor.
function typedShortcut(area, options) {
  const found = /(?:^|\s)\/(\S+)$/u.exec(area.value.slice(0, area.selectionStart));
  const option = found && options.find((one) => one.dataset.shortcut.toLowerCase() === found[1].toLowerCase());
  return option ? { from: area.selectionStart - found[1].length - 1, text: option.value } : null;
}

function offerCanned(area, list) {
  const options = [...list.options].filter((option) => option.dataset.shortcut);
  list.addEventListener("change", () => {
    if (list.value) insertText(area, area.selectionStart, area.selectionEnd, list.value);
    list.selectedIndex = 0;
  });
  area.addEventListener("keydown", (event) => {
    if (event.isComposing || event.ctrlKey || event.metaKey || ![" ", "Tab", "Enter"].includes(event.key)) return;
    const typed = typedShortcut(area, options);
    if (!typed) return;
    event.preventDefault();
    insertText(area, typed.from, area.selectionStart, typed.text);
  });
}

// A form is sent once. After a while it may be sent again, because the network may have lost it; the server knows a repetition by its key.
const SENT_MS = 10000;
function sendOnce(form) {
  form.addEventListener("submit", (event) => {
    if (form.dataset.sent) { event.preventDefault(); return; }
    form.dataset.sent = "1";
    setTimeout(() => delete form.dataset.sent, SENT_MS);
  });
  addEventListener("pageshow", () => delete form.dataset.sent);
}

document.addEventListener("DOMContentLoaded", () => {
  for (const form of document.querySelectorAll(".b-send, .b-note-form form")) sendOnce(form);
  for (const area of document.querySelectorAll(".b-send textarea[name=text], .b-note-form textarea")) {
    area.addEventListener("keydown", (event) => {
      if (event.key !== "Enter" || event.isComposing || !(event.ctrlKey || event.metaKey)) return;
      event.preventDefault();
      if (!event.repeat) area.form.requestSubmit();
    });
  }
  const area = document.querySelector(".b-send textarea[name=text]"), list = document.getElementById("canned");
  if (area && list) offerCanned(area, list);
});
