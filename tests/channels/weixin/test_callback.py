"""The address of an Official Account or Mini Program: published vectors, the three modes, wechatpy in both directions, rubbish."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest
import xmltodict
from hypothesis import given, settings
from hypothesis import strategies as st
from wechatpy.crypto import WeChatCrypto
from wechatpy.replies import ArticlesReply, deserialize_reply

from channels_wechat.contract.errors import CallbackRefused
from channels_wechat.contract.messages import Content, File, Payload
from channels_wechat.weixin.callback import CallbackCodec, read
from channels_wechat.wire import xml
from channels_wechat.wire.callback_crypto import check_clear
from tests.channels.harness import FIXTURES, fixture
from tests.channels.weixin.accounts import (
    APP,
    KEY,
    OPENID,
    SECRET,
    TOKEN,
    clear,
    official_account,
    sealed,
    sealed_by_wechatpy,
)

TEXT = fixture("official_account", "text__plain")
JSON_TEXT = fixture("official_account", "text__json")
MODES = ("safe", "compatible", "plaintext")


def gate(mode: str = "safe", key: str = KEY) -> CallbackCodec:
    return CallbackCodec(APP, TOKEN, key, mode)


def refusal(mode: str, query: dict[str, str], body: bytes, key: str = KEY) -> tuple[int, str]:
    with pytest.raises(CallbackRefused) as caught:
        read(gate(mode, key).open(query, body))
    told = f"{caught.value} {caught.value!r}"
    assert len(str(caught.value)) > 20
    assert not [secret for secret in (KEY, TOKEN, SECRET) if secret in told]
    return caught.value.status, caught.value.code


# -- published vectors (facts 2.3)


def vector(name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((FIXTURES / "crypto" / f"{name}.json").read_text())
    return found


@pytest.mark.parametrize(
    ("name", "form"), [("v12__wechat_json", "json"), ("v5__easywechat_post", "xml"), ("v2__tencent_post", "xml")]
)
def test_a_published_callback_is_opened(name, form):
    """V1, V2 and V4."""
    made = vector(name)
    query = {key: made[key] for key in ("msg_signature", "timestamp", "nonce")}
    body = {"ToUserName": "gh_1", "Encrypt": made["encrypt"]}
    raw = json.dumps(body) if form == "json" else f"<xml><Encrypt>{made['encrypt']}</Encrypt></xml>"
    theirs = CallbackCodec(made["receiveid"], made["token"], made["encoding_aes_key"], "safe")
    node = read(theirs.open(query, raw.encode(), now=int(made["timestamp"])))
    plain = made["plaintext"]
    assert node == (json.loads(plain) if form == "json" else xmltodict.parse(plain)["xml"])
    for wrong in (
        {**query, "nonce": "1"},
        {**query, "msg_signature": ""},
        {"signature": "x", **query, "timestamp": "1"},
    ):
        with pytest.raises(CallbackRefused):
            theirs.open(wrong, raw.encode(), now=int(made["timestamp"]))


def test_an_encrypted_echostr_is_opened():
    """V5: some consoles behave like WeCom. A wrong nonce must fail."""
    made = vector("v3__wechatpy_echostr")
    theirs = CallbackCodec(made["receiveid"], made["token"], made["encoding_aes_key"], "safe")
    query = {key: made[key] for key in ("msg_signature", "timestamp", "nonce")} | {"echostr": made["encrypt"]}
    assert theirs.challenge(query, now=int(made["timestamp"])).body == b"5927782489442352469"
    with pytest.raises(CallbackRefused):
        theirs.challenge({**query, "nonce": "437374424"}, now=int(made["timestamp"]))


def test_v3_is_opened_by_both_signatures():
    made = vector("v8__wxjava_encrypt")
    query = {"timestamp": "1409304348", "nonce": "xxxxxx", "signature": "76480565cbe296026c53aaacd1ad523a1ddba24f"}
    check_clear("pamtest", query, now=1409304348)
    assert (made["msg_signature"], made["plaintext"]) == ("82c962d39941aa48552f90ef55aa323dc620cc10", "我是中文abcd123")


@pytest.mark.parametrize(
    ("timestamp", "nonce", "signature"),
    [
        ("1714036504", "1514711492", "f464b24fc39322e44b38aa78f5edd27bd1441696"),
        ("1714037059", "486452656", "899cf89e464efb63f54ddac96b0a0a235f53aa78"),
        ("1714112445", "415670741", "6c5c811b55cc85e0e1b54100749188c20beb3f5d"),
    ],
)
def test_v1b_plain_signatures(timestamp, nonce, signature):
    query = {"timestamp": timestamp, "nonce": nonce, "signature": signature, "echostr": "4375120948345356249"}
    theirs = CallbackCodec("wxba5fad812f8e6fb9", "AAAAA", "A" * 43, "safe")
    answer = theirs.challenge(query, now=int(timestamp))
    assert (answer.body, answer.content_type) == (b"4375120948345356249", "text/plain; charset=utf-8")
    with pytest.raises(CallbackRefused) as caught:
        theirs.challenge(query, now=int(timestamp) + 601)
    assert (caught.value.status, caught.value.code) == (403, "stale")


# -- the address is verified


@pytest.mark.parametrize("mode", MODES)
def test_the_address_is_verified_in_every_mode(mode):
    query = {**clear(), "echostr": "<4375>"}
    assert gate(mode).challenge(query).body == b"<4375>"
    for wrong in (
        {**query, "signature": "0" * 40},
        {**query, "nonce": "other"},
        {"echostr": "1"},
        {**query, "signature": "ü"},
    ):
        with pytest.raises(CallbackRefused) as caught:
            gate(mode).challenge(wrong)
        assert (caught.value.status, caught.value.code) == (403, "signature")


def test_a_wrong_encrypted_signature_does_not_hide_a_right_plain_one():
    assert gate().challenge({**clear(), "echostr": "1", "msg_signature": "0" * 40}).body == b"1"


# -- the three modes


def test_plaintext_is_read():
    for body in (TEXT, JSON_TEXT, b"\xef\xbb\xbf \n" + TEXT, b"\xef\xbb\xbf" + JSON_TEXT):
        assert read(gate("plaintext", "").open(clear(), body))["MsgType"] == "text"


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize(("form", "plain"), [("xml", TEXT), ("json", JSON_TEXT)])
def test_what_is_encrypted_is_read_in_every_mode(mode, form, plain):
    assert read(gate(mode).open(*sealed(plain, form=form)))["MsgType"] == "text"


@pytest.mark.parametrize(
    ("form", "shown"), [("xml", b"<xml><Content>forged</Content></xml>"), ("json", b'{"Content": "forged"}')]
)
def test_of_a_compatible_body_only_the_encrypted_part_counts(form, shown):
    query, body = sealed(TEXT, form=form, shown=shown)
    assert b"forged" in body
    assert read(gate("compatible").open(query, body))["Content"] == "this is a test"


@pytest.mark.parametrize("mode", ["safe", "compatible"])
@pytest.mark.parametrize("body", [TEXT, JSON_TEXT, b"<xml><Encrypt></Encrypt></xml>", b'{"Encrypt": 7}', b"<xml/>"])
def test_a_clear_body_is_no_way_round_the_encryption(mode, body):
    assert refusal(mode, clear(), body) == (403, "downgrade")
    assert refusal(mode, {**clear(), "encrypt_type": "raw"}, body) == (403, "downgrade")


def test_the_signature_without_the_body_does_not_open_an_encrypted_one():
    query, body = sealed(TEXT)
    assert refusal("safe", {**query, "msg_signature": ""}, body) == (403, "signature")
    assert refusal("safe", clear(), body) == (403, "signature")
    assert refusal("safe", {**query, "msg_signature": query["signature"]}, body) == (403, "signature")


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("age", [601, -601])
def test_a_recorded_callback_cannot_be_played_back(mode, age):
    assert refusal(mode, *sealed(TEXT, at=time.time() - age)) == (403, "stale")
    if mode == "plaintext":
        assert refusal(mode, clear(time.time() - age), TEXT) == (403, "stale")


def test_plaintext_needs_the_token():
    assert refusal("plaintext", clear(token="another"), TEXT) == (403, "signature")
    assert refusal("plaintext", {}, TEXT) == (403, "signature")


def test_an_encrypted_body_without_a_key_says_what_to_do():
    assert refusal("plaintext", *sealed(TEXT), key="") == (400, "mode")


def test_a_message_for_another_account_is_refused():
    other = CallbackCodec("wx0000000000000000", TOKEN, KEY, "safe")
    with pytest.raises(CallbackRefused) as caught:
        other.open(*sealed(TEXT))
    assert (caught.value.status, caught.value.code) == (403, "receiveid")


@pytest.mark.parametrize(
    ("body", "refused"),
    [
        (b"", (400, "xml")),
        (b"[]", (400, "xml")),
        (b"{", (400, "json")),
        (b'{"a":' * 100_000, (400, "json")),
        (b"<xml>", (400, "xml")),
        (b"<!DOCTYPE a><xml/>", (400, "dtd")),
        (b"{" + b" " * xml.MAX_BYTES + b"}", (413, "too_large")),
        (b"<xml>" + b" " * xml.MAX_BYTES + b"</xml>", (413, "too_large")),
    ],
)
def test_what_is_neither_xml_nor_json_is_refused(body, refused):
    assert refusal("plaintext", clear(), body) == refused
    if refused[0] == 400:
        assert refusal("safe", *sealed(body)) == refused


def test_long_numbers_stay_whole():
    node = read(b'{"MsgId": 12345678901234567890, "CreateTime": 1714112445, "n": %s}' % (b"9" * 5000))
    assert (node["MsgId"], node["CreateTime"], node["n"]) == ("12345678901234567890", 1714112445, "9" * 5000)
    assert read(b'{"a": 123456789012345, "b": 1234567890123456}') == {"a": 123456789012345, "b": "1234567890123456"}


def test_a_megabyte_is_read():
    whole = b'{"a": "%s"}' % (b"x" * (xml.MAX_BYTES - 9))
    assert len(whole) == xml.MAX_BYTES
    assert len(read(whole)["a"]) == xml.MAX_BYTES - 9


def test_the_encrypted_part_may_be_broken_into_lines():
    """As XML and proxies break it: its signature is that of the unbroken text."""
    query, body = sealed(TEXT)
    encrypted = xml.parse(body)["Encrypt"]
    broken = "\r\n ".join(encrypted[at : at + 76] for at in range(0, len(encrypted), 76))
    assert read(gate().open(query, body.replace(encrypted.encode(), broken.encode())))["MsgType"] == "text"


def test_json_with_what_cannot_be_stored_is_cleaned():
    node = read(b'{"a": "\\ud800\\u0000", "b": "raw \x01", "c": NaN, "d": "\xff"}')
    assert node == {"a": "\ufffd\ufffd", "b": "raw \x01", "c": "nan", "d": "\ufffd"}


@settings(max_examples=150, deadline=None)
@given(
    body=st.binary(max_size=300)
    | st.text(max_size=300).map(lambda text: text.encode("utf-8", "surrogatepass"))
    | st.text(max_size=100).map(
        lambda text: f"<xml><Encrypt><![CDATA[{text}]]></Encrypt></xml>".encode("utf-8", "surrogatepass")
    )
    | st.recursive(st.none() | st.integers() | st.text(), lambda inner: st.dictionaries(st.text(), inner)).map(
        lambda value: json.dumps({"Encrypt": value}).encode()
    ),
    query=st.dictionaries(
        st.sampled_from(["signature", "msg_signature", "timestamp", "nonce", "encrypt_type", "echostr"]),
        st.text(max_size=40),
    ),
    mode=st.sampled_from(MODES),
    signed=st.booleans(),
)
def test_rubbish_is_refused_and_nothing_else(body, query, mode, signed):
    account = official_account(mode=mode)
    for answer in (
        lambda: account.parse({**query, **(clear() if signed else {})}, body),
        lambda: account.challenge(query),
    ):
        try:
            answer()
        except CallbackRefused as refused:
            assert refused.status in (400, 403, 413)  # noqa: PT017 - either way it is a result


@settings(max_examples=100, deadline=None)
@given(
    body=st.binary(max_size=300)
    | st.text(max_size=200).map(lambda text: f"<xml>{text}</xml>".encode("utf-8", "surrogatepass"))
)
def test_rubbish_inside_is_refused_and_nothing_else(body):
    try:
        official_account().parse(*sealed(body))
    except CallbackRefused as refused:
        assert refused.status == 400  # noqa: PT017 - either way it is a result


# -- an independent peer


@pytest.mark.parametrize("form", ["xml", "json"])
@pytest.mark.parametrize("name", ["text__emoji", "MASSSENDJOBFINISH__originality", "subscribe__qr_code"])
def test_what_wechatpy_encrypts_is_opened(name, form):
    plain = fixture("official_account", name).decode()
    assert read(gate().open(*sealed_by_wechatpy(plain, form))) == xml.parse(plain.encode())


RAW = xml.parse(TEXT)
IMAGE, VIDEO = File("image", "a.png", "image/png", 9, "7"), File("video", "a.mp4", "video/mp4", 9, "8")
ARTICLE = {
    "title": "t < & >",
    "description": "d",
    "url": "https://example.com/?a=1&b=2",
    "picurl": "https://example.com/p",
}
MUSIC = {
    "title": "t",
    "description": "d",
    "musicurl": "https://a.cn/m",
    "hqmusicurl": "https://a.cn/h",
    "thumb_media_id": "th",
}
REPLIES = {
    "text": (Content("你好 👋 <b>&amp;</b>\n第二行"), {"content": "你好 👋 <b>&amp;</b>\n第二行"}),
    "image": (Content(kind="image", files=(IMAGE,)), {"image": "m1"}),
    "voice": (Content(kind="voice", data={"media_id": "v1"}), {"voice": "v1"}),
    "video": (
        Content(kind="video", files=(VIDEO,), data={"title": "t", "description": "d"}),
        {"media_id": "m1", "title": "t", "description": "d"},
    ),
    "music": (
        Content(kind="music", data=MUSIC),
        {"title": "t", "music_url": "https://a.cn/m", "hq_music_url": "https://a.cn/h"},
    ),
}


@pytest.mark.parametrize(
    ("content", "element", "children"),
    [
        (Content(kind="image", data={"media_id": "m"}), "Image", {"MediaId": "m"}),
        (Content(kind="voice", data={"media_id": "m"}), "Voice", {"MediaId": "m"}),
        (
            Content(kind="video", data={"media_id": "m", "title": "t", "description": "d", "thumb_media_id": "x"}),
            "Video",
            {"MediaId": "m", "Title": "t", "Description": "d"},
        ),
        (
            Content(kind="music", data=MUSIC),
            "Music",
            {
                "Title": "t",
                "Description": "d",
                "MusicUrl": "https://a.cn/m",
                "HQMusicUrl": "https://a.cn/h",
                "ThumbMediaId": "th",
            },
        ),
    ],
)
def test_a_passive_reply_has_every_part_that_the_platform_knows(content, element, children):
    account = official_account(mode="plaintext")
    (payload,) = account.render(content)
    assert xml.parse(account.passive(clear(), RAW, payload).body)[element] == children


@pytest.mark.parametrize("kind", sorted(REPLIES))
@pytest.mark.parametrize("mode", MODES)
def test_wechatpy_reads_every_passive_reply(kind, mode):
    content, expected = REPLIES[kind]
    account = official_account(mode=mode)
    (payload,) = account.render(content)
    query = clear() if mode == "plaintext" else sealed(TEXT)[0]
    answer = account.passive(query, RAW, payload, handle="m1")
    assert answer.content_type == "application/xml; charset=utf-8"
    reply = deserialize_reply(opened(answer.body, encrypted=mode != "plaintext"))
    assert (reply.type, reply.target, reply.source) == (kind, OPENID, "gh_97417a04a28d")
    assert abs(int(reply.time.timestamp() if hasattr(reply.time, "timestamp") else reply.time) - time.time()) < 60
    assert {name: getattr(reply, name) for name in expected} == expected


def test_news_is_what_wechatpy_writes():
    """Its parser fails on its own reply of one article, the most that WeChat shows; so the two texts are compared."""
    account = official_account(mode="plaintext")
    (payload,) = account.render(Content(kind="news", data={"articles": [ARTICLE]}))
    theirs = ArticlesReply(target=OPENID, source="gh_97417a04a28d")
    theirs.add_article({**ARTICLE, "image": ARTICLE["picurl"]})
    ours = xml.parse(account.passive(clear(), RAW, payload).body)
    assert {**ours, "CreateTime": ""} == {**xml.parse(theirs.render().encode()), "CreateTime": ""}


def opened(body: bytes, *, encrypted: bool) -> str:
    """What wechatpy's crypto finds in an answer."""
    if not encrypted:
        return body.decode()
    node = xmltodict.parse(body)["xml"]
    assert set(node) == {"Encrypt", "MsgSignature", "TimeStamp", "Nonce"}
    found = WeChatCrypto(TOKEN, KEY, APP).decrypt_message(body, node["MsgSignature"], node["TimeStamp"], node["Nonce"])
    return found if isinstance(found, str) else found.decode()


