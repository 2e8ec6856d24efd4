"""One message in several spellings: formatted on its way, or as the platform writes it in its own samples."""

from __future__ import annotations

import pytest

from bridge.models import Message, State
from tests.inbound.inputs import of_fan, of_member, receive
from tests.inbound.test_no_event_lost import callback, push, weixin
from tests.support.callbacks import call, from_app, signed
from tests.support.factories import AGENT, CORP, FAN, KEY, OFFICIAL, app, bot, mini, official

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("valkey")]


# --- formatted on the way


def formatted(plain: str) -> str:
    """As a tool indents it: each element on a line of its own, each value too."""
    import xml.dom.minidom

    return xml.dom.minidom.parseString(plain).toprettyxml(indent="  ")  # noqa: S318  our own


@pytest.mark.parametrize(
    ("kind", "plain", "text"),
    [
        ("official_account", of_fan("<Content><![CDATA[你好]]></Content>"), "你好"),
        ("official_account", push("<Event><![CDATA[CLICK]]></Event><EventKey><![CDATA[K]]></EventKey>"), "Menu entry: K"),
        ("wecom_app", of_member("<Content><![CDATA[你好]]></Content>"), "你好"),
    ],
)  # fmt: skip
def test_what_a_proxy_formatted_is_read_as_it_was(kind: str, plain: str, text: str) -> None:
    broken = (
        plain.replace("><", ">\n   <")
        .replace(">7<", ">\n 7\n<")
        .replace("<![CDATA[", "\n  <![CDATA[")
        .replace("]]>", "]]>\n")
    )
    delivery = receive(kind, formatted(broken))
    message = Message.objects.get(direction="in")
    assert (message.text, message.sender, message.peer_id) == (
        text,
        *[FAN if kind == "official_account" else "zhangsan"] * 2,
    )
    assert (delivery.state, message.idempotency_key in ("7",) or len(message.idempotency_key) == 64) == (
        State.PENDING,
        True,
    )


def test_the_envelope_may_be_formatted_too() -> None:
    account = official()
    body, query = weixin(OFFICIAL, of_fan("<Content>a</Content>").encode())
    ciphertext = body.partition(b"<Encrypt>")[2].partition(b"</Encrypt>")[0]
    wrapped = b"\n".join(ciphertext[at : at + 76] for at in range(0, len(ciphertext), 76))
    around = (
        b"\xef\xbb\xbf\n<?xml version='1.0'?>\n<xml>\n  <Encrypt>\n    <![CDATA["
        + wrapped
        + b"]]>\n  </Encrypt>\n</xml>\n"
    )
    assert call(account, around, query).status == 200
    app_body, app_query = from_app("hello")
    assert (
        call(
            app(), app_body.replace(b"<Encrypt>", b"<Encrypt>\n\t").replace(b"</Encrypt>", b"\n</Encrypt>"), app_query
        ).status
        == 200
    )
    assert Message.objects.count() == 2


@pytest.mark.parametrize("before", [b"\xef\xbb\xbf", b"\n\n ", b"\xef\xbb\xbf \n", b" \xef\xbb\xbf"])
def test_json_may_follow_a_byte_order_mark_or_blanks(before: bytes) -> None:
    import base64
    import json

    from wechatpy.crypto import PrpCrypto

    plain = before + json.dumps({"msgid": "1", "aibotid": "AIBOT", "chattype": "single", "from": {"userid": "z"}, "msgtype": "text",
                                 "text": {"content": "hi"}}).encode()  # fmt: skip
    ciphertext = PrpCrypto(base64.b64decode(KEY + "=")).encrypt(plain, "").decode()
    body = before + json.dumps({"encrypt": ciphertext}).encode()
    assert call(bot(), body, signed(ciphertext)).status == 200
    node = {"ToUserName": "gh_1", "FromUserName": FAN, "CreateTime": 1, "MsgType": "text", "Content": "hi", "MsgId": 9}
    assert call(mini(), *callback("mini_program", before + json.dumps(node).encode())).status == 200
    assert list(Message.objects.values_list("text", flat=True)) == ["hi", "hi"]


# --- spellings of the platform's own samples


@pytest.mark.parametrize("spelling", ["<OptionIds><OptionId>a</OptionId></OptionIds>", "<OpitonIds><OpitonId>a</OpitonId></OpitonIds>",
                                      "<OpitonIds><OptionId>a</OptionId></OpitonIds>"])  # fmt: skip
def test_a_cards_answer_is_read_in_both_spellings(spelling: str) -> None:
    fields = (
        f"<Event>template_card_event</Event><EventKey>k</EventKey><TaskId>t</TaskId><AgentID>{AGENT}</AgentID>"
        f"<SelectedItems><SelectedItem><QuestionKey>Q1</QuestionKey>{spelling}</SelectedItem></SelectedItems>"
    )
    delivery = receive("wecom_app", push(fields, sender="zhangsan", to=CORP))
    assert delivery.payload["message"] == "Card t: k\nQ1: a"
