"""Messages and events of Official Accounts and Mini Programs: every fixture in XML and JSON, their keys, windows and consequences."""

from __future__ import annotations

import hashlib
import json
from typing import Any

import pytest
import xmltodict
from hypothesis import example, given, settings
from hypothesis import strategies as st
from wechatpy import parse_message

from channels_wechat.contract.errors import CallbackRefused
from channels_wechat.contract.messages import Inbound, MediaItem, Peer, Verdict, Window
from channels_wechat.weixin.callback import read as read_body
from channels_wechat.weixin.parsing import ERASES, read
from channels_wechat.wire import xml
from tests.channels.harness import fixture, fixtures
from tests.channels.weixin.accounts import mini_program, official_account, sealed
from tests.fuzz.strangers import objects, storable

KINDS = ("official_account", "mini_program")
ALL = [(kind, name) for kind in KINDS for name in fixtures(kind)]
MESSAGE, MENU, SESSION = Window(5, 48 * 3600), Window(3, 60), Window(2, 60)
VRR, NLI = "VRR0UEO9VJOLs0MHlU0OilqX6MVFDwH3_3gz3Oc0NIc", "9nLIlbOQZC5Y89AZteFEux3WCXRRRG5Wfzkpssu4bLI"


def inbound(body: bytes) -> Inbound:
    return read(read_body(body), body)


def said(kind: str, name: str) -> Inbound:
    return inbound(fixture(kind, name))


