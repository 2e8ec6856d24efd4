"""The rules of customer service that the simulator plays, asked for without any code of the channels."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from channels_wechat.simulator import SimulatorClient
    from tests.simulator.platform import Platform
    from tests.simulator.receiver import Receiver

KF, CUSTOMER = "wkService", "wmCustomer"
TEXT = {"msgtype": "text", "text": {"content": "您好"}}
TO = {"touser": CUSTOMER, "open_kfid": KF}


@pytest.fixture(autouse=True)
def _service(client: SimulatorClient) -> None:
    client.kf_account(KF, 1, name="售后", servicers=["lisi"])
    client.kf_customer(CUSTOMER, "小红")


def ask(platform: Platform, path: str, **body: Any) -> Any:
    return platform.call(f"kf/{path}", body)


def sync(platform: Platform, **body: Any) -> Any:
    return ask(platform, "sync_msg", open_kfid=KF, **body)


def test_a_notice_comes_for_each_message_with_a_token_that_lasts_ten_minutes(
    client: SimulatorClient, platform: Platform, receiver: Receiver
) -> None:
    client.say("你好", kf=KF, from_=CUSTOMER)
    client.wait_for(lambda: receiver.messages)
    notice = receiver.messages[0].xml
    assert (notice["Event"], notice["OpenKfId"], "FromUserName" in notice) == ("kf_msg_or_event", KF, False)
    assert sync(platform, token=notice["Token"])["msg_list"][0]["text"] == {"content": "你好"}
    client.advance(601)
    assert sync(platform, token=notice["Token"])["errcode"] == 95007
    assert sync(platform)["errcode"] == 0


def test_pages_follow_each_other_by_their_cursor_and_three_days_are_kept(
    client: SimulatorClient, platform: Platform
) -> None:
    for text in "123":
        client.say(text, kf=KF, from_=CUSTOMER)
    first = sync(platform, limit=2)
    assert ([one["text"]["content"] for one in first["msg_list"]], first["has_more"]) == (["1", "2"], 1)
    second = sync(platform, cursor=first["next_cursor"])
    assert ([one["text"]["content"] for one in second["msg_list"]], second["has_more"]) == (["3"], 0)
    assert sync(platform, cursor=second["next_cursor"])["msg_list"] == []
    assert sync(platform, cursor="nonsense")["errcode"] == 40058
    client.advance(3 * 86400 + 1)
    assert sync(platform)["msg_list"] == []


def test_five_messages_within_48_hours_and_a_known_id_is_not_sent_again(
    client: SimulatorClient, platform: Platform
) -> None:
    assert ask(platform, "send_msg", **TO, **TEXT)["errcode"] == 95018
    client.say("你好", kf=KF, from_=CUSTOMER)
    for _ in range(2):
        assert ask(platform, "send_msg", **TO, **TEXT, msgid="a")["msgid"] == "a"
    for _ in range(4):
        assert ask(platform, "send_msg", **TO, **TEXT)["errcode"] == 0
    assert ask(platform, "send_msg", **TO, **TEXT)["errcode"] == 95001
    assert len([one for one in client.transcript(f"kf:{KF}:{CUSTOMER}") if one["via"] == "kf/send_msg"]) == 5
    client.say("还有", kf=KF, from_=CUSTOMER)
    client.advance(48 * 3600)
    assert ask(platform, "send_msg", **TO, **TEXT)["errcode"] == 95001


@pytest.mark.parametrize(
    ("body", "errcode"),
    [
        ({"msgid": "x" * 33}, 40058),
        ({"msgtype": "fax", "fax": {}}, 40008),
        ({"text": {"content": ""}}, 44004),
        ({"text": {"content": "好" * 683}}, 45002),
        ({"open_kfid": "wkOther"}, 95000),
        ({"touser": "wmNobody"}, 40096),
    ],
)
def test_what_breaks_a_rule_is_refused(
    client: SimulatorClient, platform: Platform, body: dict[str, Any], errcode: int
) -> None:
    client.say("你好", kf=KF, from_=CUSTOMER)
    assert ask(platform, "send_msg", **{**TO, **TEXT, **body})["errcode"] == errcode
    assert client.kf_session(KF, CUSTOMER)["left"] == 5


def test_a_welcome_code_is_given_once_in_48_hours_and_is_good_for_20_seconds_and_one_message(
    client: SimulatorClient, platform: Platform
) -> None:
    client.open_chat(KF, CUSTOMER)
    (event,) = (one["event"] for one in sync(platform)["msg_list"])
    assert ask(platform, "send_msg_on_event", code=event["welcome_code"], **TEXT)["errcode"] == 0
    assert ask(platform, "send_msg_on_event", code=event["welcome_code"], **TEXT)["errcode"] != 0
    client.open_chat(KF, CUSTOMER)
    assert "welcome_code" not in sync(platform)["msg_list"][1]["event"]
    client.advance(48 * 3600 + 1)
    client.open_chat(KF, CUSTOMER)
    late = sync(platform)["msg_list"][2]["event"]["welcome_code"]
    client.advance(21)
    assert ask(platform, "send_msg_on_event", code=late, **TEXT)["errcode"] != 0


@pytest.mark.parametrize(
    ("wanted", "errcodes"),
    [((1, 2, 3, 4), (0, 0, 0, 0)), ((3, 1), (0, 95016)), ((4, 3), (0, 95016)), ((2, 1), (0, 95016)), ((3, 3), (0, 0))],
)
def test_a_conversation_changes_only_as_the_platform_allows(
    client: SimulatorClient, platform: Platform, wanted: tuple[int, ...], errcodes: tuple[int, ...]
) -> None:
    client.say("你好", kf=KF, from_=CUSTOMER)
    whom = {"open_kfid": KF, "external_userid": CUSTOMER, "servicer_userid": "lisi"}
    stranger = {**whom, "servicer_userid": "zhangsan"}
    assert ask(platform, "service_state/trans", **stranger, service_state=3)["errcode"] == 95014
    found = tuple(ask(platform, "service_state/trans", **whom, service_state=state)["errcode"] for state in wanted)
    assert found == errcodes
