"""Customer-service messages: rights, windows, contents, typing, quotas (facts: official_account.md 3, 12)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from channels_wechat.simulator import SimulatorError
from tests.simulator.platform import AMR, PNG
from tests.simulator.weixin import FAN, JPEG, MINI, MP4, OFFICIAL, USER

if TYPE_CHECKING:
    from channels_wechat.simulator import SimulatorClient
    from tests.simulator.receiver import Receiver
    from tests.simulator.weixin import Api


def write(wechat: SimulatorClient, text: str = "在吗") -> dict[str, Any]:
    return wechat.say(text, official=OFFICIAL, from_=FAN)


def sent(api: Api, times: int, **how: Any) -> list[int]:
    return [api.send(**how)["errcode"] for _ in range(times)]


def test_a_message_opens_the_window_for_five_in_two_days(wechat: SimulatorClient, api: Api) -> None:
    assert api.send()["errcode"] == 45015
    write(wechat)
    assert wechat.standing(FAN)["left"] == 5
    assert sent(api, 6) == [0, 0, 0, 0, 0, 45047]
    assert "out of response count limit rid: " in api.send()["errmsg"]
    wechat.advance(48 * 3600 + 1)
    assert api.send()["errcode"] == 45015


@pytest.mark.parametrize(
    "deed",
    [
        lambda wechat: wechat.follow(OFFICIAL, FAN),
        lambda wechat: wechat.scan(OFFICIAL, FAN, "shop-7"),
        lambda wechat: wechat.click_menu(OFFICIAL, FAN, "HELP"),
        lambda wechat: wechat.event("scancode_waitmsg", official=OFFICIAL, from_=FAN),
    ],
    ids=["follow", "scan", "click", "scancode"],
)
def test_other_deeds_open_it_for_three_in_a_minute(wechat: SimulatorClient, api: Api, deed: Any) -> None:
    deed(wechat)
    assert sent(api, 4) == [0, 0, 0, 45047]
    wechat.advance(61)
    assert api.send()["errcode"] == 45015


@pytest.mark.parametrize("event", ["VIEW", "LOCATION", "view_miniprogram"])
def test_looking_around_opens_nothing(wechat: SimulatorClient, api: Api, event: str) -> None:
    wechat.event(event, official=OFFICIAL, from_=FAN)
    assert api.send()["errcode"] == 45015


def test_windows_do_not_add_up(wechat: SimulatorClient, api: Api) -> None:
    """The larger of what is left and the new count, the later of the two ends."""
    write(wechat)
    write(wechat)
    assert wechat.standing(FAN)["left"] == 5
    sent(api, 4)
    wechat.click_menu(OFFICIAL, FAN, "HELP")
    assert wechat.standing(FAN)["left"] == 3
    wechat.advance(3600)
    assert sent(api, 4) == [0, 0, 0, 45047]


def test_a_tap_on_a_choice_counts_as_a_click(wechat: SimulatorClient, api: Api, developer: Receiver) -> None:
    write(wechat)
    menu = {
        "head_content": "满意吗？",
        "list": [{"id": "101", "content": "满意"}, {"id": "102", "content": "不满意"}],
    }
    assert api.send("msgmenu", menu)["errcode"] == 0
    shown = wechat.sent_to(FAN)[-1]
    assert (shown["kind"], shown["text"], shown["data"]["list"][0]["content"]) == ("msgmenu", "满意吗？", "满意")
    wechat.advance(49 * 3600)
    wechat.wait_taken(wechat.tap(shown["seq"], FAN, "102"))
    assert developer.messages[-1].xml["Content"] == "不满意"
    assert developer.messages[-1].xml["bizmsgmenuid"] == "102"
    assert sent(api, 4) == [0, 0, 0, 45047]
    wechat.official(OFFICIAL, menu_ids=False)
    wechat.wait_taken(wechat.tap(shown["seq"], FAN, "101"))
    assert (developer.messages[-1].xml["Content"], developer.messages[-1].xml["bizmsgmenuid"]) == ("满意", "0")
    with pytest.raises(SimulatorError, match="no such choice"):
        wechat.tap(shown["seq"], FAN, "103")


def test_who_left_hears_nothing(wechat: SimulatorClient, api: Api) -> None:
    write(wechat)
    wechat.unfollow(OFFICIAL, FAN)
    assert api.send()["errcode"] == 45015
    assert api.look("cgi-bin/user/info", openid=FAN).json() == {"subscribe": 0, "openid": FAN, "tagid_list": []}
    with pytest.raises(SimulatorError, match="does not follow"):
        write(wechat)
    wechat.follow(OFFICIAL, FAN)
    assert api.send()["errcode"] == 0


def test_the_window_of_a_mini_program(wechat: SimulatorClient, api: Api) -> None:
    wechat.enter_session(MINI, USER, "order-page")
    assert sent(api, 3, touser=USER, appid=MINI) == [0, 0, 45047]
    wechat.say("在吗", mini=MINI, from_=USER)
    assert sent(api, 6, touser=USER, appid=MINI) == [0, 0, 0, 0, 0, 45047]


def test_an_openid_belongs_to_one_account(wechat: SimulatorClient, api: Api) -> None:
    for openid in (USER, "oNobody", ""):
        assert api.send(touser=openid)["errcode"] == 40003
    assert api.look("cgi-bin/user/info", openid=USER).json()["errcode"] == 40003


def test_an_unverified_account_has_no_right_to_send(wechat: SimulatorClient, api: Api) -> None:
    wechat.official(OFFICIAL, verified=False, kind="subscription")
    write(wechat)
    assert api.send()["errcode"] == 48001
    assert api.type() == 48001
    assert api.look("cgi-bin/user/info", openid=FAN).json()["errcode"] == 48001


def test_a_right_can_be_taken_away(wechat: SimulatorClient, api: Api) -> None:
    wechat.official(OFFICIAL, denied=["media/upload"])
    assert api.upload("image", JPEG)["errcode"] == 48001
    write(wechat)
    assert api.send()["errcode"] == 0


def test_what_can_be_sent(wechat: SimulatorClient, api: Api) -> None:
    image, voice = api.upload("image", JPEG)["media_id"], api.upload("voice", AMR)["media_id"]
    video, thumb = api.upload("video", MP4)["media_id"], api.upload("thumb", JPEG)["thumb_media_id"]
    contents: dict[str, dict[str, Any]] = {
        "text": {"content": "字" * 682},
        "image": {"media_id": image},
        "voice": {"media_id": voice},
        "video": {"media_id": video, "title": "片子"},
        "music": {"title": "歌", "musicurl": "http://m", "hqmusicurl": "http://m", "thumb_media_id": thumb},
        "news": {"articles": [{"title": "新闻", "url": "https://example.org"}]},
        "mpnewsarticle": {"article_id": "A"},
        "wxcard": {"card_id": "C"},
        "miniprogrampage": {"title": "页", "appid": MINI, "pagepath": "pages/a", "thumb_media_id": thumb},
    }
    for kind, content in contents.items():
        write(wechat)
        assert api.send(kind, content)["errcode"] == 0, kind
    assert [entry["kind"] for entry in wechat.sent_to(FAN)] == list(contents)
    assert wechat.sent_to(FAN)[1]["data"]["size"] == len(JPEG)


def test_what_a_mini_program_can_send(wechat: SimulatorClient, api: Api) -> None:
    wechat.say("x", mini=MINI, from_=USER)
    link = {"title": "t", "description": "d", "url": "https://example.org", "thumb_url": "https://example.org/a.png"}
    assert api.send("link", link, touser=USER, appid=MINI)["errcode"] == 0
    thumb = api.upload("image", JPEG, appid=MINI)["media_id"]
    page = {"title": "t", "pagepath": "pages/a", "thumb_media_id": thumb}
    assert api.send("miniprogrampage", page, touser=USER, appid=MINI)["errcode"] == 0
    page["thumb_media_id"] = "none"
    assert api.send("miniprogrampage", page, touser=USER, appid=MINI)["errcode"] == 40007
    assert api.send("voice", {"media_id": "x"}, touser=USER, appid=MINI)["errcode"] == 40008
    assert api.upload("voice", AMR, appid=MINI)["errcode"] == 40004


@pytest.mark.parametrize(
    ("kind", "content", "errcode"),
    [
        ("text", {"content": "字" * 683}, 45002),
        ("text", {"content": ""}, 44004),
        ("text", {"content": " \n"}, 44004),
        ("news", {"articles": [{"title": "a", "url": "b"}] * 2}, 45008),
        ("news", {"articles": []}, 45008),
        ("image", {"media_id": "gone"}, 40007),
        ("link", {"title": "t"}, 40008),
        ("poem", {"content": "x"}, 40008),
        ("msgmenu", {"list": []}, 40035),
    ],
)
def test_what_is_refused_uses_nothing_up(
    wechat: SimulatorClient, api: Api, kind: str, content: dict[str, Any], errcode: int
) -> None:
    write(wechat)
    assert api.send(kind, content)["errcode"] == errcode
    assert wechat.standing(FAN)["left"] == 5
    assert wechat.sent_to(FAN) == []


@pytest.mark.parametrize(
    ("body", "errcode"),
    [
        (b'{"touser":"x","msgtype":"text","text":{"content":"\\u4f60"}}', 40033),
        (b"{", 47001),
        (b"[]", 47001),
        (b"", 44002),
        ("{'touser': '你'}".encode("gbk"), 47001),
    ],
)
def test_the_body_is_json_in_utf_8_without_escapes(api: Api, body: bytes, errcode: int) -> None:
    answer = api.raw("cgi-bin/message/custom/send", body)
    assert answer["errcode"] == errcode
    assert " rid: " in answer["errmsg"]


def test_the_label_of_ai_text_is_shown(wechat: SimulatorClient, api: Api) -> None:
    write(wechat)
    assert api.send(aimsgcontext={"is_ai_msg": 1})["errcode"] == 0
    assert api.send()["errcode"] == 0
    assert [entry["data"].get("ai", False) for entry in wechat.sent_to(FAN)] == [True, False]
    assert api.send(aimsgcontext={"msgid": "1"})["errcode"] == 47001
    wechat.official(OFFICIAL, takes_ai_label=False)
    assert api.send(aimsgcontext={"is_ai_msg": 1})["errcode"] == 47001
    assert wechat.standing(FAN)["left"] == 3


def test_typing(wechat: SimulatorClient, api: Api) -> None:
    assert api.type() == 45080
    write(wechat)
    assert api.type("Dance") == 45072
    assert [api.type(), api.type()] == [0, 45081]
    assert wechat.standing(FAN)["typing"] is True
    wechat.advance(16)
    assert api.type() == 0
    assert api.type("CancelTyping") == 0
    assert wechat.standing(FAN)["typing"] is False
    assert api.type() == 0
    assert api.send()["errcode"] == 0
    assert wechat.standing(FAN)["typing"] is False
    wechat.advance(16)
    assert api.type() == 45080
    assert wechat.standing(FAN)["left"] == 4


def test_a_daily_quota_ends_and_can_be_cleared(wechat: SimulatorClient, api: Api) -> None:
    wechat.official(OFFICIAL, daily_limits={"message/custom/send": 2})
    path = {"cgi_path": "/cgi-bin/message/custom/send"}
    write(wechat)
    assert sent(api, 3) == [0, 0, 45009]
    answer = api.call("cgi-bin/openapi/quota/get", path)
    assert answer["quota"] == {"daily_limit": 2, "used": 2, "remain": 0}
    assert api.call("cgi-bin/clear_quota", {"appid": MINI})["errcode"] == 40013
    assert api.call("cgi-bin/clear_quota", {"appid": OFFICIAL})["errcode"] == 0
    assert api.send()["errcode"] == 0
    cleared = [api.call("cgi-bin/clear_quota", {"appid": OFFICIAL})["errcode"] for _ in range(10)]
    assert cleared == [0] * 9 + [48006]
    wechat.advance(86400)
    assert api.call("cgi-bin/openapi/quota/get", path)["quota"]["used"] == 0


@pytest.mark.parametrize(
    ("path", "errcode"),
    [("cgi-bin/user/info", 76021), ("/cgi-bin/poems", 76021), ("/sns/jscode2session", 76022), ("", 76021)],
)
def test_a_quota_is_asked_for_by_its_path(api: Api, path: str, errcode: int) -> None:
    assert api.call("cgi-bin/openapi/quota/get", {"cgi_path": path})["errcode"] == errcode


def test_a_follower_has_no_name(wechat: SimulatorClient, api: Api) -> None:
    wechat.person(OFFICIAL, "小红", FAN, remark="老客户")
    facts = api.look("cgi-bin/user/info", openid=FAN).json()
    assert (facts["subscribe"], facts["openid"], facts["nickname"], facts["remark"]) == (1, FAN, "", "老客户")
    assert "errcode" not in facts


def test_faults_meet_the_new_calls(wechat: SimulatorClient, api: Api) -> None:
    write(wechat)
    wechat.fault("message/custom/send", "errcode", errcode=43004, errmsg="require subscribe")
    answer = api.send()
    assert answer["errcode"] == 43004
    assert answer["errmsg"].startswith("require subscribe rid: ")
    assert api.send()["errcode"] == 0
    wechat.fault("wxa/msg_sec_check", "html", status=502)
    assert api.http.post(f"{api.url}/wxa/msg_sec_check", timeout=10).status_code == 502


def test_media_of_both_platforms_share_their_paths(wechat: SimulatorClient, api: Api) -> None:
    wechat.app(1, corpid="ww", secret="app-secret")
    query = {"corpid": "ww", "corpsecret": "app-secret"}
    token = api.http.get(f"{api.url}/cgi-bin/gettoken", params=query, timeout=10).json()["access_token"]
    url = f"{api.url}/cgi-bin/media/upload"
    params = {"access_token": token, "type": "file"}
    answer = api.http.post(url, params=params, files={"media": ("a.txt", b"12345")}, timeout=10).json()
    assert (answer["errcode"], answer["type"]) == (0, "file")
    assert api.look("cgi-bin/media/get", media_id=answer["media_id"]).json()["errcode"] == 40007
    assert api.upload("file", b"12345")["errcode"] == 40004


@pytest.mark.parametrize(
    ("kind", "data", "errcode"),
    [
        ("image", PNG, 0),
        ("image", b"GIF89a...", 0),
        ("image", b"BMxxxxxxxx", 40005),
        ("voice", b"ID3xxxxxx", 0),
        ("voice", b"#!AMR\n" + (b"\x3c" + b"\x00" * 31) * 3001, 45007),
        ("voice", AMR + b"\x00" * 2 * 2**20, 45001),
        ("thumb", JPEG + b"x" * 64 * 1024, 45001),
        ("thumb", PNG, 40005),
        ("video", b"not a film", 40005),
        ("image", b"abc", 40006),
    ],
)
def test_limits_of_media(api: Api, kind: str, data: bytes, errcode: int) -> None:
    assert api.upload(kind, data).get("errcode", 0) == errcode


def test_media_die_after_three_days_and_say_so_as_text(wechat: SimulatorClient, api: Api) -> None:
    media_id = api.upload("image", JPEG, "图.jpg")["media_id"]
    got = api.look("cgi-bin/media/get", media_id=media_id)
    assert (got.content, got.headers["Content-Type"]) == (JPEG, "image/jpeg")
    assert "attachment" in got.headers["Content-Disposition"]
    wechat.advance(3 * 86400 + 1)
    gone = api.look("cgi-bin/media/get", media_id=media_id)
    assert (gone.status_code, gone.json()["errcode"]) == (200, 40007)
    assert gone.headers["Content-Type"].startswith("text/plain")
    write(wechat)
    assert api.send("image", {"media_id": media_id})["errcode"] == 40007


def test_a_video_comes_by_its_address(wechat: SimulatorClient, api: Api, developer: Receiver) -> None:
    wechat.wait_taken(wechat.say(official=OFFICIAL, from_=FAN, kind="video", data=MP4))
    fields = developer.messages[0].xml
    url = api.look("cgi-bin/media/get", media_id=fields["MediaId"]).json()["video_url"]
    assert api.http.get(url, timeout=10).content == MP4
    assert api.look("cgi-bin/media/get", media_id=fields["ThumbMediaId"]).content.startswith(b"\xff\xd8\xff")
    wechat.fault("media/video", "html", status=502)
    assert [api.http.get(url, timeout=10).status_code for _ in range(2)] == [502, 200]
    wechat.advance(4 * 86400)
    assert api.http.get(url, timeout=10).status_code == 404
