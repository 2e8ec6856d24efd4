"""Calls: the token, its one renewal, what an answer must look like, and downloads in pieces."""

from __future__ import annotations

import pytest

from accounts.tokens import LEASE_SECONDS
from channels_wechat.contract.errors import ChannelError
from channels_wechat.contract.explanations import Action
from channels_wechat.wecom.api import PIECE, WeComApi
from channels_wechat.wire.http import Http, file_name
from tests.channels.harness import FixedTokens, Recorder, Reply, recorder, says


@pytest.fixture
def platform():
    with recorder() as server:
        yield server


@pytest.fixture
def tokens() -> FixedTokens:
    return FixedTokens()


@pytest.fixture
def api(platform: Recorder, tokens: FixedTokens) -> WeComApi:
    return WeComApi(Http(["127.0.0.1:*"]), platform.url, tokens)


def test_a_call_carries_the_token_in_its_address(platform: Recorder, api: WeComApi):
    platform.will(says(value=7))
    assert api.call("POST", "cgi-bin/x", json={"a": "你"}, query={"q": "1 2"})["value"] == 7
    sent = platform.requests[0]
    assert (sent.method, sent.path) == ("POST", "/cgi-bin/x")
    assert sent.query == {"q": "1 2", "access_token": "token1"}
    assert sent.body == '{"a": "你"}'.encode()


@pytest.mark.parametrize("code", [40014, 42001, 41001])
def test_a_refused_token_is_renewed_once(platform: Recorder, api: WeComApi, tokens: FixedTokens, code):
    platform.will(says(code, "invalid access_token"))
    assert api.call("POST", "cgi-bin/x", json={})["errcode"] == 0
    assert tokens.refused == ["token1"]
    assert [request.query["access_token"] for request in platform.requests] == ["token1", "token2"]


def test_a_token_refused_twice_is_tried_later(platform: Recorder, api: WeComApi, tokens: FixedTokens):
    platform.will(says(42001), says(40014, "invalid access_token token2"))
    with pytest.raises(ChannelError) as caught:
        api.call("POST", "cgi-bin/x", json={})
    assert (caught.value.code, caught.value.action) == ("40014", Action.RETRY)
    assert tokens.refused == ["token1"]
    assert len(platform.requests) == 2
    assert "token2" not in f"{caught.value} {caught.value.response}"


def test_another_error_renews_nothing(platform: Recorder, api: WeComApi, tokens: FixedTokens):
    platform.will(says(81013, "user & party & tag all invalid"))
    with pytest.raises(ChannelError) as caught:
        api.call("POST", "cgi-bin/x", json={})
    assert (caught.value.code, caught.value.response["errmsg"]) == ("81013", "user & party & tag all invalid")
    assert (tokens.refused, len(platform.requests)) == ([], 1)


@pytest.mark.parametrize(
    "body",
    [
        b"<html>",
        b"",
        b"[]",
        b"null",
        b"7",
        b"{}",
        b'{"a":1}',
        b'{"errcode":""}',
        b'{"errcode":null}',
        b'{"errcode":true}',
        b"\xff",
        b"[" * 100_000,
    ],
)
def test_an_answer_without_an_errcode_is_unknown(platform: Recorder, api: WeComApi, body):
    platform.will(Reply(body), Reply(body))
    for method, action in (("POST", Action.UNKNOWN), ("GET", Action.RETRY)):
        with pytest.raises(ChannelError) as caught:
            api.call(method, "cgi-bin/x")
        assert (caught.value.code, caught.value.action) == ("html", action)


@pytest.mark.parametrize(
    "body",
    [
        b'{"errcode":"0","errmsg":"ok"}',
        b'{"errcode":0.0}',
        b'\xef\xbb\xbf{"errcode":0}',
        b'\r\n \xef\xbb\xbf {"errcode":" 0"}',
        b'{"errmsg":"ok"}',
        b'{"access_token":"t","expires_in":7200}',
        b'{"errcode":0,"name":"\xff\x01"}',
    ],
)
def test_an_answer_is_read_with_patience(platform: Recorder, api: WeComApi, body):
    platform.will(Reply(body))
    assert api.call("POST", "cgi-bin/x", json={})["errcode"] == 0
    assert len(platform.requests) == 1


@pytest.mark.parametrize("code", ['"40001"', '" 40001 "', "40001.0"])
@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"])
def test_an_errcode_may_be_text(platform: Recorder, api: WeComApi, code, mark):
    platform.will(Reply(mark + f'{{"errcode":{code},"errmsg":"invalid credential"}}'.encode()))
    with pytest.raises(ChannelError) as caught:
        api.call("POST", "cgi-bin/x", json={})
    assert (caught.value.code, caught.value.action) == ("40001", Action.CONFIG)


