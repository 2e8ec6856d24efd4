"""Every code that an error can have is explained by the table of its kind or its room, and no error is raised without one."""

from __future__ import annotations

import ast
import re
import string
from importlib import import_module
from typing import TYPE_CHECKING

import pytest
from django.utils.translation import gettext_lazy as _
from django.utils.translation import override

from accounts.explanations import TOKENS
from bridge.explanations.own import OWN
from bridge.explanations.webhooks import ALERT, WEBHOOK
from bridge.models import Reason
from channels_wechat import KINDS, channel_class
from channels_wechat.contract.directory import Directory
from channels_wechat.contract.errors import ChannelError, Explanations
from channels_wechat.contract.explanations import NUMBER, Action, Explanation, find
from channels_wechat.unregistered import UnregisteredKind
from channels_wechat.wechaty.errors import CODES as WECHATY_CODES
from channels_wechat.wecom.errors import WECOM
from channels_wechat.weixin.errors import WEIXIN
from channels_wechat.wire.errors import WIRE
from openclaw.errors import EXPLANATIONS as GATEWAY
from openclaw.errors import Code, GatewayError
from tests.channels.ilink import test_errors as ilink
from tests.channels.wecom import test_errors as wecom
from tests.channels.weixin import test_errors as weixin
from tests.structure import code, name_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

OF_KINDS = {kind: channel_class(kind).explanations for kind in KINDS}
# Those of the facts; a kind that is not named here speaks in words alone.
NUMBERS = {
    "ilink": ilink.CASES,
    **dict.fromkeys(("official_account", "mini_program"), weixin.CASES),
    **{kind: wecom.CASES for kind in KINDS if kind.startswith("wecom_")},
}
OF_ROOMS = {
    "unregistered": UnregisteredKind.explanations,
    "tokens": TOKENS,
    "own": OWN,
    "webhooks": WEBHOOK,
    "alerts": ALERT,
}
ALL: dict[str, Mapping[str, Explanation]] = {**OF_KINDS, **OF_ROOMS}
# Parameters that a sentence may name; whoever raises by such a row tells them.
NAMED = {
    "setting",
    "about",
    "because",
    "head",
    "ids",
    "minutes",
    "numbers",
    "parts",
    "count",
    "label",
    "trace",
    "errcode",
}
NAMED |= {"formats", "most", "size", "sender", "name"}
OURS = re.compile(r"[a-z]+(_[a-z]+)*|http_[0-9x]{3}|label_[0-9]+|-?[0-9]+")


@pytest.mark.parametrize("table", ALL)
@pytest.mark.parametrize("params", [{}, {"detail": "100% wrong", "setting": "LIST"}])
def test_every_row_is_read_as_sentences(table: str, params: dict[str, str]) -> None:
    for key, row in ALL[table].items():
        text = row.text(params)
        assert OURS.fullmatch(key), key
        assert str(row.cause).endswith((".", "%(because)s", "%(parts)s", "%(trace)s")) or key.startswith("label_"), key
        assert str(row.cure) == "" or str(row.cure).endswith("."), key
        assert text.strip() == text == " ".join(text.split()), key
        assert "%" not in text or not params, key
        named = re.findall(r"%(?:\((\w+)\)s)?", f"{row.cause}{row.cure}")
        assert set(named) <= NAMED, key


@pytest.mark.parametrize("kind", KINDS)
def test_a_kind_explains_its_numbers_and_the_way_to_its_platform(kind: str) -> None:
    table = OF_KINDS[kind]
    assert {str(number) for number, _action in NUMBERS.get(kind, ())} == {
        key for key in table if key.strip("-").isdigit()
    }
    assert {key: table[key] for key in WIRE} == WIRE
    assert "unlisted" in table or kind not in NUMBERS


@pytest.mark.parametrize("status", [302, 404, 408, 413, 425, 429, 500, 503, 599, 600, 999])
@pytest.mark.parametrize("table", [*OF_KINDS, "webhooks", "alerts"])
def test_every_status_is_explained(table: str, status: int) -> None:
    assert find(ALL[table], f"http_{status}") is not None


def test_a_number_without_a_row_is_told_with_that_of_unlisted_ones() -> None:
    error = WECOM.error(987654, detail="brand new")
    assert (error.code, error.action, error.explanation) == ("987654", Action.RETRY, WECOM["unlisted"])
    assert WEIXIN.row("-987654") is WEIXIN["unlisted"]


@pytest.mark.parametrize("word", ["forgotten", "", "40001x", "http_abc"])
def test_a_word_without_a_row_cannot_be_raised(word: str) -> None:
    with pytest.raises(KeyError):
        WECOM.error(word)


def test_an_error_has_a_code_and_parameters_and_finds_its_sentence_when_it_is_read() -> None:
    error = WIRE.error("address_private", detail="10.0.0.1\0", params={"setting": "LIST", "detail": "of another error"})
    assert (error.code, error.action, error.detail) == ("address_private", Action.CONFIG, "10.0.0.1\ufffd")
    assert error.params == {"setting": "LIST", "detail": "10.0.0.1\ufffd"}
    assert error.text == "The address is on a private network. Name host and port in LIST if that is meant."
    assert str(error) == f"{error.text} (address_private: 10.0.0.1\ufffd)"
    assert str(WIRE.error("reset")).endswith("before the answer came. (reset)")
    assert WIRE.error("reset", params={"detail": "of another error"}).params == {}
    assert WIRE.error("reset", Action.UNKNOWN).action is Action.UNKNOWN


