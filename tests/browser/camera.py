"""Pictures of a page in both widths and both colour schemes, and whether it fits."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from playwright.sync_api import Page

WIDTHS, SCHEMES = (1280, 390), ("light", "dark")
# What sticks out at the right, unless it can be scrolled to or is cut off on purpose (like text for screen readers).
STICKING_OUT = """() => [...document.body.querySelectorAll("*")].filter((element) => {
  const box = element.getBoundingClientRect();
  if (!box.width || !box.height || box.right <= innerWidth + 1 || !element.checkVisibility({ visibilityProperty: true })) return false;
  for (let parent = element.parentElement; parent && parent !== document.body; parent = parent.parentElement)
    if (getComputedStyle(parent).overflowX !== "visible") return false;
  return true;
}).slice(0, 5).map((element) => element.outerHTML.slice(0, 120))"""

# What a person cannot read or would stumble over: a hint that is longer than its field, one card glued to what is above it, and a bar
# with nothing in it over the page's end.
FAULTS = """() => {
  const shown = (element) => element.checkVisibility({ visibilityProperty: true }) && element.getBoundingClientRect().width > 1;
  const all = (selector) => [...document.querySelectorAll(selector)].filter(shown);
  const pen = document.createElement("canvas").getContext("2d");
  const cut = all("input[placeholder], textarea[placeholder]").filter((field) => {
    const style = getComputedStyle(field);
    pen.font = `${style.fontWeight} ${style.fontSize} ${style.fontFamily}`;
    const room = field.clientWidth - parseFloat(style.paddingLeft) - parseFloat(style.paddingRight);
    return field.tagName === "INPUT" && pen.measureText(field.placeholder).width > room + 1;
  }).map((field) => `cut off: ${field.placeholder}`);
  const glued = all(".b-card").filter((card) => {
    let before = card.previousElementSibling;
    while (before && !shown(before)) before = before.previousElementSibling;
    const cards = before ? [...before.querySelectorAll(".b-card")].filter(shown) : []; // their margin counts as the gap
    const ends = (cards.length ? cards : [before || document.body]).map((one) => one.getBoundingClientRect().bottom);
    const gap = before ? card.getBoundingClientRect().top - Math.max(...ends) : 99;
    return gap > -20 && gap < 6;
  }).map((card) => `glued: ${card.innerText.slice(0, 60)}`);
  const empty = all("#main div").filter((bar) => {
    const style = getComputedStyle(bar);
    return ["sticky", "fixed"].includes(style.position) && style.borderTopWidth !== "0px" && !bar.innerText.trim();
  }).map((bar) => `empty bar: ${bar.outerHTML.slice(0, 120)}`);
  const torn = [...document.querySelectorAll("#main td[data-label], #main th[data-label]")].filter(shown).filter((cell) =>
    getComputedStyle(cell, "::before").display !== "none" && getComputedStyle(cell).display === "flex"
    && (parseFloat(getComputedStyle(cell).columnGap) || 0) < 4).map((cell) => `label without a gap: ${cell.dataset.label}`);
  return [...cut, ...glued, ...empty, ...torn.slice(0, 1)];
}"""


def photograph(page: Page, name: str, folder: Path) -> None:
    """Four pictures, `<name>-<width>-<scheme>.png`; the page must fit into each width and have none of the FAULTS."""
    too_wide, faults = [], list[tuple[int, str]]()
    for width in WIDTHS:
        page.set_viewport_size({"width": width, "height": 800})
        for scheme in SCHEMES:
            page.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]
            page.evaluate("dark => document.documentElement.classList.toggle('dark', dark)", scheme == "dark")
            page.screenshot(path=folder / f"{name}-{width}-{scheme}.png", full_page=True, animations="disabled")
        wider = page.evaluate("document.documentElement.scrollWidth - innerWidth")
        sticking_out = page.evaluate(STICKING_OUT)
        if wider > 0 or sticking_out:
            too_wide.append((width, wider, sticking_out))
        faults += [(width, fault) for fault in page.evaluate(FAULTS)]
    page.set_viewport_size({"width": 1280, "height": 800})
    page.emulate_media(color_scheme="light")
    assert not too_wide, too_wide
    assert not faults, faults
