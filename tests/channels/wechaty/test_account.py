"""An account of Wechaty: its form, its id, its pauses, what it renders, and what it says of itself."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from channels_wechat.contract.errors import ContentRefused
from channels_wechat.contract.messages import Content, File, Pace, Peer
from channels_wechat.wechaty.channel import Wechaty
from channels_wechat.wechaty.credentials import RISK, WechatyCredentials
from channels_wechat.wechaty.endpoint import COMMUNITY_CA
from tests.channels.wechaty.accounts import channel
from tests.support.fake_puppet import TOKEN

GOOD = {"token": TOKEN, "endpoint": "puppet.example.com:8788", "knows_risk": "on"}
CHINA = timezone(timedelta(hours=8))


def form(**fields: Any) -> WechatyCredentials:
    return WechatyCredentials({**GOOD, **fields})


def test_a_form_without_more_means_tls_and_the_community() -> None:
    found = form()
    assert found.is_valid(), found.errors
    assert (found.cleaned_data["tls"], found.cleaned_data["ca"], found.cleaned_data["knows_risk"]) == ("on", "", True)


@pytest.mark.parametrize(
    ("fields", "name", "words"),
    [
        ({"knows_risk": ""}, "knows_risk", "cannot be added"),
        ({"endpoint": "puppet.example.com"}, "endpoint", "host and port"),
        ({"endpoint": "https://puppet.example.com:1"}, "endpoint", "host and port"),
        ({"endpoint": "user@puppet.example.com:1"}, "endpoint", "host and port"),
        ({"endpoint": "puppet.example.com:99999"}, "endpoint", "1 to 65535"),
        ({"endpoint": "0x7f.1:8788"}, "endpoint", "neither a name"),
        ({"ca": "-----BEGIN CERTIFICATE-----\nnonsense\n-----END CERTIFICATE-----"}, "ca", "no certificate"),
        ({"ca": "-----BEGIN PRIVATE KEY-----"}, "ca", "private key"),
        ({"server_name": "a/b"}, "server_name", "no name of a server"),
        ({"room_least": "5", "room_most": "2"}, "room_most", "less than the least"),
        ({"account_least": "-1"}, "account_least", "greater than or equal"),
        ({"quiet_from": "22:00"}, "quiet_to", "both times"),
        ({"quiet_from": "22:00", "quiet_to": "22:00"}, "quiet_to", "end when they begin"),
        ({"quiet_from": "25:00", "quiet_to": "06:00"}, "quiet_from", "22:30"),
        ({"daily": "0"}, "daily", "greater than or equal"),
        ({"tls": "maybe"}, "tls", "Select a valid choice"),
    ],
)
def test_bad_input_is_named_at_its_field(fields: dict[str, str], name: str, words: str) -> None:
    found = form(**fields)
    assert not found.is_valid()
    assert list(found.errors) == [name]
    assert words in str(found.errors[name])


def test_a_certificate_is_taken_with_the_words_around_it() -> None:
    pem = COMMUNITY_CA.read_text()
    found = form(ca=f"subject=wechaty\r\n{pem}\r\n")
    assert found.is_valid(), found.errors
    assert pem.strip() in found.cleaned_data["ca"]


def test_the_risk_is_said_in_words() -> None:
    for word in ("forbids", "ban it for ever", "WeCom", "iLink"):
        assert word in str(RISK)
    assert Wechaty.is_risky


def test_an_account_is_known_by_the_digest_of_its_token() -> None:
    first, second = (Wechaty.external_id({"token": token}) for token in (TOKEN, TOKEN + "x"))
    assert (len(first), first != second, TOKEN in first) == (16, True, False)


# --- how slowly it writes


@pytest.mark.parametrize(
    ("fields", "paces"),
    [
        ({}, (None, None)),
        ({"account_least": 1.0, "account_most": 3.0, "room_least": 2.0, "room_most": 6.0}, (Pace(1, 3), Pace(2, 6))),
        ({"room_most": 4.0}, (None, Pace(0, 4))),
        ({"account_least": None, "account_most": None, "room_least": 0, "room_most": 0}, (None, None)),
    ],
)
def test_pauses(fields: dict[str, Any], paces: tuple[Pace | None, Pace | None]) -> None:
    assert channel(**fields).paces == paces


def test_a_least_pause_alone_is_an_exact_one() -> None:
    found = form(room_least="3")
    assert found.is_valid(), found.errors
    assert channel(**found.cleaned_data).paces == (None, Pace(3, 3))


@pytest.mark.parametrize(
    ("begin", "end", "now", "until", "last"),
    [
        ("23:30", "07:00", "01 23:29", "", "01 07:00"),
        ("23:30", "07:00", "01 23:30", "02 07:00", "01 07:00"),
        ("23:30", "07:00", "02 06:59", "02 07:00", "01 07:00"),
        ("23:30", "07:00", "02 07:00", "", "02 07:00"),
        ("12:00", "13:00", "02 12:30", "02 13:00", "01 13:00"),
        ("12:00", "13:00", "02 13:00", "", "02 13:00"),
        ("", "", "02 03:00", "", ""),
    ],
)
def test_quiet_hours(begin: str, end: str, now: str, until: str, last: str) -> None:
    def day(text: str) -> datetime | None:
        return datetime.strptime(f"2026-11-{text}", "%Y-%m-%d %H:%M").replace(tzinfo=CHINA) if text else None

    account, moment = channel(quiet_from=begin, quiet_to=end), day(now)
    assert moment is not None
    assert (account.quiet_until(moment), account.last_quiet_end(moment)) == (day(until), day(last))


@pytest.mark.parametrize(("day", "hours"), [("2026-03-29", 5), ("2026-10-25", 7), ("2026-11-28", 6)])
def test_quiet_hours_are_counted_through_a_change_of_the_clock(day: str, hours: int) -> None:
    one = datetime.strptime(f"{day} 01:00", "%Y-%m-%d %H:%M").replace(tzinfo=ZoneInfo("Europe/Berlin"))
    until = channel(quiet_from="23:30", quiet_to="07:00").quiet_until(one)
    assert until is not None
    assert until - one == timedelta(hours=hours)


def test_messages_a_day_are_a_limit_of_the_account() -> None:
    (limit,) = channel(daily=300).limits
    assert (limit.count, limit.per, limit.scope) == (300, 86400, "account")
    assert channel().limits == channel(daily=None).limits == ()


# --- what it renders


def file(name: str = "a.pdf", size: int = 10, ref: str = "1") -> File:
    return File("file", name, "application/pdf", size, ref)


def test_markdown_becomes_plain_and_files_follow() -> None:
    payloads = channel().render(
        Content(text="# Title\n\n**bold** [x](https://example.com)", files=(file(ref="7"), file("b\n.bin", ref="8")))
    )
    assert [payload.body for payload in payloads] == [
        {"kind": "text", "text": "Title\n\nbold x (https://example.com)"},
        {"kind": "file", "name": "a.pdf"},
        {"kind": "file", "name": "b .bin"},
    ]
    assert [payload.images for payload in payloads] == [(), ("7",), ("8",)]


def test_a_long_text_is_split_and_only_its_first_part_mentions() -> None:
    payloads = channel().render(Content(text="一" * 5000, data={"mentions": ["wxid_a"]}))
    assert [len(payload.body["text"]) for payload in payloads] == [2000, 2000, 1000]
    assert [payload.body.get("mentions") for payload in payloads] == [["wxid_a"], None, None]


@pytest.mark.parametrize(
    ("content", "field"),
    [
        (Content(text=" "), "text"),
        (Content(text="", files=(file(),), data={"mentions": ["a"]}), "text"),
        (Content(text="x", data={"mentions": "a"}), "mentions"),
        (Content(text="x", data={"mentions": [1]}), "mentions"),
        (Content(text="", files=(file(size=0),)), "files"),
        (Content(text="", files=(file(size=101 * 1024 * 1024),)), "files"),
        (Content(kind="image"), "files"),
        (Content(kind="template_card"), "kind"),
    ],
)
def test_what_can_never_be_sent_is_refused(content: Content, field: str) -> None:
    with pytest.raises(ContentRefused) as caught:
        channel().render(content)
    assert caught.value.field == field


@pytest.mark.parametrize("kind", ["image", "voice", "video", "file"])
def test_a_single_file_goes_as_what_it_is(kind: Any) -> None:
    (payload,) = channel().render(Content(kind=kind, files=(file("song.mp3", ref="9"),)))
    assert (payload.body, payload.images) == ({"kind": "file", "name": "song.mp3"}, ("9",))


def test_the_agent_is_told_where_it_is() -> None:
    group, direct = channel().surface(Peer("group", "r")), channel().surface(Peer("direct", "p"))
    assert ("@name" in group, "@name" in direct) == (True, False)
    assert "below 2000 Chinese characters" in direct
