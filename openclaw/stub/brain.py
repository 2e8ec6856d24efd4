"""What the stub's agent says: an echo, unless the message holds a directive.

!slow=<seconds>  the time the answer takes        !tokens=<n>  n numbered words
!say=<text>      exactly the rest of the line     !noreply     the agent stays silent
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

# Around the message of a group, and the speaker's id behind their name.
FRAME: Final = re.compile(r"⟦/?[0-9a-f]*⟧ ?")
SPOKEN_BY: Final = re.compile(r"(?P<sender>[^:：\n!()]{1,40}?)(?: \([^()\n]*\))?[:：]\s*(?P<words>.*)", re.S)
PERMANENT_STATUS: Final = ("400", "401", "402", "403", "404")


@dataclass(frozen=True)
class Thought:
    """A planned answer; `failure` is the model's HTTP status."""

    words: str
    seconds: float = 0.0
    failure: str = ""
    image: str = ""  # "", "url", "artifact" or "link"

    @property
    def pieces(self) -> list[str]:
        """Words of a language with spaces, pairs of characters of one without."""
        return re.findall(r"[\x21-\x7e]+\s*|\s+|[^\x00-\x7f]{1,2}", self.words)


def think(message: str, images: int = 0, files: tuple[str, ...] = ()) -> Thought:
    seconds = float(_directive(message, "slow", r"[\d.]+") or 0)
    if (failure := _directive(message, "fail", r"\d+")) is not None:
        return Thought("", seconds, failure=failure or "500")
    if (said := _directive(message, "say", r".+")) is not None:
        return Thought(said.strip(), seconds)
    if "!empty" in message:
        return Thought("", seconds)
    if "!noreply" in message:
        return Thought("NO_REPLY", seconds)
    if length := _directive(message, "long", r"\d+"):
        return Thought("0123456789" * (int(length) // 10) + "0123456789"[: int(length) % 10], seconds)
    if count := _directive(message, "tokens", r"\d+"):
        return Thought(" ".join(f"w{number}" for number in range(int(count))), seconds)
    if (kind := _directive(message, "image", r"artifact|link")) is not None:
        return Thought("给你一张图。", seconds, image=kind or "url")
    return Thought(_echo(message, images, files), seconds)


def _directive(message: str, name: str, value: str) -> str | None:
    match = re.search(rf"!{name}(?:=({value}))?", message)
    return (match[1] or "") if match else None


def _echo(message: str, images: int, files: tuple[str, ...]) -> str:
    last = next((line for line in reversed(FRAME.sub("", message).splitlines()) if line.strip()), "").strip()
    seen = (f"（看到 {images} 张图）" if images else "") + "".join(f"（收到文件 {name}）" for name in files)
    spoken = SPOKEN_BY.fullmatch(last)
    return f"收到，{spoken['sender'].strip()}：{spoken['words']}{seen}" if spoken else f"收到：{last}{seen}"


def is_permanent(failure: str) -> bool:
    return failure in PERMANENT_STATUS


def picture(seed: int, side: int = 48) -> bytes:
    """Return a PNG of one colour, the same for the same seed."""
    colour = bytes(((seed * 37) % 200 + 40, (seed * 91) % 200 + 40, (seed * 53) % 200 + 40))
    pixels = (b"\x00" + colour * side) * side
    header = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(pixels)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(_chunk(name, data) for name, data in chunks)


def _chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
