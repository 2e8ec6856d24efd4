"""Answers in the HTTP answer itself, as the person sees them (facts: official_account.md 2.7, 2.8)."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Any

import pytest

from tests.simulator.weixin import FAN, JPEG, MINI, OFFICIAL, USER, reply, sealed

if TYPE_CHECKING:
    from channels_wechat.simulator import SimulatorClient
    from tests.simulator.receiver import Received, Receiver
    from tests.simulator.weixin import Api

SORRY = "该公众号暂时无法提供服务，请稍后再试"


def ask(wechat: SimulatorClient, developer: Receiver, answer: Any) -> list[tuple[str, str, int]]:
    """(kind, text, number of the delivery) of all that the follower sees after one message."""
    developer.answer = answer
    said = wechat.say("在吗", official=OFFICIAL, from_=FAN)
    wechat.wait_taken(said)
    shown = wechat.sent_to(FAN)
    assert {entry["answers"] for entry in shown} <= {said["id"]}
    return [(entry["kind"], entry["text"], entry["data"]["delivery"]) for entry in shown]


@pytest.mark.parametrize("mode", ["compatible", "safe"])
def test_an_encrypted_answer(wechat: SimulatorClient, developer: Receiver, mode: str) -> None:
    wechat.official(OFFICIAL, mode=mode)
    assert ask(wechat, developer, lambda got: sealed(reply("在 ]"), got.query)) == [("text", "在 ]", 1)]


@pytest.mark.parametrize("mode", ["plaintext", "compatible"])
def test_a_clear_answer(wechat: SimulatorClient, developer: Receiver, mode: str) -> None:
    wechat.official(OFFICIAL, mode=mode)
    before = time.time()
    assert ask(wechat, developer, lambda got: reply("在").encode()) == [("text", "在", 1)]
    assert before <= wechat.sent_to(FAN)[0]["at"] <= time.time()
    assert wechat.sent_to(FAN)[0]["via"] == "passive"


@pytest.mark.parametrize("nothing", [b"success", b"", None, b" success\n"])
def test_these_end_it_and_show_nothing(wechat: SimulatorClient, developer: Receiver, nothing: bytes | None) -> None:
    assert ask(wechat, developer, lambda got: nothing) == []
    assert len(developer.received) == 1
    assert wechat.record()["violations"] == []


@pytest.mark.parametrize("number", [1, 2, 3])
def test_the_delivery_that_was_answered_is_told(wechat: SimulatorClient, developer: Receiver, number: int) -> None:
    wechat.settings(callback_timeout=0.2, delivery_interval=0.2)

    def answer(got: Received) -> bytes:
        if len(developer.received) < number:
            time.sleep(0.4)  # beyond the platform's patience: nobody reads this
        return sealed(reply("想好了"), got.query)

    assert ask(wechat, developer, answer) == [("text", "想好了", number)]
    assert len(developer.received) == number


def test_after_three_without_an_answer_the_follower_is_told(wechat: SimulatorClient, developer: Receiver) -> None:
    assert ask(wechat, developer, lambda got: 500) == [("failure", SORRY, 3)]
    assert len(developer.received) == 3


@pytest.mark.parametrize(
    ("body", "why"),
    [
        (b"ok", "not XML"),
        (b'{"MsgType":"text"}', "not XML"),
        (reply("x").encode(), "clear passive reply in safe mode"),
        (b"<xml><Encrypt>x</Encrypt></xml>", "lacks"),
        (lambda query: sealed(reply("x"), query, "wxother"), "receiveid"),
        (lambda query: sealed(reply("x"), query).replace(b"<Nonce>", b"<Nonce>1"), "signature|not XML"),
        (lambda query: sealed(reply("x", ToUserName="gh_official", FromUserName=FAN), query), "not swapped"),
        (lambda query: sealed(reply("x", CreateTime="now"), query), "CreateTime"),
        (lambda query: sealed(reply(" "), query), "Content is empty"),
        (lambda query: sealed(reply("x", "poem"), query), "poem cannot be shown"),
        (lambda query: sealed("text", query), "not XML"),
    ],
)
def test_a_malformed_answer_ends_it_and_the_follower_is_told(
    wechat: SimulatorClient, developer: Receiver, body: Any, why: str
) -> None:
    def answer(got: Received) -> bytes:
        return body(got.query) if callable(body) else body

    assert ask(wechat, developer, answer) == [("failure", SORRY, 1)]
    (violation,) = wechat.record()["violations"]
    assert violation["what"] == "bad_reply"
    assert any(part in violation["detail"] for part in why.split("|"))


def test_an_encrypted_answer_in_plaintext_mode_is_malformed(wechat: SimulatorClient, developer: Receiver) -> None:
    wechat.official(OFFICIAL, mode="plaintext")
    assert ask(wechat, developer, lambda got: sealed(reply("x"), got.query)) == [("failure", SORRY, 1)]


@pytest.mark.parametrize(("text", "shown"), [("字" * 682 + "ab", 1), ("字" * 682 + "abc", 0)])
def test_a_text_over_2048_bytes_shows_nothing(
    wechat: SimulatorClient, developer: Receiver, text: str, shown: int
) -> None:
    assert len(ask(wechat, developer, lambda got: sealed(reply(text), got.query))) == shown
    assert [one["what"] for one in wechat.record()["violations"]] == ["passive_reply_too_long"] * (1 - shown)


def test_a_picture_and_an_article(wechat: SimulatorClient, developer: Receiver, api: Api) -> None:
    media_id = api.upload("image", JPEG)["media_id"]
    picture = reply("", "image", f"<Image><MediaId><![CDATA[{media_id}]]></MediaId></Image>")
    assert ask(wechat, developer, lambda got: sealed(picture, got.query)) == [("image", "", 1)]
    assert wechat.sent_to(FAN)[0]["data"]["size"] == len(JPEG)
    item = "<item><Title>新闻</Title><Description/><PicUrl/><Url>https://example.org</Url></item>"
    news = reply("", "news", f"<ArticleCount>1</ArticleCount><Articles>{item}</Articles>")
    developer.answer = lambda got: sealed(news, got.query)
    wechat.wait_taken(wechat.say("还有呢", official=OFFICIAL, from_=FAN))
    assert wechat.sent_to(FAN)[1]["data"]["articles"][0]["url"] == "https://example.org"


def test_handed_over_to_the_platforms_desk(wechat: SimulatorClient, developer: Receiver) -> None:
    assert ask(wechat, developer, lambda got: sealed(reply("", "transfer_customer_service", ""), got.query)) == []
    assert wechat.record()["violations"] == []


def test_copies_show_the_answer_once(wechat: SimulatorClient, developer: Receiver) -> None:
    wechat.settings(copies=3)
    assert ask(wechat, developer, lambda got: sealed(reply("一次"), got.query)) == [("text", "一次", 1)]
    assert len(developer.received) == 3


def test_an_answer_uses_no_window_up(wechat: SimulatorClient, developer: Receiver) -> None:
    ask(wechat, developer, lambda got: sealed(reply("在"), got.query))
    assert wechat.standing(FAN)["left"] == 5


@pytest.mark.parametrize(("event", "told"), [("CLICK", [SORRY]), ("subscribe", [SORRY]), ("LOCATION", [])])
def test_only_who_waits_for_an_answer_is_told(
    wechat: SimulatorClient, developer: Receiver, event: str, told: list[str]
) -> None:
    developer.answer = lambda got: 500
    wechat.wait_taken(wechat.event(event, official=OFFICIAL, from_=FAN))
    assert [entry["text"] for entry in wechat.sent_to(FAN)] == told


def test_an_answer_in_json(wechat: SimulatorClient, developer: Receiver) -> None:
    wechat.official(OFFICIAL, mode="plaintext", format="json")
    fields = {"ToUserName": FAN, "FromUserName": "gh_official", "CreateTime": 1, "MsgType": "text", "Content": "在"}
    assert ask(wechat, developer, lambda got: json.dumps(fields).encode()) == [("text", "在", 1)]
    developer.answer = lambda got: reply("x").encode()
    wechat.wait_taken(wechat.say("x", official=OFFICIAL, from_=FAN))
    assert wechat.sent_to(FAN)[-1]["text"] == SORRY


def test_a_mini_program_takes_no_answer_in_the_callback(wechat: SimulatorClient, developer: Receiver) -> None:
    wechat.mini(MINI, mode="plaintext")
    fields = {"ToUserName": USER, "FromUserName": "gh_mini", "CreateTime": 1, "MsgType": "text", "Content": "在"}
    developer.answer = lambda got: json.dumps(fields).encode()
    wechat.wait_taken(wechat.say("x", mini=MINI, from_=USER))
    assert wechat.sent_to(USER) == []
    assert wechat.record()["violations"][0]["what"] == "passive_reply_to_a_mini_program"
