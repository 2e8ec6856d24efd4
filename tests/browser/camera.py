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


def photograph(page: Page, name: str, folder: Path) -> None:
    """Four pictures, `<name>-<width>-<scheme>.png`; the page must fit into each width."""
    too_wide = []
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
    page.set_viewport_size({"width": 1280, "height": 800})
    page.emulate_media(color_scheme="light")
    assert too_wide == []
