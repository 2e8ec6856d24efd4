"""What a gateway posts, and what becomes of it."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest

from channels_wechat.contract.errors import CallbackRefused
from channels_wechat.contract.messages import FailedMessage, MediaItem, Peer
from channels_wechat.contract.unreadable import SYSTEM
from tests.channels.webhook_account.gateway import message, parse

PNG = base64.b64encode(b"\x89PNG\r\n\x1a\n" + bytes(20)).decode()
DIRECT = {"kind": "direct", "id": "ann", "title": "Ann"}
GROUP = {"kind": "group", "id": "room-7"}


def test_a_text_in_a_group() -> None:
    inbound = parse(message(sent_at="2026-01-31T08:00:00+08:00"))
    assert (inbound.key, inbound.kind, inbound.peer) == ("m-1", "text", Peer("group", "room-7"))
    assert (inbound.sender, inbound.text, inbound.title) == ("ann", "hello", "Support")
    assert (inbound.contacts, inbound.occurred_at) == ({"ann": "Ann"}, 1769817600)
    assert (inbound.addressed, inbound.own) == (False, False)


def test_one_to_one_nobody_needs_to_be_named() -> None:
    inbound = parse(message(conversation=DIRECT, sender=None))
    assert (inbound.peer, inbound.sender, inbound.contacts) == (Peer("direct", "ann"), "ann", {"ann": "Ann"})
    assert (inbound.addressed, inbound.title) == (True, "")


def test_a_message_without_an_id_is_known_by_its_webhook_id() -> None:
    assert parse(message(id=None), webhook_id="wh-9").key == "wh-9"


@pytest.mark.parametrize(
    ("fields", "addressed"),
    [
        ({}, False),
        ({"addressed": True}, True),
        ({"mentions": [{"id": "bob", "name": "Bob"}]}, False),
        ({"mentions": [{"id": "bob"}, {"id": "wxid-self"}]}, True),
        ({"mentions": [{"id": "wxid-self"}], "addressed": False}, False),
        ({"conversation": DIRECT}, True),
        ({"conversation": DIRECT, "addressed": False}, False),
    ],
)
def test_who_is_spoken_to(fields: dict[str, Any], addressed: bool) -> None:
    assert parse(message(**fields)).addressed is addressed


def test_names_of_those_who_are_mentioned_are_learnt() -> None:
    mentions = [{"id": "bob", "name": "Bob"}, {"id": "carl"}]
    assert parse(message(mentions=mentions)).contacts == {"ann": "Ann", "bob": "Bob"}


@pytest.mark.parametrize(
    "fields",
    [{"own": True}, {"own": True, "sender": None}, {"sender": {"id": "wxid-self"}},
     {"own": True, "sender": None, "conversation": DIRECT}],
)  # fmt: skip
def test_the_accounts_own_words_are_no_question(fields: dict[str, Any]) -> None:
    assert parse(message(**fields)).own


def test_without_an_id_of_its_own_nobody_is_taken_for_the_account() -> None:
    assert not parse(message(own=True, sender=None), own_id="").sender
    assert not parse(message(), own_id="").own


def test_what_is_answered_stands_before_the_text_as_a_quote() -> None:
    inbound = parse(message(reply_to={"id": "m-0", "text": "one\n\ntwo", "sender": {"id": "bob"}}))
    assert inbound.text == "> one\n>\n> two\n\nhello"
    assert parse(message(reply_to={"id": "m-0"})).text == "hello"


@pytest.mark.parametrize(
    ("text", "files", "kind"),
    [
        ("", [{"url": "https://a.example/1", "mime": "image/png"}], "image"),
        ("", [{"url": "https://a.example/1.mp4"}], "video"),
        ("", [{"url": "https://a.example/1", "name": "a.amr"}], "voice"),
        ("", [{"url": "https://a.example/1", "name": "a.amr", "kind": "file"}], "file"),
        ("", [{"url": "http://a.example/1"}], "file"),
        ("", [{"content": PNG}], "image"),
        ("see", [{"content": PNG}], "mixed"),
        ("", [{"content": PNG}, {"content": PNG}], "mixed"),
    ],
)
def test_what_sort_of_message_it_is(text: str, files: list[dict[str, str]], kind: str) -> None:
    inbound = parse(message(text=text, files=files))
    assert (inbound.kind, len(inbound.media)) == (kind, len(files))


def test_addresses_and_bytes_of_files_are_not_kept_with_the_message() -> None:
    files = [{"url": "https://a.example/secret", "name": "a.png"}, {"content": PNG, "name": "b.png"}]
    inbound = parse(message(files=files, more={"url": "x", "kept": 1}))
    assert inbound.media == (
        MediaItem("image", "https://a.example/secret", "a.png"),
        MediaItem("image", f"data:;base64,{PNG}", "b.png"),
    )
    assert inbound.raw["files"] == [{"name": "a.png"}, {"name": "b.png"}]
    assert (inbound.raw["more"], inbound.raw["text"]) == ({"kept": 1}, "hello")


@pytest.mark.parametrize(
    ("kind", "came", "names"), [("joined", True, "joined: Bob, carl"), ("left", False, "left: Bob, carl")]
)
def test_people_come_into_a_group_and_leave_it(kind: str, came: bool, names: str) -> None:
    people = [{"id": "bob", "name": "Bob"}, {"id": "carl"}]
    inbound = parse({"type": kind, "id": "e-1", "conversation": GROUP, "people": people})
    assert (inbound.key, inbound.kind, inbound.text) == (f"{kind}:e-1", "event", names)
    assert (inbound.contacts, inbound.follows, inbound.greets) == ({"bob": "Bob"}, None, False)


@pytest.mark.parametrize(("kind", "came"), [("joined", True), ("left", False)])
def test_a_person_adds_the_account_and_removes_it(kind: str, came: bool) -> None:
    inbound = parse({"type": kind, "conversation": DIRECT})
    assert (inbound.key, inbound.sender, inbound.contacts) == (f"{kind}:wh-1", "ann", {"ann": "Ann"})
    assert (inbound.follows, inbound.greets) == (came, came)


def test_a_group_is_renamed() -> None:
    inbound = parse({"type": "renamed", "conversation": {**GROUP, "title": "Sales"}})
    assert (inbound.kind, inbound.title, inbound.text) == ("event", "Sales", "renamed: Sales")


def test_a_message_is_taken_back() -> None:
    """The event's own id is another one, so that it is no repetition of the message."""
    inbound = parse({"type": "recalled", "id": "m-1", "conversation": GROUP, "message_id": "m-1"})
    assert (inbound.key, inbound.kind, inbound.recalls) == ("recalled:m-1", "event", "m-1")


