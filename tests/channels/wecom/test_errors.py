"""The table of error codes: every class, the waits, and answers that are not the platform's."""

from __future__ import annotations

from datetime import UTC, datetime
from http import HTTPStatus
from typing import TYPE_CHECKING

import pytest

from channels_wechat.contract.explanations import Action, Effect
from channels_wechat.contract.http_client import Response
from channels_wechat.wecom.aibot.errors import WECOM_AIBOT
from channels_wechat.wecom.codes import PLATFORM
from channels_wechat.wecom.errors import WECOM, WECOM_APP, WECOM_ROBOT, error_for
from channels_wechat.wire.http import error_for_status

if TYPE_CHECKING:
    from channels_wechat.contract.errors import Explanations

# facts, by class: the codes of page 90313 that the bridge can meet.
CLASSES = {
    Action.UNKNOWN: "-1",
    Action.RETRY: "6000 45033 40007 40014 42001 41001 846609",
    Action.WAIT: "45009 846607",
    Action.CONFIG: """40001 40013 2000002 40056 40091 42007 42008 42009 48002 48004 50001 50003 60020 85005 93004 95000 95017
        301002 301042 301052 301053 301058 853000""",
    Action.PERMANENT: """40003 46004 60111 40004 40005 40006 40008 40009 40011 40029 40031 40033 40035 40050 40058 40063
        40093 40096 41006 41051 42014 43004 44001 44004 45001 45002 45004 45007 45008 45034 48005 50002 60003 60011 60021 60140 81013 81017
        82001 84061 86001 86003 86004 86005 86006 86007 86008 86207 86216 86220 86224 92000 93000 93008 95001 95007 95013 95014
        95016 95018 301059 830002 846605 846608 42045 45003 93006 600039""",
}
CASES = [(int(code), action) for action, codes in CLASSES.items() for code in codes.split()]


@pytest.mark.parametrize(("code", "action"), CASES)
def test_a_code_says_what_to_do(code, action):
    error = error_for({"errcode": code, "errmsg": "the platform's words"})
    assert (error.code, error.action) == (str(code), action)
    assert len(str(error.text)) > 20
    assert error.detail.endswith("the platform's words")
    assert (error.retry_after is not None) == (action is Action.WAIT)


def test_no_code_is_left_out_of_these_cases():
    assert {code for code, _action in CASES} == set(PLATFORM)


@pytest.mark.parametrize(("code", "tries"), [(-1, 3), (40007, 2), (6000, None), (81013, None)])
def test_some_are_repeated_a_few_times_only(code, tries):
    assert error_for({"errcode": code}).max_tries == tries


def test_an_unknown_code_may_come_after_the_deed_and_is_shown():
    error = error_for({"errcode": 987654, "errmsg": "brand new"})
    assert error.action == Action.UNKNOWN
    assert "(987654: brand new)" in str(error)


def test_every_code_says_whether_it_can_come_after_the_deed():
    assert {code for code, rule in PLATFORM.items() if rule.effect is Effect.POSSIBLE} == {-1}
    assert {rule.effect for rule in PLATFORM.values()} == set(Effect)


@pytest.mark.parametrize("code", [-1, 987654])
def test_a_call_that_sends_nothing_is_tried_again_whatever_the_code_means(code):
    error = error_for({"errcode": code}, harmless=True)
    assert (error.action, error.max_tries) == (Action.RETRY, None)
    assert error_for({"errcode": 40007}, harmless=True).max_tries == 2


@pytest.mark.parametrize(
    "errmsg",
    [
        "not allow to access from your ip, hint: [1614], from ip: 203.0.113.7, more info at https://open.work.weixin.qq.com",
        "not allow to access from your ip,from ip:203.0.113.7",
    ],
)
def test_an_untrusted_address_is_told_first(errmsg):
    error = error_for({"errcode": 60020, "errmsg": errmsg})
    assert error.detail.startswith("203.0.113.7 · ")


def test_an_untrusted_ipv6_address_is_told_too():
    assert error_for({"errcode": 60020, "errmsg": "from ip: 2001:db8::7."}).detail.startswith("2001:db8::7 · ")
    assert error_for({"errcode": 60020, "errmsg": "no"}).detail == "no"


@pytest.mark.parametrize(
    ("errmsg", "seconds"),
    [
        ("api freq out of limit", 60),
        ("api minute-quota reach limit", 60),
        ("api hour quota reach limit", 3600),
        ("reach max api daily quota limit", 8 * 3600),
        ("reach the limit of a day", 8 * 3600),
        ("api month quota", 8 * 3600),
        ("see you on Sunday", 60),
    ],
)
def test_a_limit_waits_for_its_window(errmsg, seconds):
    """A day ends at midnight in Shanghai; 08:00 UTC is 16:00 there."""
    error = error_for({"errcode": 45009, "errmsg": errmsg}, datetime(2026, 11, 21, 8, tzinfo=UTC))
    assert error.retry_after == seconds