TEXTS = {
    "text__plain": ("text", "this is a test", MESSAGE),
    "text__emoji": ("text", "你好 👋 <b>&amp;</b> ]]", MESSAGE),
    "text__long_id": ("text", "twenty digits", MESSAGE),
    "text__json": ("text", "你好 👋", MESSAGE),
    "text__msgmenu_entry": ("text", "满意", MENU),
    "text__msgmenu_entry_zero": ("text", "不满意", MENU),
    "text__json_msgmenu_entry": ("text", "满意", MENU),
    "image__one": ("image", "", MESSAGE),
    "voice__amr": ("voice", "", MESSAGE),
    "voice__without_transcript_field": ("voice", "", MESSAGE),
    "voice__transcript": ("voice", "腾讯微信团队", MESSAGE),
    "video__one": ("video", "", MESSAGE),
    "shortvideo__one": ("video", "", MESSAGE),
    "location__labelled": ("location", "Location: 位置信息 (23.134521, 113.358803)", MESSAGE),
    "location__bare": ("location", "Location: 23.134521, 113.358803", MESSAGE),
    "location__json": ("location", "Location: 位置信息 (23.134521, 113.358803)", MESSAGE),
    "link__full": ("link", "公众平台官网链接\n公众平台官网链接\nhttps://example.com/a?b=1&c=2", MESSAGE),
    "link__from_article": ("link", "t\nhttps://example.com/", MESSAGE),
    "hologram__unknown": ("unsupported", "[a message of the type hologram, which cannot be read here]", MESSAGE),
    "CLICK__menu": ("action", "Menu entry: EVENTKEY", MENU),
    "scancode_push__qrcode": ("action", "Scanned: 1", MENU),
    "scancode_waitmsg__qrcode": ("action", "Scanned: 1", MENU),
    "subscribe__plain": ("event", "subscribe", MENU),
    "subscribe__qr_code": ("event", "subscribe qrscene_123123", MENU),
    "unsubscribe__gone": ("event", "unsubscribe", None),
    "SCAN__scene": ("event", "scan SCENE_VALUE", MENU),
    "LOCATION__report": ("event", "location", None),
    "VIEW__address": ("event", "view https://www.example.com/", None),
    "view_miniprogram__page": ("event", "view_miniprogram pages/index/index", None),
    "pic_sysphoto__one": ("event", "pic_sysphoto 6", None),
    "pic_photo_or_album__two": ("event", "pic_photo_or_album 6", None),
    "pic_weixin__one": ("event", "pic_weixin 6", None),
    "location_select__place": ("event", "location_select 6", None),
    "TEMPLATESENDJOBFINISH__success": ("event", "templatesendjobfinish success", None),
    "TEMPLATESENDJOBFINISH__blocked": ("event", "templatesendjobfinish failed:user block", None),
    "MASSSENDJOBFINISH__originality": ("event", "masssendjobfinish err(30003)", None),
    "PUBLISHJOBFINISH__done": ("event", "publishjobfinish", None),
    "FREEPUBLISHJOBFINISH__done": ("event", "freepublishjobfinish", None),
    "subscribe_msg_popup_event__two": ("event", f"subscribe_msg_popup_event {VRR} accept {NLI} reject", None),
    "subscribe_msg_popup_event__one": ("event", f"subscribe_msg_popup_event {VRR} accept", None),
    "subscribe_msg_popup_event__json_object": ("event", f"subscribe_msg_popup_event {VRR} accept", None),
    "subscribe_msg_popup_event__json_array": ("event", f"subscribe_msg_popup_event {VRR} accept {NLI} reject", None),
    "subscribe_msg_change_event__reject": ("event", f"subscribe_msg_change_event {VRR} reject", None),
    "subscribe_msg_sent_event__receipt": ("event", f"subscribe_msg_sent_event {VRR} success", None),
    "kf_create_session__one": ("event", "kf_create_session test1@test", None),
    "kf_close_session__one": ("event", "kf_close_session test1@test", None),
    "kf_switch_session__one": ("event", "kf_switch_session test2@test", None),
    "verify_expired__notice": ("event", "verify_expired", None),
    "debug_demo__json": ("event", "debug_demo", None),
    "brand_new_event__unknown": ("event", "brand_new_event", None),
}
MINI = {
    "text__plain": ("text", "this is a test", MESSAGE),
    "text__long_id": ("text", "你好", MESSAGE),
    "text__xml": ("text", "this is a test", MESSAGE),
    "image__one": ("image", "", MESSAGE),
    "image__xml": ("image", "", MESSAGE),
    "miniprogrampage__card": ("link", "title\nappid\npath", MESSAGE),
    "miniprogrampage__xml": ("link", "Title\nAppId\nPagePath", MESSAGE),
    "user_enter_tempsession__from": ("event", "user_enter_tempsession sessionFrom", SESSION),
    "user_enter_tempsession__xml": ("event", "user_enter_tempsession sessionFrom", SESSION),
    "wxa_media_check__pass": ("event", "wxa_media_check pass", None),
    "wxa_media_check__xml": ("event", "wxa_media_check review", None),
    "subscribe_msg_popup_event__object": ("event", f"subscribe_msg_popup_event {VRR} accept", None),
    "subscribe_msg_popup_event__array": ("event", f"subscribe_msg_popup_event {VRR} accept", None),
}
CASES = [("official_account", name, *case) for name, case in TEXTS.items()]
CASES += [("mini_program", name, *case) for name, case in MINI.items()]


@pytest.mark.parametrize(("kind", "name", "expected", "text", "window"), CASES, ids=lambda value: str(value)[:40])
def test_a_callback_becomes_a_message(kind, name, expected, text, window):
    found = said(kind, name)
    assert (found.kind, found.text, found.window) == (expected, text, window)


def other_form(body: bytes) -> bytes:
    """The same callback as the console's other format would bring it: what is a number in JSON is text in XML."""
    if body.lstrip().startswith(b"{"):
        return xmltodict.unparse({"xml": json.loads(body)}, full_document=False).encode()
    node: dict[str, Any] = xml.parse(body)
    numbers = {name: int(node[name]) for name in ("CreateTime", "MsgId", "MsgID") if name in node}
    return json.dumps({**node, **numbers}, ensure_ascii=False).encode()