@settings(max_examples=80, deadline=None)
@given(text=st.text(min_size=1, max_size=400).filter(str.strip))
def test_any_text_makes_a_reply_that_can_be_read(text):
    answer = official_account().passive(sealed(TEXT)[0], RAW, text)
    said = xml.parse(opened(answer.body, encrypted=True).encode())["Content"]
    stored = xml.ILLEGAL.sub("\ufffd", text)
    assert said == stored.replace("\r\n", "\n").replace("\r", "\n")


def test_the_end_of_a_section_in_the_text_does_no_harm():
    answer = official_account(mode="plaintext").passive(clear(), RAW, "a]]><b>]]]]>")
    assert xml.parse(answer.body)["Content"] == "a]]><b>]]]]>"


def test_a_reply_is_never_longer_than_is_shown():
    account = official_account(mode="plaintext")
    said = xml.parse(account.passive(clear(), RAW, "你" * 2000).body)["Content"]
    assert len(said.encode()) <= account.passive_bytes == 2048
    assert said == "你" * 682


@pytest.mark.parametrize("raw", [json.loads(JSON_TEXT), {}])
def test_json_has_no_passive_form(raw):
    account = official_account()
    assert not account.takes_passive(raw)
    assert account.passive(sealed(TEXT)[0], raw, "text").body == b"success"


@pytest.mark.parametrize("answer", ["", " \n", Payload({"msgtype": "msgmenu", "msgmenu": {}})])
def test_where_nothing_can_be_said_the_repetitions_end(answer):
    account = official_account()
    assert account.takes_passive(RAW)
    assert account.passive(sealed(TEXT)[0], RAW, answer).body == b"success"


def test_a_stored_message_is_acknowledged_by_a_word():
    account = official_account()
    query, body = sealed(TEXT)
    answer = account.acknowledge(query, account.parse(query, body))
    assert (answer.body, answer.content_type) == (b"success", "text/plain; charset=utf-8")