def test_a_refused_token_is_renewed_whatever_the_errcode_is_written_as(
    platform: Recorder, api: WeComApi, tokens: FixedTokens
):
    platform.will(Reply(b'\xef\xbb\xbf{"errcode":"42001"}'))
    assert api.call("POST", "cgi-bin/x", json={})["errcode"] == 0
    assert tokens.refused == ["token1"]


def test_an_error_in_the_place_of_a_file_may_be_text(platform: Recorder, api: WeComApi):
    platform.will(Reply(b'\xef\xbb\xbf{"errcode":"40007"}'))
    with pytest.raises(ChannelError) as caught:
        api.download("m")
    assert caught.value.code == "40007"


def test_an_errcode_counts_whatever_the_status(platform: Recorder, api: WeComApi):
    platform.will(Reply(b'{"errcode":60020,"errmsg":"from ip: 1.2.3.4"}', 500))
    with pytest.raises(ChannelError) as caught:
        api.call("POST", "cgi-bin/x", json={})
    assert caught.value.action == Action.CONFIG


def test_a_token_is_fetched(platform: Recorder, api: WeComApi):
    platform.will(says(access_token="a" * 512, expires_in=7200))
    token = api.fetch_token("ww1", "s/+ecret")
    assert (token.value, token.expires_in) == ("a" * 512, 7200)
    assert platform.requests[0].path == "/cgi-bin/gettoken"
    assert platform.requests[0].query == {"corpid": "ww1", "corpsecret": "s/+ecret"}
    assert "aaa" not in repr(token)


@pytest.mark.parametrize("life", ["null", '""', '"2h"', "[]", "-5", "0", "1e300", '"7200"', "7200.0", "true", "1e400"])
def test_a_life_that_is_no_number_of_seconds_is_the_usual_one(platform: Recorder, api: WeComApi, life):
    platform.will(Reply(f'{{"errcode":0,"access_token":" t\\n","expires_in":{life}}}'.encode()))
    token = api.fetch_token("ww1", "s")
    assert (token.value, token.expires_in) == ("t", 7200)


@pytest.mark.parametrize(("life", "believed"), [(1, 1), (7201, 7201), (604_800, 604_800), (604_801, 7200)])
def test_a_life_of_up_to_a_week_is_believed(platform: Recorder, api: WeComApi, life, believed):
    platform.will(says(access_token="t", expires_in=life))
    assert api.fetch_token("ww1", "s").expires_in == believed


def test_an_empty_token_is_none(platform: Recorder, api: WeComApi):
    platform.will(Reply(b'{"errcode":0,"access_token":" ","expires_in":7200}'))
    with pytest.raises(ChannelError) as caught:
        api.fetch_token("ww1", "s")
    assert (caught.value.code, caught.value.action) == ("html", Action.RETRY)


@pytest.mark.parametrize(
    ("reply", "code", "action"),
    [
        (says(40001, "invalid credential geheim, hint"), "40001", Action.CONFIG),
        (says(40013, "invalid corpid"), "40013", Action.CONFIG),
        (says(-1, "system error"), "-1", Action.RETRY),
        (says(), "html", Action.RETRY),
        (Reply(b"geheim", 502), "http_502", Action.RETRY),
        (Reply(fault="reset"), "reset", Action.RETRY),
    ],
)
def test_a_token_that_is_not_given_names_no_secret(platform: Recorder, api: WeComApi, reply, code, action):
    platform.will(reply)
    with pytest.raises(ChannelError) as caught:
        api.fetch_token("ww1", "geheim")
    assert (caught.value.code, caught.value.action) == (code, action)
    assert "geheim" not in f"{caught.value} {caught.value!r} {caught.value.response}"


def media(body: bytes, status: int = 200, **headers: str) -> Reply:
    named = {"Content-Type": "application/octet-stream", **{n.replace("_", "-"): v for n, v in headers.items()}}
    return Reply(body, status, tuple(named.items()))


def test_a_file_is_downloaded(platform: Recorder, api: WeComApi):
    platform.will(media(b"\x89PNG", Content_Type="image/png"))
    response = api.download("m/1")
    assert (response.body, response.headers["content-type"]) == (b"\x89PNG", "image/png")
    assert platform.requests[0].query == {"media_id": "m/1", "access_token": "token1"}


def test_a_download_renews_the_token_too(platform: Recorder, api: WeComApi, tokens: FixedTokens):
    platform.will(says(42001), media(b"file"))
    assert api.download("m").body == b"file"
    assert tokens.refused == ["token1"]