def test_the_sentence_is_in_the_language_of_who_reads() -> None:
    """Django's own catalogue stands in for one of ours."""
    error = ChannelError("x", Explanation(Action.RETRY, _("Yes"), _("No")))
    said = {}
    for language in ("en", "de"):
        with override(language):
            said[language] = error.text
    assert said == {"en": "Yes No", "de": "Ja Nein"}


def raised() -> Iterator[tuple[str, str, str]]:
    """Yield module, table and code of each error that is raised with a code that stands in the source."""
    for path, tree in code().items():
        for node in ast.walk(tree):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "error":
                table, first = node.func.value, node.args[0] if node.args else None
                if isinstance(table, ast.Name) and isinstance(first, ast.Constant) and table.id.isupper():
                    yield name_of(path), table.id, str(first.value)


def test_every_error_is_raised_through_a_table_that_has_its_code() -> None:
    found = list(raised())
    assert len(found) > 25
    for module, name, word in found:
        table = getattr(import_module(module), name)
        assert isinstance(table, Explanations)
        assert word in table, (module, name, word)


def test_no_error_is_made_with_a_sentence_of_its_own() -> None:
    makers = {
        name_of(path)
        for path, tree in code().items()
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "ChannelError"
    }
    assert makers == {"channels_wechat.contract.errors", "accounts.tokens"}  # the latter repeats one that is stored


def named_causes() -> set[str]:
    """The codes of causes that are named in the source: why a delivery waits, is held, or was sent only in part."""
    calls = (node for tree in code().values() for node in ast.walk(tree) if isinstance(node, ast.Call))
    makers = (node for node in calls if isinstance(node.func, ast.Name) and node.func.id == "Cause" and node.args)
    return {str(node.args[0].value) for node in makers if isinstance(node.args[0], ast.Constant) and node.args[0].value}


def test_every_cause_that_the_source_names_is_explained() -> None:
    names = named_causes()
    assert len(names) > 12
    assert {name for name in names if not any(name in table for table in ALL.values())} == set()


def test_every_reason_by_which_a_part_fails_is_explained() -> None:
    assert {str(reason) for reason in (Reason.TOO_OLD, Reason.TOO_LONG, Reason.NO_REPLY, Reason.STOPPED)} <= set(OWN)


def test_our_own_codes_are_nobody_elses() -> None:
    """A row is explained by the table of the other side and ours together."""
    for name, table in ({**OF_KINDS, "gateway": GATEWAY, "webhooks": WEBHOOK, "alerts": ALERT}).items():
        assert set(table) & set(OWN) == set(), name


def test_no_word_of_ours_has_a_row_and_is_never_raised() -> None:
    words = {word for _module, _table, word in raised()} | named_causes() | {"unlisted", "passive_only"}
    # By a verdict, an action, an end of a process, an erasure; a reason; a receipt; an address or a status.
    chosen = {"content_risky", "content_review", "readable", "internal", "interrupted", "erased"}
    chosen |= {"too_old", "too_long", "no_reply", "stopped", "needs_login"}
    chosen |= {"left_out", "invaliduser", "invalidparty", "invalidtag", "unlicenseduser"}
    chosen |= {f"directory_{part}" for part in Directory.directory_parts}
    chosen |= {"address_never", "address_private", "address_plain_http", "html", "file_gone", "file_storage"}
    # By the status of gRPC and what a puppet says.
    chosen |= {*WECHATY_CODES.values(), "tls_failed", "service_away", "service_busy", "service_failed"}
    chosen |= {"message_too_large", "puppet_cannot"}
    for name, table in {**OF_KINDS, "tokens": TOKENS, "own": OWN}.items():
        ours = {key for key in table if key[0] in string.ascii_lowercase and not key.startswith(("http_", "label_"))}
        assert ours <= words | chosen, name


@pytest.mark.parametrize("said", ["GET /gettoken?corpsecret=canary failed", '{"access_token": "canary"}'])
def test_a_secret_in_what_the_other_side_said_is_hidden_wherever_it_is_kept(said: str) -> None:
    error = WIRE.error("http_502", detail=said, params={"status": 502})
    assert "canary" not in f"{error} {error.detail} {error.params} {error.args}"
    gateway = GatewayError(Code.UNAVAILABLE, said)
    assert "canary" not in f"{gateway} {gateway.detail} {gateway.params} {gateway.explained}"


def test_the_place_of_a_cure_is_written_as_the_console_writes_it() -> None:
    row = WECOM["60020"]
    assert row.place
    with override("en"):
        told = row.text()
    assert told.endswith(
        "Where: 企业微信管理后台 → 应用管理 → 自建应用 → 开发者接口 → 企业可信IP (WeCom admin console → App Management → the "
        "self-built app → Developer API → Company's Trusted IP)."
    )
    with override("zh-hans"):
        assert str(row.place) == "企业微信管理后台 → 应用管理 → 自建应用 → 开发者接口 → 企业可信IP"
        assert "(WeCom" not in row.text()


@pytest.mark.parametrize("kind", KINDS)
def test_what_staff_must_change_at_a_platform_has_a_place(kind: str) -> None:
    """Not: what is mended in this bridge, or by an administrator's answer on their phone."""
    here = {"89501", "89503", "61024", "301058", "signature_refused", "kicked"}
    numbers = {code: row for code, row in OF_KINDS[kind].items() if NUMBER.fullmatch(code)}
    assert {code for code, row in numbers.items() if row.action is Action.CONFIG and not row.place} <= here
