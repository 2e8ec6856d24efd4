"""Calls to api.weixin.qq.com: the token and its one renewal, patience with answers, videos behind an address, quotas."""

from __future__ import annotations

import json

import pytest

from accounts.tokens import LEASE_SECONDS
from channels_wechat.contract.errors import ChannelError
from channels_wechat.contract.explanations import Action
from channels_wechat.contract.messages import Quota
from channels_wechat.weixin.api import WeixinApi
from channels_wechat.wire.api_answers import decoded, whole
from channels_wechat.wire.http import Http
from tests.channels.harness import FixedTokens, Recorder, Reply, recorder, says


@pytest.fixture
def platform():
    with recorder() as server:
        yield server


@pytest.fixture
def tokens() -> FixedTokens:
    return FixedTokens()


@pytest.fixture
def api(platform: Recorder, tokens: FixedTokens) -> WeixinApi:
    return WeixinApi(Http(["127.0.0.1:*"], timeout=(2, 0.5), allowed_in_messages=["127.0.0.1:*"]), platform.url, tokens)


def refusal(call, *arguments, **named) -> ChannelError:
    with pytest.raises(ChannelError) as caught:
        call(*arguments, **named)
    return caught.value


def test_a_call_carries_the_token_in_its_address(platform: Recorder, api: WeixinApi):
    platform.will(says(value=7))
    assert api.call("POST", "cgi-bin/x", json={"a": "你"}, query={"q": "1 2"})["value"] == 7
    (sent,) = platform.requests
    assert (sent.method, sent.path, sent.query) == ("POST", "/cgi-bin/x", {"q": "1 2", "access_token": "token1"})
    assert sent.body == '{"a": "你"}'.encode()


@pytest.mark.parametrize("code", [40001, 40014, 42001])
def test_a_refused_token_is_renewed_once(platform: Recorder, api: WeixinApi, tokens: FixedTokens, code):
    platform.will(says(code, "invalid credential, access_token is invalid or not latest rid: 6172-61"))
    assert api.call("POST", "cgi-bin/x", json={})["errcode"] == 0
    assert tokens.refused == ["token1"]
    assert [request.query["access_token"] for request in platform.requests] == ["token1", "token2"]


def test_a_token_refused_for_ever_costs_two_calls_and_one_fetch(
    platform: Recorder, api: WeixinApi, tokens: FixedTokens
):
    platform.will(*[says(40001, "invalid credential, token2 rid: 61725984-61")] * 9)
    error = refusal(api.call, "POST", "cgi-bin/x", json={})
    assert (error.code, error.action) == ("40001", Action.CONFIG)
    assert (len(platform.requests), tokens.refused) == (2, ["token1"])
    assert "token2" not in f"{error} {error.response} {error!r}"
    assert error.response["rid"] == "61725984-61"


@pytest.mark.parametrize("code", [-1, 41001, 43004, 45015, 45047, 48001, 40164])
def test_another_error_renews_nothing(platform: Recorder, api: WeixinApi, tokens: FixedTokens, code):
    platform.will(says(code, "no"))
    assert refusal(api.call, "POST", "cgi-bin/x", json={}).code == str(code)
    assert (tokens.refused, len(platform.requests)) == ([], 1)


@pytest.mark.parametrize(
    ("body", "answer"),
    [
        (b'{"openid":"o1"}', {"openid": "o1"}),
        (b'{"errcode":"0","x":1}', {"errcode": "0", "x": 1}),
        (b'{"errcode":45065,"msg_id":1}', {"errcode": 45065, "msg_id": 1}),
        (b'{"remark":"a\x01b\x00c"}', {"remark": "a\x01b\ufffdc"}),
        (b'{"remark":"\xffa"}', {"remark": "a"}),
        (b'\xef\xbb\xbf{"openid":"o1"}', {"openid": "o1"}),
        (b'\n\xef\xbb\xbf {"errcode":0.0}', {"errcode": 0.0}),
        (b'{"remark":"\\ud83d"}', {"remark": "\ufffd"}),
    ],
)
def test_answers_are_read_with_patience(platform: Recorder, api: WeixinApi, body, answer):
    platform.will(Reply(body))
    assert api.call("GET", "cgi-bin/x") == answer


@pytest.mark.parametrize(
    "body",
    [
        b"<html>",
        b"",
        b"[]",
        b"null",
        b"7",
        b"{}",
        b'{"errcode":true}',
        b'{"errcode":"x"}',
        b'{"errcode":{}}',
        b"[" * 100_000,
    ],
)
def test_an_answer_that_is_not_the_platforms_is_unknown(platform: Recorder, api: WeixinApi, body):
    platform.will(Reply(body), Reply(body))
    for method, action in (("POST", Action.UNKNOWN), ("GET", Action.RETRY)):
        error = refusal(api.call, method, "cgi-bin/x")
        assert (error.code, error.action) == ("html", action)


