"""Messages of WeChat's own types: they go as they are, and one that is not whole is refused."""

from __future__ import annotations

import pytest

from channels_wechat.contract.messages import Content, Payload
from tests.channels.weixin.contents import CARD, MINI_PROGRAM, OFFICIAL_ACCOUNT, PNG, refusal, without

# -- platform messages

MENU = {
    "head_content": "您对本次服务是否满意呢? ",
    "list": [{"id": "101", "content": "满意"}, {"id": "102", "content": "不满意"}],
    "tail_content": "欢迎再次光临",
}


ARTICLE = {"title": "Happy Day", "description": "…", "url": "https://a.cn", "picurl": "https://a.cn/p"}
MUSIC = {"title": "t", "musicurl": "https://a.cn/m", "hqmusicurl": "https://a.cn/h", "thumb_media_id": "th"}
SUBSCRIBE = {"template_id": "T1", "page": "index?a=b", "data": {"thing2": {"value": "你好"}}}
LINK_CARD = {"title": "t", "description": "d", "url": "https://a.cn", "thumb_url": "https://a.cn/p"}


@pytest.mark.parametrize(
    ("account", "kind", "data"),
    [
        (OFFICIAL_ACCOUNT, "msgmenu", MENU),
        (OFFICIAL_ACCOUNT, "news", {"articles": [ARTICLE]}),
        (OFFICIAL_ACCOUNT, "music", MUSIC),
        (OFFICIAL_ACCOUNT, "mpnewsarticle", {"article_id": "A1"}),
        (OFFICIAL_ACCOUNT, "wxcard", {"card_id": "123dsdajkasd231jhksad"}),
        (OFFICIAL_ACCOUNT, "miniprogrampage", {**CARD, "appid": "wx1"}),
        (MINI_PROGRAM, "miniprogrampage", CARD),
        (MINI_PROGRAM, "link", LINK_CARD),
        (MINI_PROGRAM, "subscribe", SUBSCRIBE),
        (MINI_PROGRAM, "subscribe", {**SUBSCRIBE, "miniprogram_state": "trial", "lang": "zh_CN"}),
        (MINI_PROGRAM, "subscribe", {**SUBSCRIBE, "miniprogram_state": "developer"}),
        (MINI_PROGRAM, "subscribe", {**SUBSCRIBE, "miniprogram_state": "formal"}),
        (
            OFFICIAL_ACCOUNT,
            "msgmenu",
            {**MENU, "list": [{"id": str(number), "content": str(number)} for number in range(100)]},
        ),
    ],
)
def test_a_platform_message_goes_as_it_is(account, kind, data):
    assert account.render(Content(kind=kind, data=data)) == [Payload({"msgtype": kind, kind: data})]


def test_every_type_is_among_these_cases():
    assert set(OFFICIAL_ACCOUNT.repertoire.checks) == {
        "msgmenu",
        "news",
        "music",
        "mpnewsarticle",
        "wxcard",
        "miniprogrampage",
    }
    assert set(MINI_PROGRAM.repertoire.checks) == {"miniprogrampage", "link", "subscribe"}


