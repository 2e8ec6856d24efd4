"""Callbacks of WeChat accounts, as wechatpy opens and reads them (facts: official_account.md 2)."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Any

import pytest
from wechatpy import parse_message

from channels_wechat.simulator import SimulatorError
from tests.simulator.platform import AMR
from tests.simulator.weixin import FAN, JPEG, MINI, MP4, OFFICIAL, USER, opened

if TYPE_CHECKING:
    from channels_wechat.simulator import SimulatorClient
    from tests.simulator.receiver import Received, Receiver
    from tests.simulator.weixin import Api

MODES = ["plaintext", "compatible", "safe"]


def heard(wechat: SimulatorClient, developer: Receiver, **spec: Any) -> dict[str, Any]:
    """The fields of what the developer's server got for one message."""
    speaker = {} if "mini" in spec else {"official": OFFICIAL, "from_": FAN}
    said = wechat.say(spec.pop("text", ""), **speaker, **spec)
    assert wechat.wait_taken(said)["outcome"] == "delivered"
    last = developer.messages[-1]
    return last.json if last.plain.startswith("{") else last.xml


@pytest.mark.parametrize("mode", MODES)
def test_a_text_in_every_mode_as_wechatpy_reads_it(wechat: SimulatorClient, developer: Receiver, mode: str) -> None:
    wechat.official(OFFICIAL, mode=mode)
    said = wechat.say("你好 ]]> & <b>", official=OFFICIAL, from_=FAN)
    assert wechat.wait_taken(said)["outcome"] == "delivered"
    (received,) = developer.messages
    message = parse_message(received.plain)
    assert (message.type, message.content, message.source) == ("text", "你好 ]]> & <b>", FAN)
    assert (str(message.id), message.target) == (said["id"], "gh_official")
    assert received.query["openid"] == FAN
    assert ("encrypt_type" in received.query, "msg_signature" in received.query) == (mode != "plaintext",) * 2


@pytest.mark.parametrize("mode", MODES)
def test_json_in_every_mode(wechat: SimulatorClient, developer: Receiver, mode: str) -> None:
    wechat.mini(MINI, mode=mode)
    said = wechat.say("你好 \ud800", mini=MINI, from_=USER)
    wechat.wait_taken(said)
    fields = developer.messages[0].json
    assert (fields["MsgType"], fields["Content"], fields["MsgId"]) == ("text", "你好 ?", int(said["id"]))
    assert developer.messages[0].headers["Content-Type"] == "application/json"


@pytest.mark.parametrize("form", ["xml", "json"])
def test_compatible_mode_says_everything_twice(wechat: SimulatorClient, developer: Receiver, form: str) -> None:
    bodies: list[str] = []

    def read(body: str, query: dict[str, str]) -> str:
        bodies.append(body)
        return opened(body, query)

    developer.reads = read
    wechat.official(OFFICIAL, mode="compatible", format=form)
    heard(wechat, developer, text="两遍")
    assert "两遍" in bodies[0]
    assert "Encrypt" in bodies[0]
    wechat.official(OFFICIAL, mode="safe")
    heard(wechat, developer, text="一遍")
    assert "一遍" not in bodies[1]


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ({"kind": "image", "data": JPEG}, {"MsgType": "image"}),
        ({"kind": "voice", "data": AMR}, {"MsgType": "voice", "Format": "amr", "Recognition": None}),
        ({"kind": "voice", "data": AMR, "text": "说的话"}, {"Recognition": "说的话"}),
        ({"kind": "video", "data": MP4}, {"MsgType": "video"}),
        ({"kind": "location", "location": {"Label": "广州"}}, {"Label": "广州", "Location_X": "23.134521"}),
        ({"kind": "link", "link": {"Title": "新闻"}}, {"Title": "新闻", "Description": "描述"}),
    ],
)
def test_every_kind_of_message(
    wechat: SimulatorClient, developer: Receiver, api: Api, spec: dict[str, Any], expected: dict[str, Any]
) -> None:
    fields = heard(wechat, developer, **spec)
    assert expected.items() <= fields.items()
    assert parse_message(developer.messages[-1].plain).type == spec["kind"]
    if spec["kind"] in ("image", "voice"):
        assert api.look("cgi-bin/media/get", media_id=fields["MediaId"]).content == spec["data"]
    if spec["kind"] == "image":
        assert api.http.get(fields["PicUrl"], timeout=10).content == JPEG


