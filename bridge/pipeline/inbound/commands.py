"""Recognises the commands to the bridge. Pure."""

from __future__ import annotations

import re
import unicodedata

# Typed by a user as the whole message: handled by the bridge, never seen by the agent.
COMMANDS = {"/new": "new", "/stop": "stop"}
# Input methods and clients leave these between or behind words; they show nothing.
_INVISIBLE = re.compile(r"[\u200b-\u200f\u2028-\u202e\u2060-\u2064\u2066-\u2069\ufeff]")
# A client ends a mention with U+2005, so a name may hold blanks there; elsewhere the name is one word.
_MENTIONS = re.compile(r"(?:[@\uff20](?:[^@\uff20\n\u2005]{1,64}\u2005|\S{1,64}(?:\s|$))\s*)+")


def command_of(text: str) -> str:
    """Return "new", "stop", or empty. Mentions before or after the command, full width, and invisible characters do not matter."""
    words = _MENTIONS.sub(" ", _INVISIBLE.sub("", text))
    typed = "".join(unicodedata.normalize("NFKC", words).casefold().split())
    single = len(unicodedata.normalize("NFKC", words).replace("/ ", "/").split()) == 1
    return COMMANDS.get(typed, "") if single else ""