@pytest.mark.parametrize(("kind", "name"), ALL)
def test_xml_and_json_say_the_same(kind, name):
    body = fixture(kind, name)
    one, other = inbound(body), inbound(other_form(body))
    for field in ("kind", "peer", "text", "media", "occurred_at", "window", "follows", "erase", "verdict"):
        assert getattr(one, field) == getattr(other, field), field
    assert one.key == other.key or one.kind in ("event", "action")


@pytest.mark.parametrize(("kind", "name"), ALL)
def test_every_callback_of_the_platform_is_taken(kind, name):
    channel = official_account() if kind == "official_account" else mini_program()
    plain = fixture(kind, name)
    form = "json" if plain.startswith(b"{") else "xml"
    (found,) = channel.parse(*sealed(plain, form=form)).inbound
    assert found == inbound(plain)
    assert found.peer == Peer("direct", found.sender)
    assert found.occurred_at == int(found.raw["CreateTime"])
    assert json.loads(json.dumps(found.raw)) == found.raw
    event = found.raw.get("Event")
    assert name.partition("__")[0] == (event or found.raw["MsgType"])
    assert (found.kind in ("event", "action")) == (event is not None)
    assert len(found.key) == (64 if event else len(str(found.raw["MsgId"])))


@pytest.mark.parametrize("name", [name for name in fixtures("official_account") if "json" not in name])
def test_wechatpy_reads_the_same_ids(name):
    """Events of unknown names are its own base classes; the ids are what we have to agree on."""
    body = fixture("official_account", name)
    theirs, ours = parse_message(body), inbound(body)
    assert (theirs.source, theirs.target) == (ours.raw["FromUserName"], ours.raw["ToUserName"])
    if ours.kind not in ("event", "action"):
        assert str(theirs.id) == ours.key


@pytest.mark.parametrize(("kind", "name"), ALL)
def test_the_case_of_names_does_not_matter(kind, name):
    node = dict(read_body(fixture(kind, name)))
    swapped = {**node, "MsgType": node["MsgType"].upper()}
    if "Event" in node:
        swapped["Event"] = node["Event"].swapcase()
    assert (read(swapped, b"").text, read(swapped, b"").window) == (read(node, b"").text, read(node, b"").window)


# -- media


@pytest.mark.parametrize(
    ("kind", "name", "media"),
    [
        (
            "official_account",
            "image__one",
            MediaItem("image", "media_id", fallback="http://mmbiz.qpic.cn/mmbiz_jpg/abc/0"),
        ),
        ("official_account", "voice__amr", MediaItem("voice", "media_id", mime="audio/amr")),
        (
            "official_account",
            "voice__without_transcript_field",
            MediaItem("voice", "media_id", mime="audio/speex", fallback="media_id_16k"),
        ),
        ("official_account", "video__one", MediaItem("video", "media_id", mime="video/mp4")),
        ("official_account", "shortvideo__one", MediaItem("video", "media_id", mime="video/mp4")),
        ("mini_program", "image__one", MediaItem("image", "media_id", fallback="http://mmbiz.qpic.cn/a")),
    ],
)
def test_a_file_is_named(kind, name, media):
    assert said(kind, name).media == (media,)


def node(kind: str, **fields: Any) -> Inbound:
    return read({"MsgType": kind, "FromUserName": "o1", **fields}, b"")