@pytest.mark.parametrize(
    ("event", "names"),
    [
        ("subscribe", {"EventKey"}),
        ("unsubscribe", {"EventKey"}),
        ("SCAN", {"EventKey", "Ticket"}),
        ("LOCATION", {"Latitude", "Longitude", "Precision"}),
        ("CLICK", {"EventKey"}),
        ("VIEW", {"EventKey"}),
        ("scancode_waitmsg", {"EventKey", "ScanCodeInfo"}),
        ("something_new", set()),
    ],
)
def test_every_event(wechat: SimulatorClient, developer: Receiver, event: str, names: set[str]) -> None:
    wechat.wait_taken(wechat.event(event, official=OFFICIAL, from_=FAN, fields={"Extra": [1, 2]}))
    fields = developer.messages[0].xml
    assert (fields["MsgType"], fields["Event"], fields["FromUserName"]) == ("event", event, FAN)
    assert names <= set(fields)
    assert (fields["Extra"], "MsgId" in fields) == (["1", "2"], False)
    parse_message(developer.messages[0].plain)


def test_the_scene_of_a_qr_code(wechat: SimulatorClient, developer: Receiver) -> None:
    wechat.wait_taken(wechat.follow(OFFICIAL, FAN, scene="shop-7"))
    wechat.wait_taken(wechat.scan(OFFICIAL, FAN, "shop-8"))
    assert [one.xml["EventKey"] for one in developer.messages] == ["qrscene_shop-7", "shop-8"]
    assert parse_message(developer.messages[0].plain).event == "subscribe_scan"


def test_what_a_mini_program_pushes(wechat: SimulatorClient, developer: Receiver) -> None:
    wechat.wait_taken(wechat.enter_session(MINI, USER, "order-page"))
    assert developer.messages[0].json["SessionFrom"] == "order-page"
    page = heard(wechat, developer, mini=MINI, from_=USER, kind="miniprogrampage", miniprogrampage={"Title": "订单"})
    assert (page["Title"], page["ToUserName"]) == ("订单", "gh_mini")
    with pytest.raises(SimulatorError, match="this account hears only text, image, miniprogrampage"):
        wechat.say(mini=MINI, from_=USER, kind="voice", data=AMR)


def test_a_body_of_ones_own(wechat: SimulatorClient, developer: Receiver) -> None:
    wechat.wait_taken(wechat.event(official=OFFICIAL, from_=FAN, raw={"MsgType": "poem", "Deep": {"Er": "x"}}))
    wechat.wait_taken(wechat.event(mini=MINI, from_=USER, raw={"List": [1]}))
    wechat.wait_taken(wechat.event(official=OFFICIAL, from_=FAN, raw="not xml"))
    assert developer.messages[0].xml == {"MsgType": "poem", "Deep": {"Er": "x"}}
    assert json.loads(developer.messages[1].plain) == {"List": [1]}
    assert developer.messages[2].plain == "not xml"


@pytest.mark.parametrize("account", [{"official": OFFICIAL}, {"mini": MINI}])
def test_verification(wechat: SimulatorClient, developer: Receiver, account: dict[str, str]) -> None:
    assert wechat.verify(**account)["ok"] is True
    developer.echo = lambda plain: (200, f"{plain}\n")
    assert wechat.verify(**account)["ok"] is False


def test_three_deliveries_with_the_same_id_each_sealed_anew(wechat: SimulatorClient, developer: Receiver) -> None:
    developer.answer = lambda received: 500
    delivery = wechat.wait_taken(wechat.say("x", official=OFFICIAL, from_=FAN))
    assert (delivery["outcome"], [one["status"] for one in delivery["tries"]]) == ("lost", [500] * 3)
    assert len({received.query["nonce"] for received in developer.received}) == 3
    assert len({received.plain for received in developer.received}) == 1


def test_a_delivery_is_dropped_and_the_next_begins_an_interval_after_it(
    wechat: SimulatorClient, developer: Receiver
) -> None:
    wechat.settings(callback_timeout=0.3, delivery_interval=0.3)
    started: list[float] = []

    def answer(received: Received) -> None:
        started.append(time.monotonic())
        time.sleep(0.6 if len(started) < 3 else 0)

    developer.answer = answer
    delivery = wechat.wait_taken(wechat.say("x", official=OFFICIAL, from_=FAN))
    assert [one["error"] for one in delivery["tries"]] == ["TimeoutError", "TimeoutError", ""]
    gaps = [after - before for before, after in zip(started, started[1:], strict=False)]
    assert min(gaps) > 0.15


