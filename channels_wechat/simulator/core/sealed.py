"""A callback ready for the wire."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Sealed:
    params: dict[str, str]
    body: bytes
    content_type: str