@pytest.mark.parametrize(
    ("status", "headers", "action", "harmless_action", "wait"),
    [
        (200, {}, Action.UNKNOWN, Action.RETRY, None),
        (302, {}, Action.CONFIG, Action.CONFIG, None),
        (403, {}, Action.CONFIG, Action.CONFIG, None),
        (404, {}, Action.CONFIG, Action.CONFIG, None),
        (408, {}, Action.UNKNOWN, Action.RETRY, None),
        (413, {}, Action.PERMANENT, Action.PERMANENT, None),
        (425, {}, Action.RETRY, Action.RETRY, None),
        (429, {}, Action.WAIT, Action.WAIT, 60),
        (429, {"Retry-After": "7"}, Action.WAIT, Action.WAIT, 7),
        (429, {"Retry-After": "²"}, Action.WAIT, Action.WAIT, 60),
        (429, {"Retry-After": "-5"}, Action.WAIT, Action.WAIT, 60),
        (429, {"Retry-After": "9" * 5000}, Action.WAIT, Action.WAIT, 60),
        (429, {"Retry-After": "Fri, 01 Jan 2100 00:00:00 GMT"}, Action.WAIT, Action.WAIT, 3600),
        (429, {"Retry-After": "Fri, 01 Foo 2100 00:00:00 GMT"}, Action.WAIT, Action.WAIT, 60),
        (429, {"Retry-After": "3600"}, Action.WAIT, Action.WAIT, 3600),
        (300, {}, Action.CONFIG, Action.CONFIG, None),
        (400, {}, Action.CONFIG, Action.CONFIG, None),
        (299, {}, Action.UNKNOWN, Action.RETRY, None),
        (500, {}, Action.UNKNOWN, Action.RETRY, None),
        (502, {}, Action.UNKNOWN, Action.RETRY, None),
        (503, {"Retry-After": "99999"}, Action.UNKNOWN, Action.WAIT, 3600),
        (503, {"Retry-After": "Wed, 21 Oct 2026 07:28:00 GMT"}, Action.UNKNOWN, Action.WAIT, 60),
        (504, {}, Action.UNKNOWN, Action.RETRY, None),
    ],
)
def test_an_answer_that_is_not_the_platforms(status, headers, action, harmless_action, wait):
    response = Response(status, headers, b"<html>\xff")
    assert error_for_status(response, harmless=False).action == action
    error = error_for_status(response, harmless=True)
    assert (error.action, error.retry_after) == (harmless_action, wait)
    phrase = HTTPStatus(status).phrase if status in set(HTTPStatus) else ""
    assert error.detail == f"a web page: HTTP {status} {phrase}".strip()


@pytest.mark.parametrize(
    ("headers", "body", "detail"),
    [
        ({}, b"<html>\r\n<head><title>502 Bad Gateway</title></head><body><hr>nginx", "a web page: 502 Bad Gateway"),
        ({}, "<!DOCTYPE html><TITLE lang=zh>登录 &amp;\n 认证</TITLE>".encode(), "a web page: 登录 & 认证"),
        ({"Content-Type": "text/html"}, b"<title></title>", "a web page: HTTP 502 Bad Gateway"),
        ({"Content-Type": "text/html"}, b"Bad gateway", "a web page: HTTP 502 Bad Gateway"),
        ({}, b"<?xml version='1.0'?><Error>no", "a web page: HTTP 502 Bad Gateway"),
        ({}, b"\r\n <html><title>Blocked</title>", "a web page: Blocked"),
        ({}, b"upstream connect error", "upstream connect error"),
        ({}, b"\n upstream connect error\n", "upstream connect error"),
        ({}, b"x" * 5000, "x" * 200),
        ({}, b"<title>" + b"x" * 300 + b"</title>", "a web page: " + "x" * 100),
        ({}, b"", ""),
        ({}, b"a\0b", "a\ufffdb"),
    ],
)
def test_a_foreign_page_is_said_in_words(headers, body, detail):
    error = error_for_status(Response(502, headers, body), harmless=False)
    assert error.detail == detail
    assert "<" not in str(error)


@pytest.mark.parametrize(
    ("table", "action"),
    [
        (WECOM, Action.PERMANENT),
        (WECOM_APP, Action.PERMANENT),
        (WECOM_AIBOT, Action.PERMANENT),
        (WECOM_ROBOT, Action.CONFIG),
    ],
)
@pytest.mark.parametrize("code", [93000, 93008])
def test_a_code_can_mean_something_else_to_a_kind(code: int, table: Explanations, action: Action) -> None:
    """A robot that was removed will never work again; to others it is the matter of one message."""
    assert error_for({"errcode": code}, table=table).action is action
    assert error_for({"errcode": 44004}, table=table).action is Action.PERMANENT


@pytest.mark.parametrize(
    ("table", "cause"),
    [
        (WECOM_APP, "The card was answered or updated already, or is older than 72 hours. Send a new card."),
        (WECOM_ROBOT, "The card was answered or updated already, or is older than 72 hours. Send a new card."),
        (
            WECOM_AIBOT,
            "The reply address of this message was used already, or its hour is over. Wait for another message, or write "
            "first by the long connection.",
        ),
    ],
)
def test_a_code_can_have_another_cause_for_a_kind(table: Explanations, cause: str) -> None:
    error = error_for({"errcode": 60140, "errmsg": "invalid response_code"}, table=table)
    assert str(error) == f"{cause} (60140: invalid response_code)"
