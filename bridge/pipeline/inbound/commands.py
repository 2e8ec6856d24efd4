"""Recognises the commands to the bridge. Pure."""

from __future__ import annotations

import re
import unicodedata

# Typed by a user as the whole message: handled by the bridge, never seen by the agent.
COMMANDS = {"/new": "new", "/stop": "stop"}
# Input methods and clients leave these between or behind words; they show nothing.
_INVISIBLE = re.compile(r"[\u200b-\u200f\u2028-\u202e\u2060-\u2064\u2066-\u2069\ufeff]")
# What people put behind a word that they say alone.
_STOPS = ".。!?~"
# A client ends a mention with U+2005, so a name may hold blanks there; elsewhere the name is one word.
_MENTIONS = re.compile(r"(?:[@\uff20](?:[^@\uff20\n\u2005]{1,64}\u2005|\S{1,64}(?:\s|$))\s*)+")


def command_of(text: str) -> str:
    """Return "new", "stop", or empty. Mentions before or after the command, full width, and invisible characters do not matter."""
    words = _visible_words(text)
    single = len(words.replace("/ ", "/").split()) == 1
    return COMMANDS.get(_joined(words), "") if single else ""


def asks_for_staff(text: str, handover_words: str) -> bool:
    """Whether the text says just one of these words (one a line). Case, width, blanks, mentions and a full stop do not matter."""
    wanted = {_joined(_visible_words(word)) for word in handover_words.splitlines()} - {""}
    return bool(wanted) and _joined(_visible_words(text)) in wanted


def _visible_words(text: str) -> str:
    return unicodedata.normalize("NFKC", _MENTIONS.sub(" ", _INVISIBLE.sub("", text)))


def _joined(words: str) -> str:
    return "".join(words.casefold().split()).strip(_STOPS)
