"""Content checks and subscribe messages of a Mini Program (facts: official_account.md 13.3, 13.5)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from tests.simulator.weixin import FAN, MINI, USER

if TYPE_CHECKING:
    from channels_wechat.simulator import SimulatorClient
    from tests.simulator.receiver import Receiver
    from tests.simulator.weixin import Api

TEMPLATE = {"priTmplId": "T1", "title": "订单", "content": "商品:{{thing1.DATA}}\n数量:{{number2.DATA}}", "type": 2}
DATA = {"thing1": {"value": "苹果"}, "number2": {"value": "3"}}


def check(api: Api, content: str, **changes: Any) -> dict[str, Any]:
    body = {"version": 2, "openid": USER, "scene": 1, "content": content} | changes
    return api.call("wxa/msg_sec_check", body, appid=MINI)


@pytest.mark.parametrize(
    ("content", "suggest", "label"),
    [("今天天气", "pass", 100), ("可疑", "review", 21000), ("坏又可疑", "risky", 20006)],
)
def test_the_verdict_is_in_the_result(
    wechat: SimulatorClient, api: Api, content: str, suggest: str, label: int
) -> None:
    wechat.mini(MINI, words={"坏": "risky", "可疑": "review"})
    wechat.enter_session(MINI, USER)
    answer = check(api, content)
    assert (answer["errcode"], answer["result"]) == (0, {"suggest": suggest, "label": label})
    assert answer["trace_id"]


@pytest.mark.parametrize(
    ("changes", "errcode"),
    [
        ({"content": "字" * 2501}, 45002),
        ({"content": ""}, 44004),
        ({"version": 1}, 40035),
        ({"scene": 9}, 40035),
        ({"openid": FAN}, 40003),
    ],
)
def test_what_is_not_checked(wechat: SimulatorClient, api: Api, changes: dict[str, Any], errcode: int) -> None:
    wechat.enter_session(MINI, USER)
    assert check(api, **({"content": "x"} | changes))["errcode"] == errcode


def test_only_a_recent_visitor_is_checked(wechat: SimulatorClient, api: Api) -> None:
    assert check(api, "x")["errcode"] == 61010
    wechat.enter_session(MINI, USER)
    assert check(api, "字" * 2500)["errcode"] == 0
    wechat.advance(2 * 3600 + 1)
    assert check(api, "x")["errcode"] == 61010


@pytest.mark.parametrize("form", ["json", "xml"])
def test_the_result_for_a_picture_comes_as_an_event(
    wechat: SimulatorClient, api: Api, developer: Receiver, form: str
) -> None:
    wechat.mini(MINI, media_verdict="risky", format=form)
    wechat.wait_taken(wechat.enter_session(MINI, USER))
    body = {"media_url": "https://example.org/a.png", "media_type": 2, "version": 2, "scene": 1, "openid": USER}
    trace_id = api.call("wxa/media_check_async", body, appid=MINI)["trace_id"]
    wechat.wait_for(lambda: len(developer.messages) == 2)
    event = developer.messages[1].json if form == "json" else developer.messages[1].xml
    assert (event["Event"], event["trace_id"], event["appid"]) == ("wxa_media_check", trace_id, MINI)
    assert event["result"]["suggest"] == "risky"
    assert api.call("wxa/media_check_async", body | {"media_type": 7}, appid=MINI)["errcode"] == 40004
    assert api.call("wxa/media_check_async", body | {"media_url": "a"}, appid=MINI)["errcode"] == 40048


def test_an_official_account_has_none_of_it(api: Api) -> None:
    for path in ("wxa/msg_sec_check", "wxa/media_check_async", "cgi-bin/message/subscribe/send"):
        assert api.call(path, {})["errcode"] == 48001
    assert api.look("wxaapi/newtmpl/gettemplate").json()["errcode"] == 48001
    assert api.look("cgi-bin/user/info", MINI, openid=USER).json()["errcode"] == 48001


def notice(api: Api, **changes: Any) -> dict[str, Any]:
    body = {"touser": USER, "template_id": "T1", "page": "pages/a?b=c", "data": DATA} | changes
    return api.call("cgi-bin/message/subscribe/send", body, appid=MINI)


def test_one_notice_for_each_consent(wechat: SimulatorClient, api: Api, developer: Receiver) -> None:
    wechat.mini(MINI, templates=[TEMPLATE])
    assert api.look("wxaapi/newtmpl/gettemplate", MINI).json()["data"] == [TEMPLATE]
    assert notice(api)["errcode"] == 43101
    wechat.wait_taken(wechat.accept(MINI, USER, "T1"))
    popup = developer.messages[0].json["SubscribeMsgPopupEvent"]["List"]
    assert (popup["TemplateId"], popup["SubscribeStatusString"]) == ("T1", "accept")
    assert [notice(api)["errcode"] for _ in range(2)] == [0, 43101]
    (shown,) = wechat.sent_to(USER)
    assert (shown["kind"], shown["text"]) == ("subscribe_message", "商品:苹果\n数量:3")
    assert shown["data"] == {"title": "订单", "page": "pages/a?b=c"}


def test_a_long_term_consent_lasts(wechat: SimulatorClient, api: Api) -> None:
    wechat.mini(MINI, templates=[TEMPLATE | {"type": 3}])
    wechat.accept(MINI, USER, "T1")
    assert [notice(api)["errcode"] for _ in range(3)] == [0, 0, 0]


@pytest.mark.parametrize(
    ("changes", "errcode", "named"),
    [
        ({"touser": FAN}, 40003, ""),
        ({"template_id": "T2"}, 40037, ""),
        ({"page": "pages/none"}, 41030, ""),
        ({"data": {"thing1": {"value": "x"}}}, 47003, "data.number2"),
        ({"data": DATA | {"thing1": {"value": "字" * 21}}}, 47003, "data.thing1"),
        ({"data": DATA | {"date9": {"value": "x"}}}, 47003, "data.date9"),
        ({"data": None}, 47003, "data.thing1"),
    ],
)
def test_a_notice_that_does_not_fit_uses_no_consent_up(
    wechat: SimulatorClient, api: Api, changes: dict[str, Any], errcode: int, named: str
) -> None:
    wechat.mini(MINI, templates=[TEMPLATE], pages=["pages/a"])
    wechat.accept(MINI, USER, "T1")
    answer = notice(api, **changes)
    assert answer["errcode"] == errcode
    assert named in answer["errmsg"]
    assert notice(api)["errcode"] == 0
