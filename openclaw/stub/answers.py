"""Plans what the stub's agent answers: an echo, unless the message has a directive.

!slow=<seconds>  the time the answer takes        !tokens=<n>  n numbered words
!say=<text>      exactly the rest of the line     !noreply     the agent says NO_REPLY
!long=<n>        n characters                     !empty       the model gives nothing
!fail, !fail=<http status of the model>           the run fails
!image           answers with a picture's address
!image=artifact  ... with an artifact             !image=link  ... with one that has a short-lived address
"""

from __future__ import annotations

import re
import struct
import zlib
from dataclasses import dataclass
from typing import Final

# The marks around a message of a group, and the sender's name, id and message.
FRAME: Final = re.compile(r"⟦/?[0-9a-f]*⟧ ?")
MESSAGE_OF_SENDER: Final = re.compile(r"(?P<sender>[^:：\n!()]{1,40}?)(?: \([^()\n]*\))?[:：]\s*(?P<words>.*)", re.S)
PERMANENT_FAILURES: Final = ("400", "401", "402", "403", "404")


@dataclass(frozen=True)
class PlannedAnswer:
    """A planned answer; `failure` is the model's HTTP status."""

    text: str
    seconds: float = 0.0
    failure: str = ""
    image: str = ""  # "", "url", "artifact" or "link"

    @property
    def pieces(self) -> list[str]:
        """Single words, or pairs of characters in a language without spaces."""
        return re.findall(r"[\x21-\x7e]+\s*|\s+|[^\x00-\x7f]{1,2}", self.text)


def plan_answer(message: str, images: int = 0, files: tuple[str, ...] = ()) -> PlannedAnswer:
    seconds = float(_find_directive(message, "slow", r"[\d.]+") or 0)
    if (failure := _find_directive(message, "fail", r"\d+")) is not None:
        return PlannedAnswer("", seconds, failure=failure or "500")
    if (text := _find_directive(message, "say", r".+")) is not None:
        return PlannedAnswer(text.strip(), seconds)
    if "!empty" in message:
        return PlannedAnswer("", seconds)
    if "!noreply" in message:
        return PlannedAnswer("NO_REPLY", seconds)
    if length := _find_directive(message, "long", r"\d+"):
        return PlannedAnswer("0123456789" * (int(length) // 10) + "0123456789"[: int(length) % 10], seconds)
    if count := _find_directive(message, "tokens", r"\d+"):
        return PlannedAnswer(" ".join(f"w{number}" for number in range(int(count))), seconds)
    if (kind := _find_directive(message, "image", r"artifact|link")) is not None:
        return PlannedAnswer("给你一张图。", seconds, image=kind or "url")
    return PlannedAnswer(_make_echo(message, images, files), seconds)


def _find_directive(message: str, name: str, value: str) -> str | None:
    match = re.search(rf"!{name}(?:=({value}))?", message)
    return (match[1] or "") if match else None


def _make_echo(message: str, images: int, files: tuple[str, ...]) -> str:
    last_line = next((line for line in reversed(FRAME.sub("", message).splitlines()) if line.strip()), "").strip()
    received = (f"（看到 {images} 张图）" if images else "") + "".join(f"（收到文件 {name}）" for name in files)
    match = MESSAGE_OF_SENDER.fullmatch(last_line)
    return f"收到，{match['sender'].strip()}：{match['words']}{received}" if match else f"收到：{last_line}{received}"


def is_permanent(failure: str) -> bool:
    return failure in PERMANENT_FAILURES


def make_picture(seed: int, side: int = 48) -> bytes:
    """Return a PNG of one colour, which is the same for the same seed."""
    colour = bytes(((seed * 37) % 200 + 40, (seed * 91) % 200 + 40, (seed * 53) % 200 + 40))
    pixels = (b"\x00" + colour * side) * side
    header = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(pixels)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(_make_chunk(name, data) for name, data in chunks)


def _make_chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
