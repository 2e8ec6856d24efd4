"""The session key: the name that a conversation has in the gateway."""

from __future__ import annotations

import hashlib
import re
from typing import Final, Literal

PeerKind = Literal["group", "direct"]

HEX_LENGTH: Final = 40
_BRIDGE_SESSION: Final = re.compile(r"agent:[^:]+:wechat:(group|direct):[0-9a-f]{40}")


def make_session_key(
    agent_id: str, account_key: str, peer_kind: PeerKind, peer_id: str, epoch: int, sender: str = "", renewals: int = 0
) -> str:
    """Return `agent:<agent>:wechat:<group|direct>:<hex>`, stable for the same arguments.

    The gateway lower-cases session keys while WeCom chat ids are case-sensitive, so the ids are hashed; the length
    before each part keeps ("ab", "c") apart from ("a", "bc"). A new `epoch` starts a new session; `sender` gives
    each member of a group a session of their own, and a new `renewals` starts a new
    session where no epoch counts it: of a member alone, or the one that all conversations share.
    """
    parts = (account_key, peer_kind, peer_id, f"{epoch}.{renewals}" if renewals else str(epoch), sender)
    digest = hashlib.sha256("".join(f"{len(part)}:{part}" for part in parts).encode()).hexdigest()
    return f"agent:{agent_id.lower()}:wechat:{peer_kind}:{digest[:HEX_LENGTH]}"


def is_bridge_session(key: str) -> bool:
    """Return whether the key has the form that `make_session_key` gives; the keys of other installations have it too."""
    return _BRIDGE_SESSION.fullmatch(key) is not None
