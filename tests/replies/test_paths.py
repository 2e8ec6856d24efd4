"""Which path an account's answers take, and what each path says when it is asked."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from django.utils import timezone

from accounts import capabilities
from accounts.channels import build_channel
from bridge.models import Carrier, Message
from bridge.people import peers
from bridge.pipeline.delivery import lanes
from bridge.pipeline.replies import paths
from bridge.pipeline.replies.paths import EventReply, PassiveReply, Push, ReplyPath, StreamThenUrl
from channels_wechat.weixin.errors import WEIXIN
from tests.support.factories import FAN, GROUP, answer, app, bot, mini, official, route, row, turn

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from django.test.utils import CaptureQueriesContext

    from accounts.models import ChannelAccount

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("valkey")]
REFUSED = WEIXIN.error(48001, capability="custom_send")
REPLY = "https://qyapi.weixin.qq.com/cgi-bin/aibot/response?response_code=secret"


@pytest.fixture(autouse=True)
def _nothing_known() -> Iterator[None]:
    """Ids of rows come again in another test."""
    capabilities._known.clear()
    yield
    capabilities._known.clear()


def path_of(account: ChannelAccount) -> ReplyPath:
    return paths.path_for(build_channel(account), account.pk)


def automatic() -> ChannelAccount:
    return official(answers="automatic")


def refused() -> ChannelAccount:
    account = automatic()
    capabilities.restrict(account, "custom_send", REFUSED)
    return account


def passive() -> ChannelAccount:
    return official(answers="passive")


@pytest.mark.parametrize(
    ("make", "expected", "can_push", "sends", "holds"),
    [
        (app, EventReply, True, True, False),
        (mini, Push, True, True, False),
        (bot, StreamThenUrl, False, True, False),
        (automatic, Push, True, True, True),
        (refused, PassiveReply, False, False, True),
        (passive, PassiveReply, False, False, True),
    ],
)
def test_each_account_has_one_path(
    make: Callable[[], ChannelAccount], expected: type[ReplyPath], *, can_push: bool, sends: bool, holds: bool
) -> None:
    account = make()
    path = path_of(account)
    assert type(path) is expected
    assert type(paths.path_as_cached(path.channel, account.pk)) is expected
    assert (path.can_push, path.sends_messages, path.answers_callbacks) == (can_push, sends, expected is PassiveReply)
    assert (paths.is_polled(account.kind), paths.holds_requests(account.kind)) == (expected is StreamThenUrl, holds)


@pytest.mark.parametrize(("make", "must_ask"), [(app, False), (bot, False), (passive, False), (automatic, True)])
def test_an_event_loop_gets_a_path_without_a_query_or_none(
    make: Callable[[], ChannelAccount],
    *,
    must_ask: bool,
    django_assert_num_queries: Callable[[int], CaptureQueriesContext],
) -> None:
    account = make()
    channel = build_channel(account)
    with django_assert_num_queries(0):
        assert (paths.path_without_query(channel, account.pk) is None) is must_ask
    found = paths.path_for(channel, account.pk)
    with django_assert_num_queries(0):
        assert type(paths.path_without_query(channel, account.pk)) is type(found)


def test_what_waited_for_its_reader_is_sent_once_the_account_may_send() -> None:
    account = passive()
    route(account)
    question = turn(account, "hello", FAN, raw={"FromUserName": FAN, "ToUserName": "gh_1", "CreateTime": "1"}).message
    part = answer(question).deliveries.get()
    assert lanes.is_unread_part(part)
    kept = path_of(account).requeue(part)
    assert (kept["carrier"], kept["lane"]) == (Carrier.HTTP_REPLY, part.lane)
    account.credentials |= {"answers": "messages"}
    sent = path_of(account).requeue(part)
    assert (sent["carrier"], sent["lane"]) == (Carrier.WORKER, f"out:{question.conversation_id}")
    assert sent["due_at"] <= timezone.now() < kept["due_at"]


@pytest.mark.parametrize(
    ("reply", "columns", "carrier"),
    [(REPLY, {}, Carrier.HTTP_REPLY), (REPLY, {"kind": "event"}, Carrier.WORKER), ("", {"kind": "event"}, None)],
)
def test_a_stream_carries_it_again_else_the_address_else_nothing(
    reply: str, columns: dict[str, str], carrier: Carrier | None
) -> None:
    account = bot()
    route(account)
    question = turn(account, group=GROUP, reply=reply).message
    part = answer(question).deliveries.get()
    Message.objects.filter(pk=question.pk).update(**columns)
    path, fresh, message = path_of(account), row(part), Message.objects.get(source="agent")
    assert path.carrier_for(fresh) == carrier
    assert path.requeue(fresh)["carrier"] == (carrier or part.carrier)
    assert path.address(message) == reply
    assert path.why_not_send(fresh, message) == (None if reply else "no_reply")


@pytest.mark.parametrize(("make", "speaks"), [(app, True), (automatic, True), (refused, False), (bot, False)])
def test_only_who_can_push_speaks_unasked(make: Callable[[], ChannelAccount], *, speaks: bool) -> None:
    path = path_of(make())
    assert (path.why_not(peers.peer_of("direct", FAN)) == "") is speaks
