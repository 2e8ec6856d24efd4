"""Every real payload with each of its values spoilt: it leads to one message that can be stored, and no turn of it is empty."""

from __future__ import annotations

import copy
import json
import re
from typing import TYPE_CHECKING, Any

import pytest

from bridge.models import Route
from bridge.pipeline.routing.rules import RoutingInput, decide
from channels_wechat.contract.messages import Identity
from channels_wechat.contract.unreadable import SYSTEM
from channels_wechat.wecom.aibot.callback import AIBotByCallback
from channels_wechat.wecom.app.channel import WeComApp
from channels_wechat.weixin.mini_program import MiniProgram
from channels_wechat.weixin.official_account import OfficialAccount
from channels_wechat.wire.http import Http
from tests.channels.harness import fixture, fixtures
from tests.channels.weixin import accounts
from tests.fuzz.strangers import storable
from tests.fuzz.test_callbacks import sealed
from tests.support.factories import APP_FIELDS, BOT_FIELDS, CORP

if TYPE_CHECKING:
    from collections.abc import Iterator

    from channels_wechat.contract.messages import Inbound

EVERYONE = [Route(agent_id="main")]
LEAF = re.compile(rb"<(\w+)>(<!\[CDATA\[.*?\]\]>|[^<]*)</\1>", re.DOTALL)
SPOILT_XML = (b"", b" ", b"\n x \n", b"<A>1</A>", b"<![CDATA[ ]]>", b"9" * 400, b"\xff", b"&#0;")
SPOILT_JSON: tuple[Any, ...] = (None, "", " ", 0, True, [], {}, {"a": [1]}, "9" * 400, "\ud800")
# The account's own name in a callback: another one is another account's, which is refused.
OWN = {"AgentID", "aibotid"}


def channels() -> dict[str, Any]:
    http = Http()
    identity = Identity("1", accounts.APP, {**accounts.CREDENTIALS, "answers": "automatic"}, "")
    return {
        "wecom_app": WeComApp(Identity("1", f"{CORP}:1", {**APP_FIELDS, "agent_id": 1000002}, ""), http),
        "wecom_aibot": AIBotByCallback(
            Identity("00000000-0000-4000-8000-000000000001", "AIBOTID", {**BOT_FIELDS, "bot_id": "AIBOTID"}, ""), http
        ),
        "official_account": OfficialAccount(identity, http),
        "mini_program": MiniProgram(identity, http),
    }


CHANNELS = channels()
# A poll is no message; the notice carries a system app's id, which is taken under its own name only.
LEFT_OUT = ("stream__poll", "msgaudit_notify__notice")
ALL = [(kind, name) for kind in CHANNELS for name in fixtures(kind) if name not in LEFT_OUT]


def mutations(plain: bytes) -> Iterator[bytes]:
    yield plain
    yield b"\xef\xbb\xbf\n " + plain
    if plain.lstrip().startswith(b"{"):
        yield from (json.dumps(tree).encode() for tree in _spoilt_trees(json.loads(plain)))
        return
    for found in LEAF.finditer(plain):
        name = found[1]
        if name.decode() not in OWN:
            for value in SPOILT_XML:
                yield plain[: found.start()] + b"<%s>%s</%s>" % (name, value, name) + plain[found.end() :]
            yield plain[: found.start()] + plain[found.end() :]
            yield plain[: found.end()] + found[0] + plain[found.end() :]


def _spoilt_trees(tree: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for path in _paths(tree):
        if path[0] not in OWN:
            for value in SPOILT_JSON:
                spoilt = copy.deepcopy(tree)
                _holder(spoilt, path)[path[-1]] = value
                yield spoilt
            spoilt = copy.deepcopy(tree)
            del _holder(spoilt, path)[path[-1]]
            yield spoilt


def _paths(value: Any, before: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for name, inner in items:
        yield (*before, name)
        yield from _paths(inner, (*before, name))


def _holder(tree: Any, path: tuple[Any, ...]) -> Any:
    for name in path[:-1]:
        tree = tree[name]
    return tree


def received(kind: str, plain: bytes) -> Inbound:
    channel = CHANNELS[kind]
    if kind in ("official_account", "mini_program"):
        query, body = accounts.sealed(plain)
    else:
        receiver, form = (CORP, "xml") if kind == "wecom_app" else ("", "json")
        query, body = sealed(plain, receiver, form)
    reception = channel.parse(query, body)
    channel.acknowledge(query, reception)
    (inbound,) = reception.inbound
    found: Inbound = inbound
    return found


@pytest.mark.parametrize(("kind", "name"), ALL)
def test_a_spoilt_payload_is_one_message_and_no_empty_turn(kind: str, name: str) -> None:
    for plain in mutations(fixture(kind, name)):
        inbound = received(kind, plain)
        assert inbound == received(kind, plain)
        assert "" not in (inbound.key, inbound.peer.id), plain
        assert storable([inbound])
        assert all(item.handle for item in inbound.media), plain
        heard = RoutingInput(
            inbound.peer.kind,
            inbound.peer.id,
            inbound.sender,
            inbound.text,
            inbound.kind,
            has_files=bool(inbound.media),
            has_sender=bool(inbound.sender) and inbound.peer.id != SYSTEM,
        )
        decision = decide(EVERYONE, heard)
        assert decision.reason or decision.text.strip() or inbound.media, plain
