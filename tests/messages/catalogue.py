"""A room's `.po` file: read, looked through for faults, and written in one order without dates and line numbers, so that branches merge."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from babel.messages.pofile import PoFileError, normalize, read_po

from tests.messages.extract import ROOT, Text

if TYPE_CHECKING:
    from pathlib import Path

HEADER = r"""# Simplified Chinese. `make messages` sorts this file, adds what is to be translated and takes out what nobody uses any more.
msgid ""
msgstr ""
"Language: zh_Hans\n"
"MIME-Version: 1.0\n"
"Content-Type: text/plain; charset=UTF-8\n"
"Content-Transfer-Encoding: 8bit\n"
"Plural-Forms: nplurals=1; plural=0;\n"
"""
# `%(name)s`, `%s`, `%d`, `%%` and `{name}`; then tags of HTML, and what is shown as code.
PLACEHOLDER = re.compile(r"%\(\w+\)[-#0 +]*[\d.]*[a-zA-Z]|%[sdr%]|\{\w*(?:![rs])?(?::[^{}]*)?\}")
TAG = re.compile(r"</?[a-z][^<>]*>")
Chinese = Mapping[Text, str]


class Unreadable(Exception):
    """The file is no catalogue."""


def path_of(room: str, root: Path = ROOT) -> Path:
    return root / room / "locale" / "zh_Hans" / "LC_MESSAGES" / "django.po"


def read(path: Path) -> tuple[dict[Text, str], set[Text]]:
    """The texts of a file with their Chinese (empty where it is missing), and those that are marked as fuzzy."""
    if not path.exists():
        return {}, set()
    texts: dict[Text, str] = {}
    fuzzy: set[Text] = set()
    try:
        with path.open("rb") as file:
            catalogue = read_po(file, locale="zh_Hans", abort_invalid=True)
    except PoFileError as error:
        raise Unreadable(f"{path}: {error}") from error
    for message in catalogue:
        if not message.id:
            continue
        singular, plural = message.id if isinstance(message.id, tuple | list) else (message.id, "")
        string = message.string[0] if isinstance(message.string, tuple | list) else message.string
        text = Text(str(singular), str(plural), str(message.context or ""))
        texts[text] = str(string or "")
        fuzzy |= {text} if message.fuzzy else set()
    return texts, fuzzy


def mend(path: Path) -> None:
    """Give each `msgid` its `msgstr`: a merge that keeps the lines of both sides may take one from between two entries that look alike."""
    if path.exists():
        text = re.sub(
            r"(?m)^(msgctxt .*)\n(?=msgid )", r"\1\0", path.read_text()
        )  # one line, so that it is split before it only
        entries = [entry.replace("\0", "\n") for entry in re.split(r"\n(?=msgctxt \"|msgid \")", text)]
        path.write_text("\n".join(entry if "\nmsgstr" in entry else _with_empty_string(entry) for entry in entries))


def _with_empty_string(entry: str) -> str:
    return f'{entry.rstrip()}\nmsgstr{"[0]" if "msgid_plural" in entry else ""} ""\n'


def write(texts: Chinese) -> str:
    """The file with these texts: one form for each content."""
    return "\n".join([HEADER, *(_entry(text, texts[text]) for text in sorted(texts))])


def _entry(text: Text, chinese: str) -> str:
    lines = [f"msgctxt {_quoted(text.context)}"] if text.context else []
    lines.append(f"msgid {_quoted(text.singular)}")
    if text.plural:
        lines += [f"msgid_plural {_quoted(text.plural)}", f"msgstr[0] {_quoted(chinese)}"]
    else:
        lines.append(f"msgstr {_quoted(chinese)}")
    return "\n".join(lines) + "\n"


def _quoted(text: str) -> str:
    quoted: str = normalize(text, width=0)
    return quoted


def faults_of(text: Text, chinese: str) -> Iterator[str]:
    """What is wrong with a translation; one that is missing has no faults."""
    if not chinese:
        return
    needed = set(PLACEHOLDER.findall(text.plural or text.singular))
    allowed = needed | set(PLACEHOLDER.findall(text.singular))
    there = set(PLACEHOLDER.findall(chinese))
    if missing := needed - there:
        yield f"has not {', '.join(sorted(missing))}"
    if strange := there - allowed:
        yield f"has {', '.join(sorted(strange))}, which the English has not"
    if sorted(TAG.findall(text.plural or text.singular)) != sorted(TAG.findall(chinese)):
        yield "has other tags than the English"
    if text.singular.startswith("\n") != chinese.startswith("\n") or text.singular.endswith("\n") != chinese.endswith(
        "\n"
    ):
        yield "begins or ends with a line break where the English does not, or the other way round"
    if chinese != chinese.strip() and text.singular == text.singular.strip():
        yield "begins or ends with a space"