def test_a_message_of_ours_did_not_arrive() -> None:
    inbound = parse({"type": "failed", "conversation": GROUP, "message_id": "r-1", "reason": "blocked"})
    assert inbound.failed is not None
    assert isinstance(inbound.failed, FailedMessage)
    assert inbound.failed.remote_id == "r-1"
    assert inbound.failed.cause == ("not_delivered", {"detail": "blocked"})


@pytest.mark.parametrize(
    ("event", "peer"),
    [
        ({"type": "reaction", "conversation": GROUP, "emoji": "👍"}, Peer("group", "room-7")),
        ({"type": "typing"}, Peer("direct", SYSTEM)),
        ({"type": "typing", "conversation": "room-7"}, Peer("direct", SYSTEM)),
    ],
)
def test_a_type_that_is_not_known_is_stored_as_unsupported(event: dict[str, Any], peer: Peer) -> None:
    inbound = parse(event)
    assert (inbound.kind, inbound.peer, inbound.text) == ("unsupported", peer, "")
    assert inbound.raw == event


WRONG: list[tuple[str, Any]] = [
    ("type", message(type=None)),
    ("type", message(type=7)),
    ("id", message(id=7)),
    ("id", message(id=" m")),
    ("id", message(id="a\nb")),
    ("id", message(id="x" * 201)),
    ("conversation", message(conversation=None)),
    ("conversation", message(conversation="room-7")),
    ("conversation.kind", message(conversation={"id": "room-7"})),
    ("conversation.kind", message(conversation={"kind": "channel", "id": "room-7"})),
    ("conversation.id", message(conversation={"kind": "group"})),
    ("conversation.id", message(conversation={"kind": "group", "id": ""})),
    ("conversation.title", message(conversation={**GROUP, "title": ["a"]})),
    ("sender", message(sender=None)),
    ("sender", message(sender="ann")),
    ("sender.id", message(sender={"name": "Ann"})),
    ("sender.name", message(sender={"id": "ann", "name": 1})),
    ("text", message(text=None)),
    ("text", message(text=" \n")),
    ("text", message(text={"plain": "a"})),
    ("own", message(own="yes")),
    ("addressed", message(addressed=1)),
    ("mentions", message(mentions=["bob"])),
    ("mentions[1].id", message(mentions=[{"id": "bob"}, {"name": "Carl"}])),
    ("sent_at", message(sent_at="yesterday")),
    ("sent_at", message(sent_at="2026-01-31T08:00:00")),
    ("sent_at", message(sent_at=True)),
    ("sent_at", message(sent_at=1.5)),
    ("reply_to", message(reply_to="m-0")),
    ("reply_to.text", message(reply_to={"text": 1})),
    ("files", message(files={"url": "https://a.example/"})),
    ("files", message(files=[{"url": "https://a.example/"}] * 21)),
    ("files[0].url", message(files=[{}])),
    ("files[0].url", message(files=[{"url": "https://a.example/", "content": PNG}])),
    ("files[0].url", message(files=[{"url": "ftp://a.example/"}])),
    ("files[0].url", message(files=[{"url": "data:;base64,AAAA"}])),
    ("files[0].content", message(files=[{"content": "not base64"}])),
    ("files[0].content", message(files=[{"content": "é"}])),
    ("files[0].kind", message(files=[{"content": PNG, "kind": "sticker"}])),
    ("people", {"type": "joined", "conversation": GROUP}),
    ("people[0].id", {"type": "left", "conversation": GROUP, "people": [{}]}),
    ("conversation.title", {"type": "renamed", "conversation": GROUP}),
    ("message_id", {"type": "recalled", "conversation": GROUP}),
    ("message_id", {"type": "failed", "conversation": GROUP}),
    ("reason", {"type": "failed", "conversation": GROUP, "message_id": "r-1", "reason": {}}),
]


@pytest.mark.parametrize(("field", "event"), WRONG)
def test_the_field_that_is_wrong_is_named(field: str, event: dict[str, Any]) -> None:
    with pytest.raises(CallbackRefused) as refused:
        parse(event)
    assert (refused.value.status, refused.value.code) == (400, "field")
    assert str(refused.value).startswith(f"{field}: ")


@pytest.mark.parametrize("body", [b"", b"[]", b"null", b'"text"', b"{", b"[" * 5000, b"7"])
def test_what_is_no_object_is_refused(body: bytes) -> None:
    with pytest.raises(CallbackRefused) as refused:
        parse(body)
    assert (refused.value.status, refused.value.code) == (400, "json")


def test_null_is_the_same_as_left_out() -> None:
    nulls = dict.fromkeys(("addressed", "mentions", "files", "reply_to", "sent_at", "own"))
    assert parse(json.dumps({**message(), **nulls}).encode()).text == "hello"
