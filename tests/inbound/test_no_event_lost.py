"""Two events of one second are two rows, and a repetition is one: for every kind of account, through the real callback route."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest
from wechatpy.crypto import WeChatCrypto

from bridge.models import Message
from tests.support.callbacks import call, from_app, from_bot, signed
from tests.support.factories import CORP, FAN, KEY, MINI, OFFICIAL, TOKEN, app, bot, mini, official

if TYPE_CHECKING:
    from accounts.models import ChannelAccount

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("valkey")]
SECOND = 1_764_207_000


class Pair(NamedTuple):
    """Two bodies in the clear, of two different events."""

    kind: str
    name: str
    first: Any
    second: Any


def push(fields: str, *, sender: str = FAN, to: str = "gh_1", kind: str = "event") -> str:
    who = f"<FromUserName>{sender}</FromUserName>" if sender else ""
    head = f"<ToUserName>{to}</ToUserName>{who}<CreateTime>{SECOND}</CreateTime><MsgType>{kind}</MsgType>"
    return f"<xml>{head}{fields}</xml>"


def fans(name: str, first: str, second: str, **head: str) -> Pair:
    return Pair("official_account", name, push(first, **head), push(second, **head))


def event(name: str, first: str, second: str, **head: str) -> Pair:
    return fans(name, f"<Event>{name}</Event>{first}", f"<Event>{name}</Event>{second}", **head)


def members(name: str, first: str, second: str, sender: str = "sys", kind: str = "event") -> Pair:
    tag = f"<Event>{name}</Event>" if kind == "event" else ""
    one, two = (push(tag + each, sender=sender, to=CORP, kind=kind) for each in (first, second))
    return Pair("wecom_app", name, one, two)


def pushed(name: str, first: dict[str, Any], second: dict[str, Any], **head: Any) -> Pair:
    base = {"ToUserName": "gh_1", "FromUserName": FAN, "CreateTime": SECOND, "MsgType": "event", **head}
    if base["MsgType"] == "event":
        base["Event"] = name
    return Pair("mini_program", name, {**base, **first}, {**base, **second})


def robot(name: str, first: dict[str, Any], second: dict[str, Any]) -> Pair:
    base = {"chattype": "single", "chatid": None, "create_time": SECOND, "text": None}
    return Pair("wecom_aibot", name, {**base, **first}, {**base, **second})


def bot_event(name: str, first: Any, second: Any) -> Pair:
    def body(content: Any) -> dict[str, Any]:
        return {"msgtype": "event", "event": {"eventtype": name, name: content}}

    return robot(name, body(first), body(second))


def receipt(template: str, msgid: str = "1") -> dict[str, str]:
    return {"TemplateId": template, "MsgID": msgid, "ErrorCode": "0", "ErrorStatus": "success"}


def popup(*decisions: str) -> str:
    each = "".join(
        f"<List><TemplateId>T{number}</TemplateId><SubscribeStatusString>{decision}</SubscribeStatusString></List>"
        for number, decision in enumerate(decisions)
    )
    return f"<SubscribeMsgPopupEvent>{each}</SubscribeMsgPopupEvent>"


def scanned(result: str) -> str:
    return f"<EventKey>6</EventKey><ScanCodeInfo><ScanType>qrcode</ScanType><ScanResult>{result}</ScanResult></ScanCodeInfo>"


def picked(option: str) -> str:
    chosen = (
        f"<SelectedItem><QuestionKey>q</QuestionKey><OptionIds><OptionId>{option}</OptionId></OptionIds></SelectedItem>"
    )
    return f"<EventKey>k</EventKey><TaskId>t</TaskId><SelectedItems>{chosen}</SelectedItems>"


PAIRS = [
    # Official Account
    event("user_get_card", "<CardId>c</CardId><UserCardCode>1</UserCardCode>", "<CardId>c</CardId><UserCardCode>2</UserCardCode>"),
    event("user_del_card", "<UserCardCode>1</UserCardCode>", "<UserCardCode>2</UserCardCode>"),
    event("user_consume_card", "<UserCardCode>1</UserCardCode>", "<UserCardCode>2</UserCardCode>"),
    event("card_pass_check", "<CardId>a</CardId>", "<CardId>b</CardId>"),
    event("subscribe_msg_popup_event", popup("accept", "accept"), popup("accept", "reject")),
    event("subscribe_msg_popup_event", popup("accept"), popup("accept", "accept")),
    event("scancode_push", scanned("1"), scanned("2")),
    event("scancode_waitmsg", scanned("1"), scanned("2")),
    event("CLICK", "<EventKey>a</EventKey>", "<EventKey>b</EventKey>"),
    event("VIEW", "<EventKey>u</EventKey><MenuId>1</MenuId>", "<EventKey>u</EventKey><MenuId>2</MenuId>"),
    event("view_miniprogram", "<EventKey>p</EventKey><MenuId>1</MenuId>", "<EventKey>p</EventKey><MenuId>2</MenuId>"),
    event("SCAN", "<EventKey>1</EventKey><Ticket>a</Ticket>", "<EventKey>1</EventKey><Ticket>b</Ticket>"),
    event("LOCATION", "<Latitude>1.001</Latitude>", "<Latitude>1.002</Latitude>"),
    event("pic_sysphoto", "<EventKey>6</EventKey><SendPicsInfo><Count>1</Count></SendPicsInfo>", "<EventKey>6</EventKey>"),
    event("location_select", "<EventKey>6</EventKey><SendLocationInfo><Label>a</Label></SendLocationInfo>", "<EventKey>6</EventKey>"),
    event("TEMPLATESENDJOBFINISH", "<MsgID>1</MsgID><Status>success</Status>", "<MsgID>1</MsgID><Status>failed:user block</Status>"),
    event("MASSSENDJOBFINISH", "<MsgId>1</MsgId><Status>a</Status>", "<MsgId>1</MsgId><Status>b</Status>"),
    event("PUBLISHJOBFINISH", "<PublishEventInfo><publish_id>1</publish_id></PublishEventInfo>",
          "<PublishEventInfo><publish_id>2</publish_id></PublishEventInfo>"),
    event("kf_close_session", "<KfAccount>a</KfAccount><CloseType>1</CloseType>", "<KfAccount>a</KfAccount><CloseType>2</CloseType>"),
    event("kf_switch_session", "<FromKfAccount>a</FromKfAccount><ToKfAccount>c</ToKfAccount>",
          "<FromKfAccount>b</FromKfAccount><ToKfAccount>c</ToKfAccount>"),
    event("user_info_modified", "<OpenID>o1</OpenID>", "<OpenID>o2</OpenID>"),
    event("user_authorization_revoke", "<OpenID>o1</OpenID><RevokeInfo>1</RevokeInfo>", "<OpenID>o1</OpenID><RevokeInfo>2</RevokeInfo>"),
    event("qualification_verify_fail", "<FailReason>a</FailReason>", "<FailReason>b</FailReason>"),
    event("merchant_order", "<OrderId>1</OrderId>", "<OrderId>2</OrderId>", sender=""),
    event("ShakearoundUserShake", "<Beacon><Minor>1</Minor></Beacon>", "<Beacon><Minor>2</Minor></Beacon>"),
    event("brand_new_event", "<Deep><A>1</A></Deep>", "<Deep><A>2</A></Deep>"),
    fans("text without an id", "<Content>a</Content>", "<Content>b</Content>", kind="text"),
    fans("text with the id 0", "<Content>a</Content><MsgId>0</MsgId>", "<Content>b</Content><MsgId>0</MsgId>", kind="text"),
    fans("place without an id", "<Location_X>1</Location_X>", "<Location_X>2</Location_X>", kind="location"),
    fans("image without an id", "<MediaId>1</MediaId>", "<MediaId>2</MediaId>", kind="image"),
    fans("unknown type", "<Hologram>1</Hologram>", "<Hologram>2</Hologram>", kind="hologram"),
    Pair("official_account", "bytes that are no UTF-8", b"<xml><A>\xfe</A></xml>", b"<xml><A>\xff</A></xml>"),
    Pair("official_account", "no XML", "hello", "hullo"),
    # Mini Program
    pushed("subscribe_msg_sent_event", {"List": receipt("TPL_A")}, {"List": receipt("TPL_B")}),
    pushed("subscribe_msg_sent_event", {"List": [receipt("A")]}, {"List": [receipt("A"), receipt("B")]}),
    pushed("subscribe_msg_sent_event", {"SubscribeMsgSentEvent": {"List": receipt("A", "1")}},
           {"SubscribeMsgSentEvent": {"List": receipt("A", "2")}}),
    pushed("subscribe_msg_change_event", {"List": {"TemplateId": "A", "SubscribeStatusString": "reject"}},
           {"List": {"TemplateId": "A", "SubscribeStatusString": "accept"}}),
    pushed("user_enter_tempsession", {"SessionFrom": "a"}, {"SessionFrom": "b"}),
    pushed("wxa_media_check", {"trace_id": "t", "result": {"suggest": "pass"}}, {"trace_id": "t", "result": {"suggest": "risky"}}),
    pushed("debug_demo", {"debug_str": "a"}, {"debug_str": "b"}),
    pushed("text", {"Content": "a"}, {"Content": "b"}, MsgType="text"),
    pushed("miniprogrampage", {"PagePath": "a"}, {"PagePath": "b"}, MsgType="miniprogrampage"),
    Pair("mini_program", "an array", [1], [2]),
    # WeCom app
    members("change_contact", "<ChangeType>create_user</ChangeType><UserID>a</UserID>",
            "<ChangeType>create_user</ChangeType><UserID>b</UserID>"),
    members("change_contact", "<ChangeType>update_tag</ChangeType><TagId>1</TagId><AddUserItems>a</AddUserItems>",
            "<ChangeType>update_tag</ChangeType><TagId>1</TagId><AddUserItems>b</AddUserItems>"),
    members("change_external_contact", "<ExternalUserID>a</ExternalUserID>", "<ExternalUserID>b</ExternalUserID>"),
    members("change_external_chat", "<ChatId>c</ChatId><MemChangeList>a</MemChangeList>",
            "<ChatId>c</ChatId><MemChangeList>b</MemChangeList>"),
    members("batch_job_result", "<BatchJob><JobId>1</JobId></BatchJob>", "<BatchJob><JobId>2</JobId></BatchJob>"),
    members("kf_msg_or_event", "<Token>a</Token><OpenKfId>k</OpenKfId>", "<Token>b</Token><OpenKfId>k</OpenKfId>", sender=""),
    members("open_approval_change", "<ApprovalInfo><ThirdNo>1</ThirdNo></ApprovalInfo>",
            "<ApprovalInfo><ThirdNo>2</ThirdNo></ApprovalInfo>"),
    members("template_card_event", picked("a"), picked("b"), sender="zhangsan"),
    members("scancode_waitmsg", scanned("1"), scanned("2"), sender="zhangsan"),
    members("LOCATION", "<Latitude>1</Latitude>", "<Latitude>2</Latitude>", sender="zhangsan"),
    members("text", "<Content>a</Content>", "<Content>b</Content>", sender="zhangsan", kind="text"),
    members("text", "<Content>a</Content><MsgId>0</MsgId>", "<Content>b</Content><MsgId>0</MsgId>", sender="zhangsan", kind="text"),
    # AI bot
    bot_event("feedback_event", {"id": "f", "type": 1}, {"id": "f", "type": 3}),
    bot_event("feedback_event", {"id": "f", "type": 2, "content": "a"}, {"id": "f", "type": 2, "content": "b"}),
    bot_event("template_card_event", {"task_id": "t", "event_key": "a"}, {"task_id": "t", "event_key": "b"}),
    bot_event("bot_renamed", {"name": "a"}, {"name": "b"}),
    robot("text without an id", {"msgid": None, "msgtype": "text", "text": {"content": "a"}},
          {"msgid": None, "msgtype": "text", "text": {"content": "b"}}),
    robot("location without an id", {"msgid": "", "msgtype": "location", "location": {"latitude": 1, "longitude": 1}},
          {"msgid": "", "msgtype": "location", "location": {"latitude": 2, "longitude": 1}}),
    robot("nobody", {"msgid": None, "from": None, "msgtype": "text", "text": {"content": "a"}},
          {"msgid": None, "from": None, "msgtype": "text", "text": {"content": "b"}}),
]  # fmt: skip


def weixin(app_id: str, plain: bytes) -> tuple[bytes, dict[str, str]]:
    made = WeChatCrypto(TOKEN, KEY, app_id).encrypt_message(plain, "nonce", "1")
    ciphertext = made.partition("<Encrypt><![CDATA[")[2].partition("]]>")[0]
    return f"<xml><ToUserName>gh_1</ToUserName><Encrypt>{ciphertext}</Encrypt></xml>".encode(), signed(ciphertext)


def callback(kind: str, plain: Any) -> tuple[bytes, dict[str, str]]:
    """Body and query, sealed anew each time, as the platform does for a repetition."""
    if kind == "wecom_aibot":
        return from_bot(**plain)
    text = plain if isinstance(plain, bytes | str) else json.dumps(plain)
    if kind == "wecom_app":
        return from_app(xml=str(text))
    return weixin(OFFICIAL if kind == "official_account" else MINI, text if isinstance(text, bytes) else text.encode())


ACCOUNTS = {"official_account": official, "mini_program": mini, "wecom_app": app, "wecom_aibot": bot}


@pytest.mark.parametrize("pair", PAIRS, ids=lambda pair: f"{pair.kind} {pair.name}")
def test_two_events_of_one_second_are_two_rows_and_repetitions_none(pair: Pair) -> None:
    account: ChannelAccount = ACCOUNTS[pair.kind]()
    for plain in (pair.first, pair.second, pair.first, pair.second):
        assert call(account, *callback(pair.kind, plain)).status == 200
    assert Message.objects.filter(direction="in").count() == 2


def test_the_list_of_templates_is_read_wherever_it_stands() -> None:
    account = mini()
    one, two = receipt("TPL_A"), receipt("TPL_B", "2")
    for number, place in enumerate(
        (
            {"List": one},
            {"List": [one, two]},
            {"SubscribeMsgSentEvent": {"List": one}},
            {"subscribe_msg_sent_event": {"List": [one, two]}},
        )
    ):
        head = {
            "FromUserName": FAN,
            "CreateTime": SECOND + number,
            "MsgType": "event",
            "Event": "subscribe_msg_sent_event",
        }
        call(account, *callback("mini_program", {**head, **place}))
    texts = list(Message.objects.order_by("id").values_list("text", flat=True))
    alone, both = "subscribe_msg_sent_event TPL_A success", "subscribe_msg_sent_event TPL_A success TPL_B success"
    assert texts == [alone, both, alone, both]