def test_an_error_with_status_200_is_no_file(platform: Recorder, api: WeComApi):
    platform.will(says(40007, "invalid media_id"))
    with pytest.raises(ChannelError) as caught:
        api.download("m")
    assert caught.value.code == "40007"


def test_a_json_file_is_a_file(platform: Recorder, api: WeComApi):
    platform.will(media(b'{"a": 1}', Content_Type="application/json"))
    assert api.download("m").body == b'{"a": 1}'


def test_a_large_file_comes_in_pieces(platform: Recorder, api: WeComApi):
    total = PIECE + 5
    platform.will(
        says(830002, "too large"),
        media(b"a" * PIECE, 206, Content_Range=f"bytes 0-{PIECE - 1}/{total}"),
        media(b"b" * 5, 206, Content_Range=f"bytes {PIECE}-{total - 1}/{total}"),
    )
    response = api.download("m")
    assert (response.status, len(response.body), response.body[-6:]) == (200, total, b"abbbbb")
    ranges = [request.headers.get("Range") for request in platform.requests]
    assert ranges == [None, f"bytes=0-{PIECE - 1}", f"bytes={PIECE}-{2 * PIECE - 1}"]


def test_a_file_that_ends_early_is_fetched_again_later(platform: Recorder, api: WeComApi):
    platform.will(
        says(830002), media(b"a", 206, Content_Range="bytes 0-0/3"), media(b"", 206, Content_Range="bytes 1-2/3")
    )
    with pytest.raises(ChannelError) as caught:
        api.download("m")
    assert (caught.value.code, caught.value.action) == ("short", Action.RETRY)


def test_more_than_100_mb_are_not_fetched(platform: Recorder, api: WeComApi):
    platform.will(says(830002), media(b"a", 206, Content_Range="bytes 0-0/104857601"))
    with pytest.raises(ChannelError) as caught:
        api.download("m")
    assert (caught.value.code, caught.value.action) == ("file_too_large", Action.PERMANENT)
    platform.will(says(830002), media(b"a", 206, Content_Range="bytes 0-0/104857600"), media(b"", 206))
    with pytest.raises(ChannelError) as caught:
        api.download("m")
    assert caught.value.code == "short"


@pytest.mark.parametrize(("status", "action"), [(404, Action.CONFIG), (502, Action.RETRY), (302, Action.CONFIG)])
def test_a_page_is_no_file(platform: Recorder, api: WeComApi, status, action):
    platform.will(media(b"<html>", status))
    with pytest.raises(ChannelError) as caught:
        api.download("m")
    assert (caught.value.code, caught.value.action) == (f"http_{status}", action)


@pytest.mark.parametrize(
    ("header", "name"),
    [
        ('attachment; filename="MEDIA_ID.jpg"', "MEDIA_ID.jpg"),
        ("attachment; filename*=UTF-8''%E6%8A%A5%E5%91%8A.pdf", "报告.pdf"),
        ('attachment; filename="报告.pdf"'.encode().decode("latin-1"), "报告.pdf"),
        ('attachment; filename="../../etc/passwd"', "passwd"),
        ('attachment; filename="C:\\\\a\\\\b.txt"', "b.txt"),
        ("attachment", ""),
        ("", ""),
        ('attachment; filename="' + "a" * 300 + '.txt"', "a" * 251 + ".txt"),
    ],
)
def test_a_file_name_is_read_from_its_header(header, name):
    assert file_name(header) == name


@pytest.mark.parametrize(
    ("name", "call"),
    [
        ("token_timeout", lambda api: api.fetch_token("ww1", "s")),
        (
            "file_timeout",
            lambda api: api.call("POST", "cgi-bin/x", fields={"media": ("a", b"x", "a/b")}, harmless=True),
        ),
        ("file_timeout", lambda api: api.download("m")),
    ],
)
def test_tokens_and_files_have_a_time_of_their_own(platform: Recorder, tokens: FixedTokens, monkeypatch, name, call):
    """A token's is shorter than the lease of the process for which all others wait."""
    assert sum(WeComApi.token_timeout) < LEASE_SECONDS
    monkeypatch.setattr(WeComApi, name, (2.0, 0.2))
    platform.will(Reply(fault="hang"))
    with pytest.raises(ChannelError) as caught:
        call(WeComApi(Http(["127.0.0.1:*"], (60, 60)), platform.url, tokens))
    assert (caught.value.code, caught.value.action) == ("timeout", Action.RETRY)


def test_a_call_without_tokens_is_a_mistake_of_ours(platform: Recorder):
    with pytest.raises(RuntimeError):
        WeComApi(Http(["127.0.0.1:*"]), platform.url).call("GET", "cgi-bin/x")
