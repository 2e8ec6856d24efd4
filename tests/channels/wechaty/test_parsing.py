"""Messages of the puppet service as the bridge stores them: all types by the wire's numbers, mentions, quotes, times."""

from __future__ import annotations

from typing import Any

import pytest

from channels_wechat.contract.messages import MediaItem, Peer
from channels_wechat.wechaty import puppet_pb2 as pb
from channels_wechat.wechaty.mentions import address, has_unknown_name
from channels_wechat.wechaty.parsing import Facts, read

ME, ANN, ROOM = "wxid_bot", "wxid_ann", "1@chatroom"
APP_XML = (
    "<?xml version='1.0'?><msg><appmsg appid='' sdkver='0'><title>Plan</title><des>for Monday</des><type>5</type>"
    "<url>https://example.com/plan</url></appmsg></msg>"
)
RULE = "- - - - - - - - - - - - - - -"


def message(text: str = "", kind: int = 7, *, room: str = ROOM, **fields: Any) -> pb.MessageData:
    place = {"room_id": room} if room else {"listener_id": ME}
    return pb.MessageData(**{"id": "m1", "text": text, "type": kind, "talker_id": ANN, **place, **fields})


def facts(**fields: Any) -> Facts:
    return Facts(**{"me": ME, "own_names": ("Helper Bot", "LabBot"), "names": {ANN: "Ann"}, "title": "Sales", **fields})


@pytest.mark.parametrize(
    ("number", "kind", "media"),
    [(1, "file", "file"), (2, "voice", "voice"), (5, "image", "image"), (6, "image", "image"), (15, "video", "video")],
)
def test_files_are_fetched_by_the_id_of_their_message(number: int, kind: str, media: Any) -> None:
    found = read(message(kind=number, filename="a.bin"), facts())
    assert (found.kind, found.text, found.media) == (kind, "", (MediaItem(media, "m1", "a.bin"),))


@pytest.mark.parametrize(
    ("number", "text", "detail", "kind", "said", "unread"),
    [
        (7, "hello", {}, "text", "hello", False),
        (19, "**hello**", {}, "text", "**hello**", False),
        (3, "<msg/>", {"id": ANN}, "text", "Contact card: Ann (wxid_ann)", False),
        (3, "<msg/>", {"id": "wxid_x"}, "text", "Contact card: wxid_x", False),
        (3, "", {}, "text", "[a message of the type contact card, which cannot be read here]", True),
        (
            4,
            APP_XML,
            {},
            "text",
            "[a message of the type chat history, of which only this can be read]\nPlan\nfor Monday\nhttps://example.com/plan",
            True,
        ),
        (
            8,
            "",
            {"name": "Tower", "address": "1 Road", "latitude": 31.5, "longitude": 121.25},
            "location",
            "Location: Tower 1 Road (31.5, 121.25)",
            False,
        ),
        (8, "", {}, "text", "[a message of the type location, which cannot be read here]", True),
        (9, "", {"title": "Shop", "description": "Buy"}, "link", "Mini program: Shop\nBuy", False),
        (14, "", {"title": "News", "url": "https://example.com/n"}, "link", "News\nhttps://example.com/n", False),
        (14, APP_XML, {}, "link", "Plan\nfor Monday\nhttps://example.com/plan", False),
        (
            14,
            "<!DOCTYPE x [<!ENTITY a 'b'>]><msg>&a;</msg>",
            {},
            "text",
            "[a message of the type link, which cannot be read here]",
            True,
        ),
        (10, "<msg/>", {}, "text", "[a message of the type group note, which cannot be read here]", True),
        (11, "<msg/>", {}, "text", "[a transfer of money, which can be accepted on the phone only]", True),
        (12, "", {}, "text", "[a red envelope, which can be opened on the phone only]", True),
        (16, "", {}, "text", "[a message of the type post, which cannot be read here]", True),
        (17, "", {}, "text", "[a message of the type channel, which cannot be read here]", True),
        (20, "", {}, "text", "[a message of the type call, which cannot be read here]", True),
        (18, "Ann left", {}, "event", "Ann left", False),
        (0, "what", {}, "unsupported", "[a message, of which only this can be read]\ntext: what", True),
        (0, "", {}, "unsupported", "[a message, which cannot be read here]", True),
        (77, "what", {}, "unsupported", "[a message of the type 77, of which only this can be read]\nwhat", True),
    ],
)
def test_each_type_is_read_by_the_number_of_the_wire(
    number: int, text: str, detail: dict[str, Any], kind: str, said: str, unread: bool
) -> None:
    found = read(message(text, number, room=""), facts(detail=detail))
    assert (found.kind, found.text, found.is_unread) == (kind, said, unread)


