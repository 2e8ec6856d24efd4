"""Callbacks of a self-built app: every fixture in, one message out; what is not authentic or not ours is refused."""

from __future__ import annotations

import hashlib
import json
import re
import time

import pytest
from wechatpy.work.crypto import WeChatCrypto

from channels_wechat.contract.errors import CallbackRefused
from channels_wechat.contract.messages import Identity, MediaItem, Peer
from channels_wechat.wecom.app.channel import WeComApp
from channels_wechat.wire.callback_crypto import Cipher
from channels_wechat.wire.http import Http
from tests.channels.harness import fixture, fixtures

CORP, AGENT, TOKEN = "ww5823bf96d3bd56c7", 1000002, "QDG6eK"
KEY = "jWmYm7qr5nMoAUwZRjGtBxmz3KA1tkAj3ykkR6q2B2C"
CREDENTIALS = {"corp_id": CORP, "agent_id": AGENT, "secret": "geheim", "token": TOKEN, "encoding_aes_key": KEY}


@pytest.fixture(scope="module")
def app() -> WeComApp:
    return WeComApp(Identity("key", f"{CORP}/{AGENT}", CREDENTIALS), Http())


def envelope(encrypted: str) -> bytes:
    return f"<xml><ToUserName><![CDATA[{CORP}]]></ToUserName><AgentID>1</AgentID><Encrypt><![CDATA[{encrypted}]]></Encrypt></xml>".encode()


def sealed(
    plain: bytes, *, corp: str = CORP, token: str = TOKEN, at: float | None = None
) -> tuple[dict[str, str], bytes]:
    """The query and body of a callback."""
    cipher = Cipher(token, KEY, corp)
    encrypted, timestamp = cipher.seal(plain), str(int(at or time.time()))
    signature = cipher.signature(timestamp, "nonce", encrypted)
    return {"msg_signature": signature, "timestamp": timestamp, "nonce": "nonce"}, envelope(encrypted)


def read(app: WeComApp, plain: bytes):
    (inbound,) = app.parse(*sealed(plain)).inbound
    return inbound


TEXTS = {
    "text__plain": ("text", "this is a test"),
    "text__emoji": ("text", "你好 👋 <b>&amp;</b> ]]>"),
    "text__illegal_characters": ("text", "a\ufffdb\ufffdc"),
    "image__one": ("image", ""),
    "voice__amr": ("voice", ""),
    "video__one": ("video", ""),
    "location__labelled": ("location", "Location: 位置信息 (23.134521, 113.358803)"),
    "location__bare": ("location", "Location: 23.134521, 113.358803"),
    "link__full": ("link", "this is a title\nthis is a description\nhttps://example.com/a?b=1&c=2"),
    "hologram__unknown": (
        "unsupported",
        "[a message of the type hologram, of which only this can be read]\nHologramId: h1",
    ),
    "click__menu": ("action", "Menu entry: EVENTKEY"),
    "scancode_waitmsg__qrcode": ("action", "Scanned: 2"),
    "scancode_push__qrcode": ("action", "Scanned: 2"),
    "template_card_event__button": ("action", "Card taskid111: key111"),
    "template_card_event__vote": ("action", "Card taskid111: key111\nQuestionKey1: OptionId1, OptionId2"),
    "template_card_event__multiple": (
        "action",
        "Card taskid111: key111\nQuestionKey1: OptionId1\nQuestionKey2: OptionId2",
    ),
    "template_card_menu_event__menu": ("action", "Card taskid111: key111"),
    "change_external_chat__update_members": ("event", "change_external_chat update add_member: Jack, Rose"),
    "change_external_chat__update_members_flat": ("event", "change_external_chat update add_member: Jack, Rose"),
    "change_external_chat__update_one_member": ("event", "change_external_chat update del_member: Jack"),
    "change_external_chat__update_name": ("event", "change_external_chat update change_name"),
    "change_contact__create_user": ("event", "change_contact create_user"),
    "enter_agent__opened": ("event", "enter_agent"),
    "view__address": ("event", "view"),
    "kf_msg_or_event__knock": ("event", "kf_msg_or_event"),
    "brand_new_event__unknown": ("event", "brand_new_event"),
}


@pytest.mark.parametrize("name", sorted(TEXTS))
def test_a_callback_becomes_a_message(app: WeComApp, name):
    inbound = read(app, fixture("wecom_app", name))
    assert (inbound.kind, inbound.text) == TEXTS[name]


