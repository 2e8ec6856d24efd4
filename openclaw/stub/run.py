"""One turn of the stub's agent."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

Json = dict[str, Any]


@dataclass(eq=False)
class Run:
    """A run. final: the payload of its second response; listeners: called with each text so far."""

    key: str
    session: str
    message: str
    images: int = 0
    files: tuple[str, ...] = ()
    resumes: str = ""
    text_so_far: str = ""
    started: bool = False
    final: Json | None = None
    done: asyncio.Event = field(default_factory=asyncio.Event)
    task: asyncio.Task[None] | None = None
    listeners: list[Callable[[str], None]] = field(default_factory=list)