@pytest.mark.parametrize(
    ("account", "kind", "data", "field"),
    [
        (OFFICIAL_ACCOUNT, "msgmenu", {**MENU, "list": []}, "list"),
        (OFFICIAL_ACCOUNT, "msgmenu", without(MENU, "list"), "list"),
        (
            OFFICIAL_ACCOUNT,
            "msgmenu",
            {**MENU, "list": [{"id": "1", "content": "a"}, {"id": "2", "content": "a"}]},
            "list",
        ),
        (OFFICIAL_ACCOUNT, "msgmenu", {**MENU, "list": [{"id": 1, "content": "a"}]}, "list[1].id"),
        (OFFICIAL_ACCOUNT, "msgmenu", {**MENU, "list": [{"id": "1"}]}, "list[1].content"),
        (OFFICIAL_ACCOUNT, "msgmenu", {**MENU, "head_content": 7}, "head_content"),
        (OFFICIAL_ACCOUNT, "msgmenu", {**MENU, "tail_content": 7}, "tail_content"),
        (OFFICIAL_ACCOUNT, "msgmenu", {**MENU, "tail_content": 0}, "tail_content"),
        (
            OFFICIAL_ACCOUNT,
            "msgmenu",
            {**MENU, "list": [{"id": str(number), "content": str(number)} for number in range(101)]},
            "list",
        ),
        (OFFICIAL_ACCOUNT, "music", {**MUSIC, "title": 7}, "title"),
        (OFFICIAL_ACCOUNT, "music", {**MUSIC, "description": 7}, "description"),
        (OFFICIAL_ACCOUNT, "news", {"articles": [{**ARTICLE, "description": 7}]}, "articles[1].description"),
        (OFFICIAL_ACCOUNT, "miniprogrampage", {**without(CARD, "title"), "appid": "wx1"}, "title"),
        (MINI_PROGRAM, "miniprogrampage", without(CARD, "title"), "title"),
        (MINI_PROGRAM, "link", without(LINK_CARD, "title"), "title"),
        (MINI_PROGRAM, "subscribe", {**SUBSCRIBE, "page": 7}, "page"),
        (MINI_PROGRAM, "subscribe", {**SUBSCRIBE, "lang": 7}, "lang"),
        (OFFICIAL_ACCOUNT, "news", {"articles": [ARTICLE, ARTICLE]}, "articles"),
        (OFFICIAL_ACCOUNT, "news", {"articles": []}, "articles"),
        (OFFICIAL_ACCOUNT, "news", {"articles": [without(ARTICLE, "title")]}, "articles[1].title"),
        (OFFICIAL_ACCOUNT, "news", {"articles": [{**ARTICLE, "url": "javascript:1"}]}, "articles[1].url"),
        (OFFICIAL_ACCOUNT, "music", without(MUSIC, "thumb_media_id"), "thumb_media_id"),
        (OFFICIAL_ACCOUNT, "music", without(MUSIC, "musicurl"), "musicurl"),
        (OFFICIAL_ACCOUNT, "music", without(MUSIC, "hqmusicurl"), "hqmusicurl"),
        (OFFICIAL_ACCOUNT, "news", {"articles": [without(ARTICLE, "url")]}, "articles[1].url"),
        (MINI_PROGRAM, "link", without(LINK_CARD, "description"), "description"),
        (MINI_PROGRAM, "link", without(LINK_CARD, "thumb_url"), "thumb_url"),
        (OFFICIAL_ACCOUNT, "mpnewsarticle", {}, "article_id"),
        (OFFICIAL_ACCOUNT, "wxcard", {}, "card_id"),
        (OFFICIAL_ACCOUNT, "miniprogrampage", CARD, "appid"),
        (MINI_PROGRAM, "miniprogrampage", without(CARD, "pagepath"), "pagepath"),
        (MINI_PROGRAM, "miniprogrampage", without(CARD, "thumb_media_id"), "thumb_media_id"),
        (MINI_PROGRAM, "link", without(LINK_CARD, "url"), "url"),
        (MINI_PROGRAM, "subscribe", without(SUBSCRIBE, "template_id"), "template_id"),
        (MINI_PROGRAM, "subscribe", {**SUBSCRIBE, "miniprogram_state": "beta"}, "miniprogram_state"),
        (MINI_PROGRAM, "subscribe", {**SUBSCRIBE, "data": {}}, "data"),
        (MINI_PROGRAM, "subscribe", {**SUBSCRIBE, "data": {"thing2": "你好"}}, "data.thing2.value"),
        (MINI_PROGRAM, "subscribe", {**SUBSCRIBE, "data": {"thing2": {"value": ""}}}, "data.thing2.value"),
    ],
)
def test_a_platform_message_that_is_not_whole_is_refused(account, kind, data, field):
    assert refusal(account, Content(kind=kind, data=data))[0] == field


@pytest.mark.parametrize(
    ("account", "kind", "make", "field"),
    [
        (OFFICIAL_ACCOUNT, "music", lambda url: {**MUSIC, "musicurl": url}, "musicurl"),
        (OFFICIAL_ACCOUNT, "music", lambda url: {**MUSIC, "hqmusicurl": url}, "hqmusicurl"),
        (OFFICIAL_ACCOUNT, "news", lambda url: {"articles": [{**ARTICLE, "url": url}]}, "articles[1].url"),
        (OFFICIAL_ACCOUNT, "news", lambda url: {"articles": [{**ARTICLE, "picurl": url}]}, "articles[1].picurl"),
        (MINI_PROGRAM, "link", lambda url: {**LINK_CARD, "url": url}, "url"),
        (MINI_PROGRAM, "link", lambda url: {**LINK_CARD, "thumb_url": url}, "thumb_url"),
    ],
)
def test_an_address_has_its_scheme(account, kind, make, field):
    for url in ("http://a.cn", "https://a.cn"):
        assert account.render(Content(kind=kind, data=make(url)))
    for url in ("a.cn", "ftp://a.cn", "javascript:1"):
        assert refusal(account, Content(kind=kind, data=make(url)))[0] == field


def test_only_a_card_takes_a_picture():
    (payload,) = OFFICIAL_ACCOUNT.render(Content(kind="music", data=MUSIC, files=(PNG,)))
    assert payload == Payload({"msgtype": "music", "music": MUSIC})
