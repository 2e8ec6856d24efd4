"""The table of WeChat's error codes: every class, the waits, what is withheld, who is gone, and the rid."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from channels_wechat.contract.explanations import Action, Effect
from channels_wechat.weixin.codes import PLATFORM
from channels_wechat.weixin.errors import capability_of, error_for

# facts 1.3 and 1.4, by class.
CLASSES = {
    Action.UNKNOWN: "-1",
    Action.RETRY: "40004 40007 45169",
    Action.WAIT: "45009 45011 45028 45066 48006 53501 61503 89506 89507",
    Action.WINDOW: "45015 45047",
    Action.CONFIG: "40001 40014 42001 40125 40243 40013 40164 61004 89501 89503 50002 50004 50007 61024 87009",
    Action.PERMANENT: """40002 40003 40005 40006 40009 40008 40029 40032 40033 40035 40037 40038 40039 40048 40054 40055 40163 40200
        40249 41001 41002 41004 41005 41006 41030 42003 42007 43002 43004 43019 43101 43104 43116 44002 44004 45001
        45002 45003 45004 45005 45006 45007 45008 45056 45057 45058 45059 45064 45067 45072 45080 45081 45157 45158
        45159 45166 45171 46003 47001 47003 48001 48002 48003 48004 48005 48008 50001 50005 53500 53502 53600 61010
        61450 61451 61452 61453 61454 61455 61456 61457 61500 61501 65301 65302 65303 65304 65305 65306 65307 65308
        65309 65310 65311 65312 65313 65314 65315 65316 65317 65320 65400 65401 65402 65403 65404 65405 65406 65407
        65408 65409 65410 65411 65412 65413 65414 65415 65416 65417 70000 76021 76022 87014 89504 89505 9410010
        9410011 9410012""",
}
CASES = [(int(code), action) for action, codes in CLASSES.items() for code in codes.split()]
SEND = "cgi-bin/message/custom/send"


@pytest.mark.parametrize(("code", "action"), CASES)
def test_a_code_says_what_to_do(code, action):
    error = error_for({"errcode": code, "errmsg": "the platform's words"}, code)
    assert (error.code, error.action) == (str(code), action)
    assert len(str(error.text)) > 18
    assert str(error.text).endswith(".")
    assert error.detail == "the platform's words"
    assert (error.retry_after is not None) == (action is Action.WAIT)


def test_no_code_is_left_out_of_these_cases():
    assert {code for code, _action in CASES} == set(PLATFORM)


@pytest.mark.parametrize(
    ("code", "tries"), [(-1, None), (40007, 2), (40004, 2), (45169, None), (43004, None), (987654, None)]
)
def test_some_are_repeated_once_only(code, tries):
    assert error_for({}, code).max_tries == tries


def test_an_unknown_code_may_come_after_the_deed_and_is_shown():
    error = error_for({"errcode": 987654, "errmsg": "brand new"}, 987654)
    assert error.action == Action.UNKNOWN
    assert "(987654: brand new)" in str(error)


def test_every_code_says_whether_it_can_come_after_the_deed():
    assert {code for code, rule in PLATFORM.items() if rule.effect is Effect.POSSIBLE} == {-1}
    assert {rule.effect for rule in PLATFORM.values()} == set(Effect)


@pytest.mark.parametrize("code", [-1, 987654])
def test_a_call_that_sends_nothing_is_tried_again_whatever_the_code_means(code):
    assert error_for({}, code, harmless=True).action == Action.RETRY


@pytest.mark.parametrize("code", [48001, 48004, 40200])
@pytest.mark.parametrize(
    ("path", "capability"),
    [
        ("cgi-bin/message/custom/send", "custom_send"),
        ("cgi-bin/message/custom/typing", "typing"),
        ("cgi-bin/message/subscribe/send", "subscribe_send"),
        ("cgi-bin/media/get", "media"),
        ("cgi-bin/media/upload", "media"),
        ("cgi-bin/user/info", "user_info"),
        ("cgi-bin/openapi/quota/get", "quota"),
        ("cgi-bin/clear_quota", "quota"),
        ("wxaapi/newtmpl/gettemplate", "templates"),
        ("wxa/msg_sec_check", "moderation"),
        ("wxa/media_check_async", "moderation"),
        ("cgi-bin/else", ""),
    ],
)
def test_what_is_withheld_is_named(code, path, capability):
    error = error_for({}, code, path)
    assert (error.action, error.capability) == (Action.PERMANENT, capability)


def test_other_refusals_withhold_nothing():
    assert {code for code in PLATFORM if error_for({}, code, SEND).capability} == {48001, 48004, 40200}
    assert capability_of("cgi-bin/user/info") == "user_info"


def test_who_is_gone_is_told():
    assert {code for code in PLATFORM if error_for({}, code).gone} == {43004, 50005}


@pytest.mark.parametrize(
    ("code", "errmsg", "address"),
    [
        (
            40164,
            "invalid ip 203.0.113.7 ipv6 ::ffff:203.0.113.7, not in whitelist rid: 61725984-6126f6f9-040f19c4",
            "203.0.113.7",
        ),
        (40164, "invalid ip 2001:db8::7 ipv6 2001:db8::7, not in whitelist", "2001:db8::7"),
        (61004, "access clientip is not registered requestIP: 203.0.113.8.", "203.0.113.8"),
    ],
)
def test_an_address_that_is_not_allowed_is_told_first(code, errmsg, address):
    error = error_for({"errcode": code, "errmsg": errmsg}, code)
    assert error.detail.startswith(f"{address} · ")
    assert "IP白名单" in str(error)
    assert error_for({"errmsg": "no"}, code).detail == "no"


@pytest.mark.parametrize("code", [40001, 45047, 987654])
def test_the_rid_is_kept(code):
    words = "response out of time limit or subscription is canceled rid: 61725984-6126f6f9-040f19c4"
    error = error_for({"errcode": code, "errmsg": words}, code)
    assert error.response == {"errcode": code, "errmsg": words, "rid": "61725984-6126f6f9-040f19c4"}
    assert next(iter(error.response)) == "rid"  # what is stored of an answer may be cut at its end
    assert "61725984-6126f6f9-040f19c4" in str(error)


def test_the_rid_is_kept_behind_a_long_story():
    error = error_for({"errmsg": "a" * 400 + " rid: 61725984-6126f6f9-040f19c4"}, 45009)
    assert str(error).endswith("rid: 61725984-6126f6f9-040f19c4)")


def test_without_a_rid_the_answer_is_kept_as_it_is():
    assert error_for({"errcode": 40003, "errmsg": "no"}, 40003).response == {"errcode": 40003, "errmsg": "no"}


@pytest.mark.parametrize(
    ("code", "seconds"),
    [
        (45009, 8 * 3600),
        (45028, 8 * 3600),
        (45011, 60),
        (45066, 60),
        (53501, 60),
        (48006, (9 * 24 + 8) * 3600),
        (61503, 16 * 3600),
        (89506, 24 * 3600),
        (89507, 3600),
    ],
)
def test_a_limit_waits_for_its_window(code, seconds):
    """Days and months end at midnight in Shanghai; 08:00 UTC is 16:00 there."""
    assert error_for({}, code, now=datetime(2026, 11, 21, 8, tzinfo=UTC)).retry_after == seconds


@pytest.mark.parametrize(
    ("code", "now", "seconds"),
    [
        (61503, datetime(2026, 11, 20, 23, tzinfo=UTC), 3600),  # seven in the morning
        (61503, datetime(2026, 11, 21, 0, tzinfo=UTC), 0),
        (61503, datetime(2026, 11, 21, 0, 0, 1, tzinfo=UTC), 24 * 3600 - 1),
        (48006, datetime(2026, 12, 21, 8, tzinfo=UTC), (10 * 24 + 8) * 3600),
        (48006, datetime(2027, 1, 31, 15, 59, tzinfo=UTC), 60),
        (48006, datetime(2027, 1, 31, 16, tzinfo=UTC), 28 * 24 * 3600),
        (45009, datetime(2026, 11, 21, 15, 59, 59, tzinfo=UTC), 1),
        (45009, datetime(2026, 11, 21, 16, tzinfo=UTC), 24 * 3600),
    ],
)
def test_a_window_ends_by_the_clock_and_the_calendar_of_shanghai(code, now, seconds):
    assert error_for({}, code, now=now).retry_after == seconds