@pytest.mark.parametrize(
    ("kind", "fields", "media"),
    [
        ("image", {"PicUrl": "http://a.cn/p"}, (MediaItem("image", "http://a.cn/p"),)),
        ("image", {"MediaId": "m"}, (MediaItem("image", "m"),)),
        ("image", {}, ()),
        ("voice", {"MediaId": "m"}, (MediaItem("voice", "m", mime="audio/amr"),)),
        ("voice", {"MediaId": "m", "Format": "SPEEX"}, (MediaItem("voice", "m", mime="audio/speex"),)),
        ("voice", {"MediaId16K": "m"}, (MediaItem("voice", "m", mime="audio/amr"),)),
        ("voice", {"MediaId": "m", "Recognition": " "}, (MediaItem("voice", "m", mime="audio/amr"),)),
        ("video", {"ThumbMediaId": "m"}, ()),
    ],
)
def test_a_file_is_named_by_what_the_platform_tells_of_it(kind, fields, media):
    assert node(kind, **fields).media == media


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        ({"Label": "L", "Poiname": "P", "Location_X": "1", "Location_Y": "2"}, "Location: L (1, 2)"),
        ({"Poiname": "P", "Location_X": "1", "Location_Y": "2"}, "Location: P (1, 2)"),
        ({"Label": "L"}, "Location: L"),
        ({"Location_X": "1"}, ""),
        ({"Location_Y": "1"}, ""),
    ],
)
def test_a_place_is_told_as_far_as_it_is_known(fields, text):
    assert node("location", **fields).text == text


def test_a_menus_entry_without_its_label_is_told_by_its_id():
    found = node("text", Content="", bizmsgmenuid="101")
    assert (found.text, found.window) == ("101", MENU)


def test_of_an_unknown_type_no_ids_are_shown():
    ids = dict.fromkeys(("ToUserName", "CreateTime", "MsgId", "MsgDataId", "Idx", "MediaId", "ThumbMediaId"), "7")
    found = node("hologram", **ids)
    assert (found.text, found.is_unread) == ("[a message of the type hologram, which cannot be read here]", True)
    assert not read({}, b"").is_unread


@pytest.mark.parametrize(
    ("told", "seconds"), [(1348831860, 1348831860), ("99999999999", 99999999999), ("9" * 12, 0), (-1, 0), ("\u0661", 0)]
)
def test_a_time_is_a_number_of_seconds(told, seconds):
    assert node("text", CreateTime=told).occurred_at == seconds


@pytest.mark.parametrize(
    ("event", "greets"),
    [("subscribe", True), ("SCAN", True), ("user_enter_tempsession", True), ("unsubscribe", False), ("CLICK", False),
     ("VIEW", False), ("scancode_push", False), ("kf_create_session", False)],
)  # fmt: skip
def test_who_comes_in_is_greeted(event, greets):
    assert node("event", Event=event).greets == greets
    assert not node("text", Content=event).greets


@pytest.mark.parametrize("event", ["subscribe", "user_info_modified", "CLICK"])
def test_the_openid_inside_an_event_counts_only_where_somebody_is_to_be_forgotten(event):
    found = node("event", Event=event, OpenID="o2")
    assert (found.sender, found.peer.id, found.erase) == ("o1", "o1", False)


def test_a_transcript_takes_the_place_of_the_sound():
    assert said("official_account", "voice__transcript").media == ()


# -- keys (facts 2.7)


def test_a_message_is_known_by_its_id():
    assert said("official_account", "text__long_id").key == "12345678901234567890"
    found = said("mini_program", "text__long_id")
    assert (found.key, found.raw["MsgId"]) == ("24123456789012345", "24123456789012345")


def test_what_has_no_id_is_known_by_its_bytes():
    for kind, name in (("official_account", "CLICK__menu"), ("mini_program", "wxa_media_check__pass")):
        assert said(kind, name).key == hashlib.sha256(fixture(kind, name)).hexdigest()
    for body in (b'{"MsgType":"text","Content":"a","MsgId":0}', b'{"MsgType":"text","Content":"a"}'):
        assert inbound(body).key == hashlib.sha256(body).hexdigest()


# -- consequences


def test_following_is_told():
    follows = {name: said("official_account", name).follows for name in fixtures("official_account")}
    told = {name: value for name, value in follows.items() if value is not None}
    assert told == {"subscribe__plain": True, "subscribe__qr_code": True, "unsubscribe__gone": False}