@pytest.mark.parametrize(
    ("outer", "inner"), [("OptionIds", "OptionId"), ("OpitonIds", "OpitonId"), ("OpitonIds", "OptionId")]
)
def test_what_was_chosen_on_a_card_is_read_in_every_spelling_of_the_platform(app: WeComApp, outer: str, inner: str):
    plain = fixture("wecom_app", "template_card_event__vote").decode()
    tags = {"OptionIds": outer, "OptionId": inner}
    spelt = re.sub(r"(</?)(OptionIds?)>", lambda tag: f"{tag[1]}{tags[tag[2]]}>", plain)
    assert read(app, spelt.encode()).text == "Card taskid111: key111\nQuestionKey1: OptionId1, OptionId2"


@pytest.mark.parametrize("name", fixtures("wecom_app"))
def test_every_callback_of_the_platform_is_taken(app: WeComApp, name):
    plain = fixture("wecom_app", name)
    inbound = read(app, plain)
    event, is_message = name.partition("__")[0], "MsgId" in inbound.raw
    assert inbound.raw["MsgType" if is_message else "Event"] == event
    assert inbound.key == (inbound.raw["MsgId"] if is_message else hashlib.sha256(plain).hexdigest())
    assert inbound.occurred_at == int(inbound.raw["CreateTime"])
    assert (inbound.peer.kind, inbound.peer.id) == ("direct", inbound.sender or "sys")
    assert inbound.sender == inbound.raw.get("FromUserName", "")
    assert inbound.addressed
    assert json.loads(json.dumps(inbound.raw)) == inbound.raw
    if not is_message:
        acts = ("click", "scancode_waitmsg", "scancode_push", "template_card_event", "template_card_menu_event")
        assert inbound.kind == ("action" if event in acts else "event")


@pytest.mark.parametrize(
    ("name", "secret", "reply"),
    [
        ("template_card_event__button", "ResponseCode", "ResponseCode"),
        ("template_card_menu_event__menu", "ResponseCode", "ResponseCode"),
        ("change_external_contact__add_external_contact", "WELCOMECODE", ""),
        ("kf_msg_or_event__knock", "ENCApHxnGDNAVNY4AaSJKj4Tb5mwsEMzxhFmHVGcra996NR", ""),
        ("text__plain", "this is no secret", ""),
    ],
)
def test_what_is_good_for_one_use_is_not_kept_in_the_open(app: WeComApp, name, secret, reply):
    inbound = read(app, fixture("wecom_app", name))
    assert secret not in json.dumps(inbound.raw)
    assert (inbound.peer.reply, inbound.reply_seconds) == (reply, 72 * 3600 if reply else 0)
    assert secret not in repr(inbound)


@pytest.mark.parametrize(
    ("name", "media"),
    [
        (
            "image__one",
            MediaItem(
                "image", "1G6nrLmr5EC3MMb_-zK1dDdzmd0p7cNliYu9V5w7o8K0", fallback="https://wework.qpic.cn/wwpic/1/0"
            ),
        ),
        ("voice__amr", MediaItem("voice", "media_id", mime="audio/amr")),
        ("video__one", MediaItem("video", "media_id")),
    ],
)
def test_a_file_is_named_by_its_media_id(app: WeComApp, name, media):
    assert read(app, fixture("wecom_app", name)).media == (media,)


def message(kind: str, fields: str) -> bytes:
    return f"<xml><MsgType>{kind}</MsgType><FromUserName>z</FromUserName>{fields}</xml>".encode()


@pytest.mark.parametrize(
    ("kind", "fields", "media"),
    [
        ("image", "<PicUrl>http://a.cn/p</PicUrl>", (MediaItem("image", "http://a.cn/p"),)),
        ("image", "<MediaId>m</MediaId>", (MediaItem("image", "m"),)),
        ("image", "", ()),
        ("voice", "<MediaId>m</MediaId>", (MediaItem("voice", "m", mime="audio/amr"),)),
        ("voice", "<MediaId>m</MediaId><Format>SPEEX</Format>", (MediaItem("voice", "m", mime="audio/speex"),)),
        ("voice", "<PicUrl>http://a.cn/p</PicUrl>", ()),
        ("video", "<MediaId>m</MediaId><PicUrl>http://a.cn/p</PicUrl>", (MediaItem("video", "m"),)),
        ("video", "<ThumbMediaId>m</ThumbMediaId>", ()),
    ],
)
def test_only_a_picture_can_be_fetched_by_its_address(app: WeComApp, kind, fields, media):
    assert read(app, message(kind, fields)).media == media