def test_an_errcode_counts_whatever_the_status(platform: Recorder, api: WeixinApi):
    platform.will(Reply(b'{"errcode":"40164","errmsg":"invalid ip 1.2.3.4"}', 500), Reply(b'{"errcode":0}', 500))
    assert refusal(api.call, "POST", "cgi-bin/x").code == "40164"
    assert api.call("POST", "cgi-bin/x") == {"errcode": 0}


def test_words_of_a_proxy_are_no_success(platform: Recorder, api: WeixinApi):
    platform.will(Reply(b'{"message":"forbidden"}', 403))
    assert refusal(api.call, "POST", "cgi-bin/x").action == Action.CONFIG


# -- a part that is not understood


@pytest.mark.parametrize("code", [40035, 47001])
def test_a_part_that_is_not_understood_is_left_out_once(platform: Recorder, api: WeixinApi, code):
    platform.will(says(code))
    assert api.say("cgi-bin/x", {"a": 1, "b": 2}, {"a": 1}) == ({"errcode": 0, "errmsg": "ok"}, True)
    assert [request.json for request in platform.requests] == [{"a": 1, "b": 2}, {"a": 1}]


@pytest.mark.parametrize(
    ("replies", "bare", "code"),
    [
        ([says(47001), says(47001), says()], {}, "47001"),
        ([says(47001), says(40001), says()], {}, "40001"),
        ([says(40001), says(47001), says()], {}, "47001"),
        ([says(45047)], {}, "45047"),
        ([says(47001)], {"a": 1}, "47001"),
        ([Reply(fault="hang")], {}, "timeout"),
    ],
)
def test_no_message_is_sent_more_than_twice(
    platform: Recorder, api: WeixinApi, tokens: FixedTokens, replies, bare, code
):
    platform.will(*replies)
    assert refusal(api.say, "cgi-bin/x", {"a": 1}, bare).code == code
    assert len(platform.requests) == min(len(replies), 2)
    assert len(tokens.refused) <= 1


def test_a_lost_answer_is_unknown(platform: Recorder, api: WeixinApi):
    platform.will(Reply(fault="hang"), Reply(fault="reset"))
    for code in ("timeout", "reset"):
        error = refusal(api.say, "cgi-bin/x", {"a": 1}, {"a": 1})
        assert (error.code, error.action) == (code, Action.UNKNOWN)
        assert "token1" not in f"{error} {error!r}"


# -- the token


def test_the_stable_token_is_fetched_and_never_forced(platform: Recorder, api: WeixinApi, tokens: FixedTokens):
    platform.will(Reply(b'{"access_token":"%s","expires_in":6912}' % (b"a" * 512)))
    token = api.fetch_token("wx1", "s/+ecret")
    assert (token.value, token.expires_in) == ("a" * 512, 6912)
    (sent,) = platform.requests
    assert (sent.method, sent.path, sent.query) == ("POST", "/cgi-bin/stable_token", {})
    assert sent.json == {
        "grant_type": "client_credential",
        "appid": "wx1",
        "secret": "s/+ecret",
        "force_refresh": False,
    }
    assert "aaa" not in repr(token)


@pytest.mark.parametrize(("life", "believed"), [(1, 1), (7201, 7201), (604_800, 604_800), (604_801, 7200)])
def test_a_life_of_up_to_a_week_is_believed(platform: Recorder, api: WeixinApi, life, believed):
    platform.will(says(access_token=" t ", expires_in=life))
    token = api.fetch_token("wx1", "s")
    assert (token.value, token.expires_in) == ("t", believed)


@pytest.mark.parametrize("life", ["null", '""', '"2h"', "[]", "-5", "0", "1e300", '"7200"', "7200.0", "true", "1e400"])
def test_a_life_that_is_no_number_of_seconds_is_the_usual_one(platform: Recorder, api: WeixinApi, life):
    platform.will(Reply(f'{{"errcode":0,"access_token":"t","expires_in":{life}}}'.encode()))
    token = api.fetch_token("wx1", "s")
    assert (token.value, token.expires_in) == ("t", 7200)


