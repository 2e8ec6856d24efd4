"""What is to be translated: texts marked for gettext in Python code and in templates, by room."""

from __future__ import annotations

import functools
import importlib.util
import io
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from babel.messages.extract import extract
from babel.messages.mofile import read_mo
from django.utils.translation.template import templatize

from bridge.runtime.conf.catalogues import ROOMS

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).resolve().parents[2]
# Django's names, and the short ones that our modules give them.
KEYWORDS: dict[str, Any] = {
    **dict.fromkeys(("_", "_now", "_n", "gettext", "gettext_lazy", "gettext_noop"), None),
    **dict.fromkeys(("ngettext", "ngettext_lazy"), (1, 2)),
    **dict.fromkeys(("pgettext", "pgettext_lazy"), ((1, "c"), 2)),
    **dict.fromkeys(("npgettext", "npgettext_lazy"), ((1, "c"), 2, 3)),
}


# Packages that show texts on our pages and have no Chinese for some of them; those are translated in `bridge`.
PACKAGES = ("unfold", "auditlog", "axes", "django_filters", "rest_framework", "django.contrib.auth")
# Of the theme's extras only the filters are on a page of ours; what axes says to a console is not.
NOT_SHOWN = re.compile(r"/(?:contrib/(?!filters/)|management/|migrations/|tests/)|axes/(?!models)")
DJANGO = ("conf", "contrib/admin", "contrib/auth", "contrib/contenttypes", "contrib/sessions", "contrib/postgres")


class Text(NamedTuple):
    """A text to translate; `plural` and `context` are empty where there are none."""

    singular: str
    plural: str = ""
    context: str = ""


def texts_of(room: str, root: Path = ROOT) -> dict[Text, str]:
    """The texts of a room, each with the first file that has it. The templates belong to `bridge`."""
    found: dict[Text, str] = {}
    for path in _files(room, root):
        for text in _texts_in(path.read_text() if path.suffix == ".py" else _as_python(path)):
            found.setdefault(text, str(path.relative_to(root)))
    return found


def all_texts(root: Path = ROOT) -> dict[str, dict[Text, str]]:
    texts = {room: texts_of(room, root) for room in ROOMS}
    if root == ROOT:
        texts["bridge"] = {**_texts_of_packages(), **texts["bridge"]}
    return texts


@functools.cache
def _texts_of_packages() -> dict[Text, str]:
    """The texts of packages that neither they nor Django have in Chinese."""
    known = _translated_elsewhere()
    found: dict[Text, str] = {}
    for name in PACKAGES:
        folder = _folder_of(name)
        for path in sorted([*folder.rglob("*.py"), *folder.rglob("*.html")]):
            if NOT_SHOWN.search(str(path.relative_to(folder.parent))):
                continue
            for text in _texts_in(path.read_text() if path.suffix == ".py" else _as_python(path)):
                if text.singular not in known:
                    found.setdefault(text, str(path.relative_to(folder.parent)))
    return found


def _translated_elsewhere() -> set[str]:
    folders = [_folder_of("django") / part for part in DJANGO] + [_folder_of(name) for name in PACKAGES]
    known: set[str] = set()
    for folder in folders:
        for language in ("zh_CN", "zh_Hans"):
            path = folder / "locale" / language / "LC_MESSAGES" / "django.mo"
            if path.exists():
                with path.open("rb") as file:
                    messages = read_mo(file)
                known |= {
                    str(message.id[0] if isinstance(message.id, list | tuple) else message.id)
                    for message in messages
                    if message.string
                }
    return known


def _folder_of(package: str) -> Path:
    found = importlib.util.find_spec(package)
    assert found, package
    assert found.origin, package
    return Path(found.origin).parent


def _files(room: str, root: Path) -> list[Path]:
    files = sorted((root / room).rglob("*.py"))
    if room == "bridge":
        files += sorted(
            path for path in (root / "templates").rglob("*") if path.suffix in {".html", ".txt", ".xml", ".svg"}
        )
    return files


def _as_python(template: Path) -> str:
    """A template as calls of gettext. What `templatize` leaves between them is no Python, but is read as such without its indentation."""
    return "\n".join(line.lstrip() for line in templatize(template.read_text(), origin=str(template)).split("\n"))


def _texts_in(code: str) -> Iterator[Text]:
    for _line, message, _comments, context in extract("python", io.BytesIO(code.encode()), keywords=KEYWORDS):
        singular, plural = message if isinstance(message, tuple) else (message, "")
        if singular:
            yield Text(singular, plural, context or "")