def test_of_an_unknown_type_no_ids_are_shown(app: WeComApp):
    fields = (
        "<MsgId>1</MsgId><AgentID>1000002</AgentID><MediaId>m</MediaId><ThumbMediaId>t</ThumbMediaId><Token>k</Token>"
    )
    inbound = read(app, message("hologram", fields + "<ResponseCode>r</ResponseCode><WelcomeCode>w</WelcomeCode>"))
    assert (inbound.text, inbound.is_unread) == ("[a message of the type hologram, which cannot be read here]", True)
    assert not read(app, b"<xml/>").is_unread


@pytest.mark.parametrize(
    ("told", "seconds"),
    [("1348831860", 1348831860), ("99999999999", 99999999999), ("9" * 12, 0), ("-1", 0), ("\u0661", 0)],
)
def test_a_time_is_a_number_of_seconds(app: WeComApp, told, seconds):
    assert read(app, message("text", f"<CreateTime>{told}</CreateTime>")).occurred_at == seconds


@pytest.mark.parametrize(
    ("name", "contacts"),
    [
        ("change_contact__create_user", {"zhangsan": "张三"}),
        ("change_contact__update_user", {"zhangsan001": "张三"}),
        ("change_contact__delete_user", {}),
        ("change_external_contact__add_external_contact", {}),
        ("change_contact__create_party", {}),
        ("text__plain", {}),
    ],
)
def test_a_change_of_the_address_book_tells_names(app: WeComApp, name, contacts):
    assert read(app, fixture("wecom_app", name)).contacts == contacts


@pytest.mark.parametrize(
    ("change", "contacts"),
    [
        ("create_user", {"wangwu": "王五"}),
        ("update_user", {"wangwu": "王五"}),
        ("delete_user", {}),
        ("create_party", {}),
    ],
)
def test_a_name_belongs_to_the_id_in_its_stored_form(app: WeComApp, change, contacts):
    fields = f"<Event>CHANGE_CONTACT</Event><ChangeType>{change}</ChangeType><UserID>WangWu</UserID><Name>王五</Name>"
    assert read(app, message("event", fields)).contacts == contacts


def test_the_raw_message_keeps_what_is_nested(app: WeComApp):
    raw = read(app, fixture("wecom_app", "brand_new_event__unknown")).raw
    assert raw["Deep"] == {"Item": [{"A": "1"}, {"A": "2"}]}
    raw = read(app, fixture("wecom_app", "change_contact__create_user")).raw
    assert raw["ExtAttr"] == {"Item": {"Name": "爱好", "Type": "0", "Text": {"Value": "旅游"}}}


def test_repetitions_have_one_key_and_two_events_in_a_second_have_two(app: WeComApp):
    plain = fixture("wecom_app", "click__menu")
    assert read(app, plain).key == read(app, plain).key
    assert read(app, plain).key != read(app, plain.replace(b"EVENTKEY", b"OTHER")).key


@pytest.mark.parametrize(
    "body",
    [
        "<xml/>",
        "<xml><MsgType>text</MsgType></xml>",
        "<xml><MsgType><A>text</A></MsgType><CreateTime>now</CreateTime></xml>",
    ],
)
def test_what_lacks_everything_is_still_a_message(app: WeComApp, body):
    inbound = read(app, body.encode())
    assert (inbound.peer, inbound.occurred_at, len(inbound.key)) == (Peer("direct", "sys"), 0, 64)


@pytest.mark.parametrize("part", ["SelectedItems", "ScanCodeInfo", "MemChangeList"])
@pytest.mark.parametrize("value", ["", "text", "<A/>", "<SelectedItem>x</SelectedItem>", "<Item><B>1</B></Item>"])
@pytest.mark.parametrize("event", ["template_card_event", "scancode_push", "change_external_chat"])
def test_no_odd_shape_breaks_it(app: WeComApp, event, part, value):
    body = f"<xml><MsgType>event</MsgType><Event>{event}</Event><{part}>{value}</{part}></xml>"
    assert read(app, body.encode()).text or event != "change_external_chat"


def test_another_apps_callback_is_refused(app: WeComApp):
    plain = fixture("wecom_app", "text__plain").replace(b"1000002", b"1000003")
    with pytest.raises(CallbackRefused) as caught:
        app.parse(*sealed(plain))
    assert (caught.value.status, caught.value.code) == (403, "agent")


def changed(query: dict[str, str], body: bytes, **changes: str) -> tuple[dict[str, str], bytes]:
    return {**query, **changes}, body