def test_an_empty_token_is_none(platform: Recorder, api: WeixinApi):
    platform.will(Reply(b'{"errcode":0,"access_token":" ","expires_in":7200}'))
    with pytest.raises(ChannelError) as caught:
        api.fetch_token("wx1", "s")
    assert (caught.value.code, caught.value.action) == ("html", Action.RETRY)


@pytest.mark.parametrize(
    ("reply", "code", "action"),
    [
        (says(40001, "invalid credential geheim rid: 61725984"), "40001", Action.CONFIG),
        (says(40013, "invalid appid"), "40013", Action.CONFIG),
        (says(40125, "invalid appsecret geheim"), "40125", Action.CONFIG),
        (says(40164, "invalid ip 1.2.3.4, not in whitelist"), "40164", Action.CONFIG),
        (says(40243, "frozen"), "40243", Action.CONFIG),
        (says(45009, "reach max api daily quota limit"), "45009", Action.WAIT),
        (says(45011, "freq"), "45011", Action.WAIT),
        (says(89507, "refused"), "89507", Action.WAIT),
        (says(-1, "system error"), "-1", Action.RETRY),
        (says(), "html", Action.RETRY),
        (Reply(b'{"access_token":7}'), "html", Action.RETRY),
        (Reply(b"geheim", 502), "http_502", Action.RETRY),
        (Reply(fault="reset"), "reset", Action.RETRY),
    ],
)
def test_a_token_that_is_not_given_names_no_secret(platform: Recorder, api: WeixinApi, reply, code, action):
    platform.will(reply)
    error = refusal(api.fetch_token, "wx1", "geheim")
    assert (error.code, error.action) == (code, action)
    assert "geheim" not in f"{error} {error!r} {error.response}"
    assert len(platform.requests) == 1


# -- files


def media(body: bytes, status: int = 200, **headers: str) -> Reply:
    named = {"Content-Type": "application/octet-stream", **{n.replace("_", "-"): v for n, v in headers.items()}}
    return Reply(body, status, tuple(named.items()))


@pytest.mark.parametrize(
    ("kind", "body"), [("image/jpeg", b"\xff\xd8"), ("text/plain", b"no object"), ("audio/amr", b"{amr")]
)
def test_a_file_is_downloaded(platform: Recorder, api: WeixinApi, kind, body):
    platform.will(media(body, Content_Type=kind))
    response = api.download("m/1")
    assert (response.body, response.headers["content-type"]) == (body, kind)
    (sent,) = platform.requests
    assert (sent.path, sent.query) == ("/cgi-bin/media/get", {"media_id": "m/1", "access_token": "token1"})


@pytest.mark.parametrize("kind", ["text/plain", "application/json; charset=utf-8"])
def test_a_video_is_fetched_where_it_lies(platform: Recorder, api: WeixinApi, kind):
    """Through a redirect, as file servers have it, and without the token."""
    words = json.dumps({"video_url": f"{platform.url}/v?x=1"}).encode()
    platform.will(
        media(words, Content_Type=kind), media(b"", 302, Location="/w"), media(b"mp4", Content_Type="video/mp4")
    )
    assert api.download("m").body == b"mp4"
    assert [request.path for request in platform.requests] == ["/cgi-bin/media/get", "/v", "/w"]
    assert [request.query for request in platform.requests[1:]] == [{"x": "1"}, {}]


@pytest.mark.parametrize(
    ("url", "code"),
    [("http://10.0.0.1/v", "address_private"), ("file:///etc/passwd", "address_invalid"), ("%s/v", "video")],
)
def test_a_video_is_not_fetched_from_anywhere(platform: Recorder, api: WeixinApi, url, code):
    """A private address is refused by the guard; an address that does not have it is asked for again."""
    words = json.dumps({"video_url": url.replace("%s", platform.url)}).encode()
    platform.will(media(words, Content_Type="text/plain"), media(b"gone", 404))
    error = refusal(api.download, "m")
    assert error.code == code
    assert (code == "video") == (error.action == Action.RETRY)


def test_a_video_is_fetched_as_an_address_in_a_message(platform: Recorder, tokens: FixedTokens):
    """What staff allowed for the API is closed to addresses that come in an answer."""
    words = json.dumps({"video_url": f"{platform.url}/v"}).encode()
    platform.will(*[media(words, Content_Type="text/plain")] * 2, media(b"mp4"))
    local = ["127.0.0.1:*"]
    error = refusal(WeixinApi(Http(local), platform.url, tokens).download, "m")
    assert (error.code, len(platform.requests)) == ("address_private", 1)
    assert WeixinApi(Http(local, allowed_in_messages=local), platform.url, tokens).download("m").body == b"mp4"