def test_a_refused_delivery_is_repeated_no_sooner_than_a_dropped_one(
    wechat: SimulatorClient, developer: Receiver
) -> None:
    wechat.settings(delivery_interval=0.3)
    developer.answer = lambda received: 503
    delivery = wechat.wait_taken(wechat.say("x", official=OFFICIAL, from_=FAN))
    first, second, third = [one["at"] for one in delivery["tries"]]
    assert min(second - first, third - second) > 0.15


def test_a_message_that_is_held_does_not_keep_the_next_one_back(wechat: SimulatorClient, developer: Receiver) -> None:
    wechat.settings(callback_timeout=5, overtake_seconds=0.05)
    order: list[str] = []

    def answer(received: Received) -> None:
        text = received.xml["Content"]
        if text == "first":
            wechat.wait_for(lambda: "second" in order)
        order.append(text)

    developer.answer = answer
    said = wechat.say_many([{"official": OFFICIAL, "from": FAN, "text": text} for text in ("first", "second")])
    for one in said:
        assert len(wechat.wait_taken(one)["tries"]) == 1
    assert order == ["second", "first"]


def test_answered_messages_keep_their_order(wechat: SimulatorClient, developer: Receiver) -> None:
    said = wechat.say_many([{"official": OFFICIAL, "from": FAN, "text": str(n)} for n in range(6)])
    wechat.wait_taken(said[-1])
    assert [one.xml["Content"] for one in developer.messages] == list("012345")


def test_copies_and_persistence(wechat: SimulatorClient, developer: Receiver) -> None:
    developer.answer = lambda received: None if len(developer.received) >= 5 else 503
    said = wechat.say("x", official=OFFICIAL, from_=FAN, persistent=True, copies=2)
    assert len(wechat.wait_taken(said)["tries"]) == 6
    assert {one.xml["MsgId"] for one in developer.messages} == {said["id"]}


@pytest.mark.parametrize(
    ("path", "spec", "why"),
    [
        ("say", {"official": "wxnobody", "from": FAN}, "no such Official Account"),
        ("say", {"mini": OFFICIAL, "from": FAN}, "no such Official Account or Mini Program"),
        ("say", {"official": OFFICIAL, "from": USER}, "openid of a person of this account"),
        ("say", {"official": OFFICIAL, "from": FAN, "kind": "file"}, "hears only text, image, voice"),
        ("officials", {"appid": "wx1", "mode": "clear"}, "mode must be one of plaintext, compatible, safe"),
        ("officials", {"appid": "wx1", "format": "yaml"}, "format must be one of xml, json"),
        ("officials", {"appid": "wx1", "kind": "shop"}, "kind must be one of service, subscription"),
        ("officials", {"appid": MINI}, "account of the other kind"),
        ("minis", {"appid": "wx1", "media_verdict": "bad"}, "a verdict must be one of"),
        ("persons", {"account": "wx1", "name": "x"}, "must be the appid"),
        ("accept", {"app": 1}, "no such app"),
    ],
)
def test_what_cannot_be(wechat: SimulatorClient, path: str, spec: dict[str, Any], why: str) -> None:
    with pytest.raises(SimulatorError, match=why):
        wechat.post(path, **spec)
    assert wechat.chats() == []


def test_an_openid_is_made_up(wechat: SimulatorClient) -> None:
    made = [wechat.person(OFFICIAL, "某人")["openid"] for _ in range(2)]
    assert len(set(made)) == 2
    assert {len(openid) for openid in made} == {28}
    assert wechat.person(OFFICIAL, "改名", made[0])["name"] == "改名"
    with pytest.raises(SimulatorError, match="no such person"):
        wechat.standing("oNobody")


def test_the_directory_holds_no_secrets(wechat: SimulatorClient) -> None:
    directory = wechat.call("GET", "directory")
    assert [one["appid"] for one in directory["officials"]] == [OFFICIAL]
    assert [one["appid"] for one in directory["minis"]] == [MINI]
    assert {one["openid"] for one in directory["persons"]} == {FAN, USER}
    assert not {"secret", "token", "aes_key"} & set(directory["officials"][0])