def resealed(ciphertext: str) -> tuple[dict[str, str], bytes]:
    """A correct signature over something that is no message."""
    timestamp = str(int(time.time()))
    signature = Cipher(TOKEN, KEY, CORP).signature(timestamp, "nonce", ciphertext)
    return {"msg_signature": signature, "timestamp": timestamp, "nonce": "nonce"}, envelope(ciphertext)


HELLO = b"<xml><MsgType>text</MsgType></xml>"
REFUSED = {
    "signature": (403, "signature", lambda: changed(*sealed(HELLO), msg_signature="0" * 40)),
    "no query": (403, "signature", lambda: ({}, sealed(HELLO)[1])),
    "another token": (403, "signature", lambda: sealed(HELLO, token="other")),
    "another body": (403, "signature", lambda: (sealed(HELLO)[0], sealed(HELLO)[1])),
    "receiveid": (403, "receiveid", lambda: sealed(HELLO, corp="ww0000000000000000")),
    "empty receiveid": (403, "receiveid", lambda: sealed(HELLO, corp="")),
    "old": (403, "stale", lambda: sealed(HELLO, at=time.time() - 700)),
    "from the future": (403, "stale", lambda: sealed(HELLO, at=time.time() + 700)),
    "padding": (400, "padding", lambda: resealed("AAAA" * 16)),
    "block": (400, "padding", lambda: resealed("AAAA")),
    "base64": (400, "base64", lambda: resealed("=A=")),
    "not XML": (400, "xml", lambda: ({}, b"hello")),
    "DTD": (400, "dtd", lambda: ({}, b"<!DOCTYPE x><xml/>")),
    "size": (413, "too_large", lambda: ({}, b"<xml>" + b" " * 1024 * 1024 + b"</xml>")),
    "no Encrypt": (403, "signature", lambda: ({}, b"<xml/>")),
    "nested Encrypt": (403, "signature", lambda: ({}, b"<xml><Encrypt><A/></Encrypt></xml>")),
}


@pytest.mark.parametrize("plain", [b"hello", b'<!DOCTYPE x [<!ENTITY a "b">]><xml>&a;</xml>', b""])
def test_what_is_authentic_and_cannot_be_read_is_kept(app: WeComApp, plain):
    inbound = read(app, plain)
    assert (inbound.kind, inbound.peer, inbound.sender) == ("unsupported", Peer("direct", "sys"), "")
    assert (inbound.raw, inbound.key) == ({"unreadable": plain.decode()}, hashlib.sha256(plain).hexdigest())


@pytest.mark.parametrize("case", sorted(REFUSED))
def test_what_is_not_authentic_is_refused(app: WeComApp, case):
    status, code, callback = REFUSED[case]
    with pytest.raises(CallbackRefused) as caught:
        app.parse(*callback())
    assert (caught.value.status, caught.value.code) == (status, code)


def test_the_address_is_verified_with_the_plaintext_only(app: WeComApp):
    query, body = sealed(b"1616140317555161061")
    query["echostr"] = body.split(b"CDATA[")[2].split(b"]")[0].decode()
    answer = app.challenge(query)
    assert (answer.body, answer.content_type) == (b"1616140317555161061", "text/plain; charset=utf-8")


@pytest.mark.parametrize("query", [{}, {"echostr": "AAAA", "msg_signature": "x"}])
def test_a_wrong_verification_is_refused(app: WeComApp, query):
    with pytest.raises(CallbackRefused) as caught:
        app.challenge(query)
    assert caught.value.status == 403


def test_the_answer_to_a_callback_is_empty(app: WeComApp):
    query, body = sealed(fixture("wecom_app", "text__plain"))
    assert app.acknowledge(query, app.parse(query, body)).body == b""


@pytest.mark.parametrize("name", ["text__emoji", "template_card_event__multiple", "change_contact__create_user"])
def test_a_callback_that_wechatpy_encrypts_is_accepted(app: WeComApp, name):
    plain, timestamp = fixture("wecom_app", name), str(int(time.time()))
    body = WeChatCrypto(TOKEN, KEY, CORP).encrypt_message(plain.decode(), "1372623149", timestamp)
    signature = body.partition("<MsgSignature><![CDATA[")[2].partition("]")[0]
    query = {"msg_signature": signature, "timestamp": timestamp, "nonce": "1372623149"}
    (inbound,) = app.parse(query, body.encode()).inbound
    assert (inbound.kind, inbound.text) == TEXTS[name]
    assert inbound.sender in ("zhangsan", "sys")