def test_a_download_renews_the_token_too(platform: Recorder, api: WeixinApi, tokens: FixedTokens):
    platform.will(says(42001), media(b"file"))
    assert api.download("m").body == b"file"
    assert tokens.refused == ["token1"]


@pytest.mark.parametrize(
    ("reply", "code", "action"),
    [
        (says(40007, "invalid media_id"), "40007", Action.RETRY),
        (Reply(b'{"errcode":48001}', 200, (("Content-Type", "text/plain"),)), "48001", Action.PERMANENT),
        (Reply(b'\xef\xbb\xbf {"errcode":"48001"}', 200, (("Content-Type", "text/plain"),)), "48001", Action.PERMANENT),
        (says(), "html", Action.RETRY),
        (media(b"<html>", 502), "http_502", Action.RETRY),
    ],
)
def test_words_are_no_file(platform: Recorder, api: WeixinApi, reply, code, action):
    platform.will(reply)
    error = refusal(api.download, "m")
    assert (error.code, error.action) == (code, action)
    assert error.capability == ("media" if code == "48001" else "")


# -- quotas


def test_a_quota_is_told(platform: Recorder, api: WeixinApi):
    platform.will(
        says(
            quota={"daily_limit": 500000, "used": 3, "remain": 499997},
            rate_limit={"call_count": 200, "refresh_second": 60},
        )
    )
    path = "cgi-bin/message/custom/send"
    assert api.quota(path) == Quota(path, 500000, 3, 499997, 200, 60)
    (sent,) = platform.requests
    assert (sent.path, sent.json) == ("/cgi-bin/openapi/quota/get", {"cgi_path": f"/{path}"})


@pytest.mark.parametrize("more", [{}, {"quota": None, "rate_limit": []}, {"quota": {"used": "x"}}])
def test_a_quota_may_say_little(platform: Recorder, api: WeixinApi, more):
    platform.will(says(**more))
    assert api.quota("cgi-bin/x") == Quota("cgi-bin/x", 0, 0, 0)


@pytest.mark.parametrize(
    ("make", "action"),
    [
        (lambda api: api.quota("cgi-bin/x"), Action.RETRY),
        (lambda api: api.clear_quotas("wx1"), Action.UNKNOWN),  # ten times a month
    ],
)
def test_only_a_call_that_uses_up_nothing_is_repeated(platform: Recorder, api: WeixinApi, make, action):
    platform.will(Reply(fault="reset"))
    assert refusal(make, api).action == action


def test_quotas_are_cleared_on_request(platform: Recorder, api: WeixinApi):
    platform.will(says(48006, "forbid to clear quota because of reaching the limit"))
    assert refusal(api.clear_quotas, "wx1").action == Action.WAIT
    api.clear_quotas("wx1")
    assert [(request.path, request.json) for request in platform.requests] == [
        ("/cgi-bin/clear_quota", {"appid": "wx1"})
    ] * 2


@pytest.mark.parametrize(
    ("value", "number"), [(7, 7), ("7", 7), (True, 0), ("x", 0), (None, 0), (1.5, 0), (7.0, 7), ("9" * 5000, 0)]
)
def test_a_number_may_be_text(value, number):
    assert whole(value) == number


def test_what_is_no_object_is_empty():
    assert decoded(b"[1]") == decoded(b"\xff") == decoded(b"") == {}


@pytest.mark.parametrize(
    ("name", "call"),
    [
        ("token_timeout", lambda api: api.fetch_token("wx1", "s")),
        (
            "file_timeout",
            lambda api: api.call("POST", "cgi-bin/x", fields={"media": ("a", b"x", "a/b")}, harmless=True),
        ),
        ("file_timeout", lambda api: api.download("m")),
    ],
)
def test_tokens_and_files_have_a_time_of_their_own(platform: Recorder, tokens: FixedTokens, monkeypatch, name, call):
    """A token's is shorter than the lease of the process for which all others wait."""
    assert sum(WeixinApi.token_timeout) < LEASE_SECONDS
    monkeypatch.setattr(WeixinApi, name, (2.0, 0.2))
    platform.will(Reply(fault="hang"))
    with pytest.raises(ChannelError) as caught:
        call(WeixinApi(Http(["127.0.0.1:*"], (60, 60)), platform.url, tokens))
    assert (caught.value.code, caught.value.action) == ("timeout", Action.RETRY)


def test_a_call_without_tokens_is_a_mistake_of_ours(platform: Recorder):
    with pytest.raises(RuntimeError):
        WeixinApi(Http(["127.0.0.1:*"]), platform.url).call("GET", "cgi-bin/x")
