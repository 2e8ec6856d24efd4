"""The account of a self-built app: its address, token, test, limits and form."""

from __future__ import annotations

import pytest

from channels_wechat.contract.errors import ChannelError
from channels_wechat.contract.explanations import Action
from channels_wechat.contract.messages import Content, Identity
from channels_wechat.wecom.app.channel import WeComApp
from channels_wechat.wire.http import Http
from tests.channels.harness import Recorder, says
from tests.channels.wecom.app import CREDENTIALS, GROUP, KEY, ZHANG, connected


def test_without_an_address_of_its_own_it_calls_wecom():
    identity = Identity("key", "ww1/1000002", CREDENTIALS)
    assert WeComApp(identity, Http()).base_url == "https://qyapi.weixin.qq.com"


def test_how_long_what_it_holds_is_good_for(app: WeComApp):
    """A media id lives three days; a message can be recalled for one."""
    assert 24 * 3600 < app.handle_seconds < 3 * 24 * 3600
    assert app.recall_seconds == 24 * 3600


def test_the_token_is_fetched_with_the_secret(platform: Recorder, app: WeComApp):
    platform.will(says(access_token="t", expires_in=7200))
    assert app.fetch_token().value == "t"
    assert platform.requests[0].query == {"corpid": "ww1", "corpsecret": "geheim"}


def test_the_test_says_what_works(platform: Recorder, app: WeComApp):
    platform.will(says(agentid=1000002, name="客服", close=0))
    sentences = app.test()
    assert len(sentences) == 3
    assert "客服" in sentences[-1]
    assert (platform.requests[0].path, platform.requests[0].query["agentid"]) == ("/cgi-bin/agent/get", "1000002")


@pytest.mark.parametrize(
    ("reply", "code"),
    [
        (says(60020, "from ip: 203.0.113.7"), "60020"),
        (says(301002), "301002"),
        (says(name="x", close=1), "app_disabled"),
    ],
)
def test_the_test_says_what_does_not(platform: Recorder, app: WeComApp, reply, code):
    platform.will(reply)
    with pytest.raises(ChannelError) as caught:
        app.test()
    assert (caught.value.code, caught.value.action) == (code, Action.CONFIG)


def test_limits_follow_the_seats(platform: Recorder, app: WeComApp):
    declared = {limit.name: (limit.count, limit.per, limit.scope) for limit in connected(platform, seats=5).limits}
    assert declared == {
        "member-minute": (30, 60, "direct"),
        "member-hour": (1000, 3600, "direct"),
        "group-minute": (200, 60, "group"),
        "group-day": (10_000, 86400, "group"),
        "minute": (10_000, 60, "account"),
        "hour": (150_000, 3600, "account"),
        "day": (1000, 86400, "account"),
    }
    assert "day" not in {limit.name for limit in app.limits}


@pytest.mark.parametrize(("style", "word"), [("text", "plain text"), ("markdown", "Markdown is shown")])
def test_the_agent_is_told_where_it_speaks(platform: Recorder, style, word):
    app = connected(platform, format=style)
    assert word in app.surface(ZHANG)
    assert "one-to-one" in app.surface(ZHANG)
    assert "cannot be heard" in app.surface(GROUP)


def test_the_format_decides_what_is_rendered(platform: Recorder, app: WeComApp):
    assert app.render(Content("**x**"))[0].body["msgtype"] == "text"
    assert connected(platform, format="markdown").render(Content("**x**"))[0].body["msgtype"] == "markdown"


def test_every_kind_it_names_is_rendered():
    assert set(WeComApp.content_kinds) == {
        *(
            "image",
            "voice",
            "video",
            "file",
            "markdown",
            "textcard",
            "news",
            "mpnews",
            "miniprogram_notice",
            "template_card",
        )
    }


FORM = {
    "corp_id": "ww1",
    "agent_id": "1000002",
    "secret": "s",
    "token": "QDG6eK",
    "encoding_aes_key": KEY,
    "format": "text",
}


def test_the_form_takes_what_the_console_gives():
    form = WeComApp.Credentials({**FORM, "corp_id": " ww1 ", "seats": "12"})
    assert form.is_valid(), form.errors
    assert form.cleaned_data == {**FORM, "agent_id": 1000002, "seats": 12}
    assert form.secrets == {"secret", "token", "encoding_aes_key"}


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("corp_id", "wx5823bf96d3bd56c7"),  # as the older ones are
        ("corp_id", "ww" + "Aa0_-" * 12),
        ("token", "a"),
        ("token", "aZ09" * 8),
    ],
)
def test_the_form_takes_every_shape_of_an_id(field, value):
    assert not WeComApp.Credentials({**FORM, field: value}).errors


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("corp_id", ""),
        ("corp_id", "gh_97417a04a28d"),
        ("corp_id", "ww 1"),
        ("agent_id", "x"),
        ("agent_id", "0"),
        ("secret", ""),
        ("token", "a" * 33),
        ("token", "a-b"),
        ("encoding_aes_key", "a" * 42),
        ("encoding_aes_key", "a" * 44),
        ("encoding_aes_key", "-" * 43),
        ("seats", "0"),
        ("format", "html"),
    ],
)
def test_the_form_refuses_what_cannot_be(field, value):
    form = WeComApp.Credentials({**FORM, field: value})
    assert list(form.errors) == [field]


def test_the_form_says_how_long_the_key_is():
    form = WeComApp.Credentials({**FORM, "encoding_aes_key": "abc"})
    assert "43 characters" in form.errors["encoding_aes_key"][0]


def test_a_blank_secret_passes_where_the_stored_one_is_kept():
    form = WeComApp.Credentials({**FORM, "encoding_aes_key": ""})
    form.fields["encoding_aes_key"].required = False
    assert form.is_valid()
    assert form.cleaned_data["encoding_aes_key"] == ""


def test_no_secret_is_shown(app: WeComApp):
    assert not any(secret in repr(app.identity) for secret in ("geheim", KEY, "QDG6eK"))
