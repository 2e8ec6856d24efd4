"""`make messages` brings the `.po` files up to date; with `--check`, in `make lint`, nothing is written. Faults end with exit code 1.

Faults are: a fuzzy translation, other placeholders or tags than the English has. Unfinished is, and a fault too: a text without Chinese,
a file that `make messages` would change (a text without an entry, an entry that nobody uses, another order), one text with two
translations.
"""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from tests.messages.catalogue import Unreadable, faults_of, mend, path_of, read, write
from tests.messages.extract import ROOT, Text, all_texts

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

# False while several people add pages at once, so that a branch may come before its Chinese.
UNFINISHED_IS_A_FAULT = True


def main(arguments: Sequence[str] | None = None, root: Path = ROOT) -> int:
    """Gives the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="change nothing, and fail on faults")
    chosen = parser.parse_args(arguments)
    try:
        if not chosen.check:
            update(root)
        faults, unfinished = look_through(root)
    except Unreadable as error:
        print(error)
        return 1
    _show("Unfinished", unfinished, 5 if chosen.check else len(unfinished))
    _show("Wrong", faults, len(faults))
    return 1 if faults or (unfinished and UNFINISHED_IS_A_FAULT) else 0


def update(root: Path) -> None:
    """Write the files of all rooms; a missing translation is taken from another room. A file with fuzzy entries waits for a person."""
    texts_by_room = all_texts(root)
    for room in texts_by_room:
        mend(path_of(room, root))
    known = {room: read(path_of(room, root)) for room in texts_by_room}
    elsewhere = {text: chinese for texts, _ in known.values() for text, chinese in texts.items() if chinese}
    for room, found in texts_by_room.items():
        path = path_of(room, root)
        texts, fuzzy = known[room]
        if not fuzzy:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(write({text: texts.get(text) or elsewhere.get(text, "") for text in found}))


def look_through(root: Path) -> tuple[list[str], list[str]]:
    """The faults of all rooms, and what is unfinished, each as a line."""
    faults: list[str] = []
    unfinished: list[str] = []
    said: dict[tuple[str, str], tuple[str, str]] = {}
    for room, found in all_texts(root).items():
        path = path_of(room, root)
        texts, fuzzy = read(path)
        faults += [f"{room}: fuzzy: {text.singular!r}" for text in sorted(fuzzy)]
        unfinished += _differences(room, found, texts, path)
        for text, chinese in texts.items():
            faults += [
                f"{room}: {text.singular!r}: the Chinese {fault}: {chinese!r}" for fault in faults_of(text, chinese)
            ]
            unfinished += (
                [] if chinese or text not in found else [f"{room}: no Chinese: {text.singular!r} ({found[text]})"]
            )
            before, there = said.setdefault((text.context, text.singular), (chinese, room))
            if chinese and before and before != chinese:
                unfinished.append(f"{room}: {text.singular!r} is {chinese!r} here and {before!r} in {there}")
    return faults, unfinished


def _differences(room: str, found: dict[Text, str], texts: dict[Text, str], path: Path) -> Iterator[str]:
    """What `make messages` would change in a file."""
    for text in sorted(found.keys() - texts.keys()):
        yield f"{room}: no entry: {text.singular!r} ({found[text]}): run make messages"
    for text in sorted(texts.keys() - found.keys()):
        yield f"{room}: nobody uses this any more: {text.singular!r}: run make messages"
    if found.keys() == texts.keys() and path.read_text() != write(texts):
        yield f"{room}: {path.name} is not in order: run make messages"


def _show(title: str, lines: list[str], shown: int) -> None:
    if lines:
        more = f"\n  and {len(lines) - shown} more: make messages lists them" if len(lines) > shown else ""
        print(f"{title}: {len(lines)}\n  " + "\n  ".join(lines[:shown]) + more)


if __name__ == "__main__":
    raise SystemExit(main())
