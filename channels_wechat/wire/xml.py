"""The platform's XML as nested dicts. Expat with document types and entities refused in the handler, so nothing can expand."""

from __future__ import annotations

import re
from typing import Any, NoReturn
from xml.parsers import expat

from django.utils.translation import gettext_lazy as _

from channels_wechat.contract.errors import CallbackRefused
from channels_wechat.contract.inbound_fields import TYPED

MAX_BYTES = 1024 * 1024
MAX_DEPTH = 16
MAX_ELEMENTS = 20_000
# What XML 1.0 cannot hold, raw or as a reference. A user can type it all the same, and the message is not to be lost for it.
ILLEGAL = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ufffe\uffff]")
# What every such character has in UTF-8. Two looks at the bytes cost a tenth of one search through the text, and find nothing as a rule.
CONTROLS, PLANE_END = bytes([*range(9), 11, 12, *range(14, 32)]), b"\xef\xbf"
REFERENCE = re.compile(r"&#(?:(\d{1,8})|[xX]([0-9a-fA-F]{1,7}));")

Node = dict[str, Any]


def parse(body: bytes) -> Node:
    """The children of the root: name → text, dict, or a list of these where a name repeats.

    Blanks round a value are dropped; of `TYPED` only those outside its CDATA section. U+0000, lone surrogates and broken UTF-8
    become U+FFFD. Raises CallbackRefused: 413 "too_large", 400 "dtd", 400 "xml".
    """
    if len(body) > MAX_BYTES:
        raise CallbackRefused(413, "too_large", _("The callback is larger than 1 MiB."))
    text = _legal(body)
    return _Tree().parse(REFERENCE.sub(_legal_reference, text) if "&#" in text else text)


def listed(value: Any, name: str = "Item") -> list[Any]:
    """The members of a list element: `<Item>` each, one or many, or (older versions) comma-separated text."""
    if isinstance(value, dict):
        found = value.get(name, [])
        return found if isinstance(found, list) else [found]
    return [part for part in str(value or "").split(",") if part]


def _legal(body: bytes) -> str:
    text = body.decode("utf-8", "replace").lstrip("\ufeff \t\r\n")
    suspect = PLANE_END in body or len(body.translate(None, CONTROLS)) < len(body)
    return ILLEGAL.sub("\ufffd", text) if suspect else text


def _legal_reference(found: re.Match[str]) -> str:
    code = int(found[1]) if found[1] else int(found[2], 16)
    allowed = code <= 0x10FFFF and not 0xD800 <= code <= 0xDFFF and not ILLEGAL.match(chr(code))
    return found[0] if allowed else "\ufffd"


class _Tree:
    """Builds the dict while expat reads; an element is a dict once it has a child, else its text."""

    def __init__(self) -> None:
        self._open: list[Node] = []  # the children of each open element so far
        self._said = ""  # the text since the last mark
        self._section_end = 0  # how much of it is up to the end of its last CDATA section
        self._around: Node = {}  # the root by its name
        self._count = 0

    def parse(self, text: str) -> Node:
        parser = expat.ParserCreate("utf-8")
        parser.buffer_text = True
        parser.StartDoctypeDeclHandler = parser.EntityDeclHandler = _refuse_dtd
        parser.StartElementHandler, parser.EndElementHandler = self._start, self._end
        parser.CharacterDataHandler = self._text
        parser.StartCdataSectionHandler = self._drop_blanks
        parser.EndCdataSectionHandler = self._end_section
        try:
            parser.Parse(text, True)
        except expat.ExpatError as error:
            raise _malformed() from error
        (root,) = self._around.values()
        return root if isinstance(root, dict) else {}

    def _start(self, name: str, attributes: dict[str, str]) -> None:
        self._count += 1
        if len(self._open) >= MAX_DEPTH or self._count > MAX_ELEMENTS:
            raise _malformed()
        self._open.append({})
        self._said, self._section_end = "", 0

    def _text(self, text: str) -> None:
        self._said += text

    def _drop_blanks(self) -> None:
        """What stands between the tag, or another section, and a CDATA section is text only where it is not blank."""
        if self._said[self._section_end :].isspace():
            self._said = self._said[: self._section_end]

    def _end_section(self) -> None:
        self._section_end = len(self._said)

    def _end(self, name: str) -> None:
        if self._section_end:
            self._drop_blanks()
        text = self._said if name in TYPED else self._said.strip()
        value: Any = self._open.pop() or text
        self._said, self._section_end = "", 0
        siblings = self._open[-1] if self._open else self._around
        if name not in siblings:
            siblings[name] = value
        elif isinstance(siblings[name], list):
            siblings[name].append(value)
        else:
            siblings[name] = [siblings[name], value]


def _malformed() -> CallbackRefused:
    return CallbackRefused(400, "xml", _("The callback is not the XML that the platform sends."))


def _refuse_dtd(*declaration: object) -> NoReturn:
    raise CallbackRefused(400, "dtd", _("The callback holds a document type or entity: nothing the platform sends."))