@pytest.mark.parametrize(("kind", "name"), ALL)
def test_who_leaves_or_withdraws_is_forgotten(kind, name):
    found = said(kind, name)
    assert found.erase == (name.partition("__")[0] in ERASES)
    if name.startswith("user_authorization"):
        assert found.sender == found.peer.id == "owAqB1nqaOYYWl0Ng484G2z5NIwU"


@pytest.mark.parametrize(
    ("name", "verdict"),
    [
        ("wxa_media_check__pass", Verdict("60f96f1d-3845297a-1976a3ae", "pass", 100)),
        ("wxa_media_check__risky", Verdict("60f96f1d-3845297a-1976a3af", "risky", 20002)),
        ("wxa_media_check__xml", Verdict("60f96f1d-3845297a-1976a3ae", "review", 20001)),
        ("text__plain", None),
    ],
)
def test_the_result_of_a_check_is_told(name, verdict):
    assert said("mini_program", name).verdict == verdict


@pytest.mark.parametrize("result", [None, {}, [], {"suggest": "fine"}, {"suggest": ["pass"]}])
def test_a_result_that_is_not_clear_is_for_a_person(result):
    node = {**read_body(fixture("mini_program", "wxa_media_check__pass")), "result": result}
    found = read(node, b"").verdict
    assert found is not None
    assert found.suggest == "review"


def test_a_reported_place_is_kept_coarse():
    raw = said("official_account", "LOCATION__report").raw
    assert (raw["Latitude"], raw["Longitude"], raw["Precision"]) == ("23.14", "113.35", "119.385040")
    node = {**read_body(fixture("official_account", "LOCATION__report")), "Latitude": "north"}
    assert read(node, b"").raw["Latitude"] == ""


@pytest.mark.parametrize(
    "node",
    [
        {},
        {"MsgType": ""},
        {"MsgType": ["text"]},
        {"MsgType": "event"},
        {"MsgType": "event", "Event": {"a": "b"}, "CreateTime": "soon"},
    ],
)
def test_what_says_nothing_opens_nothing(node):
    found = read(node, b"")
    assert found.kind in ("event", "unsupported")
    assert (found.window, found.peer.id, found.occurred_at, len(found.key)) == (None, "sys", 0, 64)


# -- what a broken platform would send

NAMES = (
    "MsgType", "event", "text", "voice", "location", "link", "Event", "subscribe", "LOCATION", "wxa_media_check", "scancode_push",
    "FromUserName", "OpenID", "ToUserName", "CreateTime", "MsgId", "Content", "bizmsgmenuid", "MediaId", "Format", "Recognition",
    "EventKey", "Latitude", "Longitude", "SubscribeMsgPopupEvent", "List", "TemplateId", "result", "suggest", "label", "trace_id",
    "ScanCodeInfo", "ScanResult", "Label", "user_authorization_revoke",
)  # fmt: skip


@settings(max_examples=300, deadline=None)
@given(
    objects(*NAMES)
    | st.tuples(objects(*NAMES), st.sampled_from(NAMES)).map(
        lambda pair: {**pair[0], "MsgType": "event", "Event": pair[1]}
    )
)
@example({"MsgType": "event", "Event": "LOCATION", "Latitude": "9" * 5000, "Longitude": "nan"})
@example({"MsgType": "location", "Location_X": 1e308, "CreateTime": 10**400})
def test_whatever_is_signed_is_heard_or_refused(tree):
    channel = official_account()
    query, body = sealed(json.dumps(tree).encode(), form="json")
    try:
        reception = channel.parse(query, body)
    except CallbackRefused as refused:
        assert refused.status == 400  # noqa: PT017 - either way it is a result
        return
    assert storable(list(reception.inbound))
    assert channel.acknowledge(query, reception).body == b"success"
    (found,) = reception.inbound
    assert channel.passive(query, found.raw, "answer").body