def test_a_recall_names_the_message_that_was_taken_back() -> None:
    found = read(message("m0", 13), facts())
    assert (found.kind, found.recalls, found.addressed) == ("event", "m0", False)


@pytest.mark.parametrize(("told", "seconds"), [(1795000000, 1795000000), (1795000000123, 1795000000), (0, 0)])
def test_a_time_is_in_seconds_or_milliseconds(told: int, seconds: int) -> None:
    assert read(message(timestamp=told), facts()).occurred_at == seconds


def test_whose_chat_it_is() -> None:
    assert read(message("x"), facts()).peer == Peer("group", ROOM)
    assert read(message("x", room=""), facts()).peer == Peer("direct", ANN)
    own = read(message("x", room="", talker_id=ME, listener_id=ANN), facts())
    assert (own.peer, own.own, own.sender) == (Peer("direct", ANN), True, ME)


def test_what_is_told_beside_the_words() -> None:
    found = read(message("x", mention_ids=[ANN]), facts(names={ANN: "Ann", "wxid_y": ""}))
    assert (found.key, found.title, dict(found.contacts)) == ("m1", "Sales", {ANN: "Ann"})
    assert found.raw["mention_ids"] == [ANN]


@pytest.mark.parametrize(
    ("text", "ids", "addressed", "said"),
    [
        ("@Helper Bot\u2005what time?", [ME], True, "what time?"),
        ("what time? @LabBot\u2005", [ME], True, "what time?"),
        ("@all the same", [ME], True, "@all the same"),
        ("@Ann\u2005@Helper Bot\u2005both", [ANN, ME], True, "@Ann\u2005both"),
        ("@Helper Bot\u2005what time?", [ANN], False, "@Helper Bot\u2005what time?"),
        ("@Helper Bot\u2005no ids", [], True, "no ids"),
        ("@LabBot no ids", [], True, "no ids"),
        ("@Helper Bot", [], True, ""),
        ("@Helper Bottom\u2005no", [], False, "@Helper Bottom\u2005no"),
        ("mail me@LabBot.com", [], False, "mail me@LabBot.com"),
        ("nobody", [], False, "nobody"),
    ],
)
def test_a_mention_speaks_to_us_and_is_taken_out(text: str, ids: list[str], addressed: bool, said: str) -> None:
    found = read(message(text, mention_ids=ids), facts())
    assert (found.addressed, found.text) == (addressed, said)


@pytest.mark.parametrize(
    ("text", "said", "addressed"),
    [
        (f"「Ann：first\nsecond」\n{RULE}\n@LabBot\u2005why?", "> Ann:\n> first\n> second\n\nwhy?", True),
        (f"「LabBot：@LabBot\u2005old」\n{RULE}\nnew", "> LabBot:\n> @LabBot\u2005old\n\nnew", False),
        (f"「Ann: [Photo]」\n{RULE}\nnice", "> Ann:\n> [Photo]\n\nnice", False),
        ("「Ann：first」 is no quote", "「Ann：first」 is no quote", False),
    ],
)
def test_a_quote_is_told_from_what_is_said_to_it(text: str, said: str, addressed: bool) -> None:
    found = read(message(text), facts())
    assert (found.text, found.addressed) == (said, addressed)


def test_a_name_that_nobody_can_tell_apart_mentions_nobody() -> None:
    names = {"Ann": "a", "Ann Lee": "l", "安": "c"}
    assert address("@Ann Lee hi @Ann! @安，好", [], names) == (
        "@Ann Lee\u2005hi @Ann\u2005! @安\u2005，好",
        ("l", "a", "c"),
    )
    assert address("hi", ["c", "x"], names) == ("@安\u2005hi", ("c",))
    assert has_unknown_name("@Bob hi", names)
    assert not has_unknown_name("@Ann hi x@y.z", names)
    assert address("@Annabel hi", [], names) == ("@Annabel hi", ())
