// What the theme leaves out for screen readers and keyboards: its icons are words of a font, which would be read aloud, and a control
// that is an icon only has no name. The names stand in #spoken-words, in the reader's language.
"use strict";

const CONTROL = "a, button, [role=button], label";

function nameControl(control, icon) {
  if (control.hasAttribute("aria-label") || control.title || control.querySelector(".b-sr, img[alt]")) return;
  const beside = control.textContent.replaceAll(/\s+/g, " ").trim();
  const icons = [...control.querySelectorAll(".material-symbols-outlined")].map((each) => each.textContent.trim()).join(" ");
  if (control !== icon && beside !== icons) return; // it has words of its own
  const name = document.getElementById("spoken-words")?.dataset[icon.textContent.trim()];
  if (name) control.setAttribute("aria-label", name);
}

function silenceIcons(root) {
  for (const icon of root.querySelectorAll(".material-symbols-outlined")) {
    const control = icon.closest(CONTROL);
    if (control) nameControl(control, icon);
    if (control !== icon) icon.setAttribute("aria-hidden", "true");
  }
}

// Parts that scroll all call themselves the same region, and tooltips have a name but no role.
function nameRoles(root) {
  for (const part of root.querySelectorAll(".simplebar-content-wrapper[role=region]")) part.setAttribute("role", "group");
  for (const hint of root.querySelectorAll(".help-tooltip[aria-label]:not([role])")) hint.setAttribute("role", "img");
}

// A form for a new row begins in its first field, or in the first that is wrong. On a phone the keyboard would cover the page.
function focusFirstField() {
  const form = document.querySelector("body.change-form #content-main form[id$=_form]");
  if (!form || !location.pathname.endsWith("/add/") || !matchMedia("(pointer: fine)").matches) return;
  const fields = [...form.querySelectorAll("input:not([type=hidden]), select, textarea")].filter((field) => field.checkVisibility());
  (fields.find((field) => field.getAttribute("aria-invalid") === "true") || fields[0])?.focus({ preventScroll: true });
}

document.addEventListener("DOMContentLoaded", () => {
  silenceIcons(document);
  nameRoles(document);
  focusFirstField();
  new MutationObserver((changes) => {
    nameRoles(document);
    for (const change of changes) silenceIcons(change.target.closest(CONTROL) || change.target); // an icon can change within its control
  }).observe(document.body, { childList: true, subtree: true });
});
