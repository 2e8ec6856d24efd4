"""For each rule: what it watches is broken, the alert arrives at a robot; it is mended, and its end arrives too."""

from __future__ import annotations

from datetime import datetime, time, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from django.utils import timezone

from accounts.channels import stored_tokens
from accounts.health import Health
from accounts.models import AccessToken, ChannelAccount
from bridge.explanations.incidents import severity_of
from bridge.models import AlertChannel, AlertRule, Conversation, Delivery, Incident, Message, Reason, RuleKind
from bridge.operations import alert_rules, incidents, sending
from channels_wechat.contract.errors import ChannelError
from tests.channels.harness import recorder, says
from tests.support import factories
from tests.support.factories import alert_rule, app, gateway, hear, shift, to_send, turn

if TYPE_CHECKING:
    from collections.abc import Iterator

    import redis

    from tests.channels.harness import Recorder

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("valkey")]


@pytest.fixture
def server(settings: Any) -> Iterator[Recorder]:
    settings.ALERT_EMAIL, settings.ALERT_WEBHOOK_URL = [], ""
    with recorder() as found:
        yield found


@pytest.fixture
def only(server: Recorder) -> Any:
    """only(kind, …): a robot that is told by this rule alone, with these columns."""

    def make(kind: str, **columns: Any) -> AlertRule:
        channel = factories.alert_channel("robot", url=f"{server.url}/cgi-bin/webhook/send?key=robot-secret")
        rule = alert_rule(kind, **columns)
        channel.rules.add(rule)
        return rule

    return make


def told(server: Recorder) -> list[str]:
    """Look for problems, and return the first lines of the alerts since the last look."""
    incidents.update_incidents()
    posted = [request for request in server.requests if request.path == "/cgi-bin/webhook/send"]
    server.requests.clear()
    return [request.json["text"]["content"].splitlines()[0] for request in posted]


def test_an_account_that_is_down(server: Recorder, only: Any) -> None:
    only(RuleKind.ACCOUNT_DOWN)
    account = app()
    assert told(server) == []
    account.set_state(Health.STOPPED, "40001")
    assert told(server) == ["Account Acme app is down"]
    account.revive()
    assert told(server) == ["Resolved: Account Acme app is down"]


def test_a_gateway_that_is_down(server: Recorder, only: Any) -> None:
    only(RuleKind.GATEWAY_DOWN)
    home = gateway()
    home.set_state(Health.STOPPED, "unreachable")
    assert told(server) == [f"Gateway {home.name} is down"]
    home.revive()
    assert told(server) == [f"Resolved: Gateway {home.name} is down"]


def test_messages_that_wait(server: Recorder, only: Any) -> None:
    only(RuleKind.BACKLOG, minutes=10)
    waiting = to_send(app())
    shift(waiting, queued_at=-590)
    assert told(server) == []
    shift(waiting, queued_at=-601)
    title = "Account Acme app: messages have been waiting for more than 10 minutes"
    assert told(server) == [title]
    assert told(server) == []
    shift(waiting, state="delivered", finished_at=0)
    assert told(server) == [f"Resolved: {title}"]


def test_messages_that_wait_longer_because_staff_stop_sending_are_not_told_as_sent(server: Recorder, only: Any) -> None:
    only(RuleKind.BACKLOG, minutes=10)
    shift(to_send(account := app()), queued_at=-601)
    (title,) = told(server)
    sending.stop_sending(account)
    assert told(server) == [f"No longer watched: {title}"]
    sending.allow_sending(account)
    assert told(server) == [title]


def test_a_rate_of_failures(server: Recorder, only: Any) -> None:
    only(RuleKind.FAILURE_RATE, minutes=10, percent=50, least_count=2)
    account = app()
    sent = [to_send(account, str(number)) for number in range(4)]
    for delivery in sent[:1]:
        shift(delivery, state="dead", reason=Reason.PERMANENT, finished_at=0)
    for delivery in sent[2:]:
        shift(delivery, state="delivered", finished_at=0)
    assert told(server) == []
    shift(sent[1], state="uncertain", reason=Reason.UNKNOWN, finished_at=0)
    assert told(server) == ["Account Acme app: 50 % of the deliveries fail"]
    Delivery.objects.update(created_at=timezone.now() - timedelta(minutes=11))
    assert told(server) == ["Resolved: Account Acme app: 50 % of the deliveries fail"]


def test_failures_of_certain_codes(server: Recorder, only: Any) -> None:
    only(RuleKind.FAILURE_CODES, codes=["81013"])
    account = app()
    first, second = to_send(account, "1"), to_send(account, "2")
    shift(first, state="dead", reason=Reason.PERMANENT, code="40058", finished_at=0)
    assert told(server) == []
    shift(second, state="dead", reason=Reason.PERMANENT, code="81013", finished_at=0)
    (title,) = told(server)
    assert title.startswith("Account Acme app: failed deliveries")
    shift(second, dismissed_at=0)
    assert told(server) == [f"Resolved: {title}"]


def test_a_token_that_cannot_be_refreshed(server: Recorder, only: Any) -> None:
    only(RuleKind.TOKEN)
    account = app(server.url)
    server.will(says(45009, "reach max api daily quota limit"))
    with pytest.raises(ChannelError):
        stored_tokens(account).current()
    assert AccessToken.objects.get().failure_code
    assert told(server) == ["Account Acme app: the access token cannot be refreshed"]
    AccessToken.objects.update(wait_until=timezone.now() - timedelta(seconds=1))
    server.will(says(40001, "invalid secret"))
    with pytest.raises(ChannelError):
        stored_tokens(account).current()
    account.set_state(Health.STOPPED, "40001")
    assert told(server) == [], "it is worse, not over"
    account.revive()
    server.will(says(access_token="next", expires_in=7200))
    stored_tokens(account).current()
    assert told(server) == ["Resolved: Account Acme app: the access token cannot be refreshed"]


def test_a_token_that_nobody_refreshes(server: Recorder, only: Any) -> None:
    only(RuleKind.TOKEN, minutes=3)
    AccessToken.objects.create(account=app(), value="token", expires_at=timezone.now() + timedelta(minutes=4))
    assert told(server) == []
    AccessToken.objects.update(expires_at=timezone.now() + timedelta(minutes=2))
    assert told(server) == ["Account Acme app: the access token ends and was not refreshed"]


def test_silence(server: Recorder, only: Any) -> None:
    only(RuleKind.SILENCE, minutes=120)
    account = app()
    assert told(server) == [], "it is new"
    hear(account)
    Message.objects.update(created_at=timezone.now() - timedelta(minutes=121))
    assert told(server) == ["Account Acme app receives nothing"]
    hear(account, "again")
    assert told(server) == ["Resolved: Account Acme app receives nothing"]


def test_people_who_wait_for_staff(server: Recorder, only: Any) -> None:
    only(RuleKind.WAITING_CHATS, minutes=10)
    factories.route(account := app())
    first, second = turn(account, "1"), turn(account, "2", sender="lisi")
    Conversation.objects.update(mode="human")
    for asked in (first, second):
        shift(asked, state="skipped", reason=Reason.HUMAN, finished_at=0, created_at=-540)
    assert told(server) == []
    title = "Account Acme app: chats have been waiting for staff for more than 10 minutes"
    for longest in (first, second):
        shift(longest, created_at=-601)
        assert told(server) == [title]
        assert told(server) == []
        shift(longest, dismissed_at=0)
        assert told(server) == [f"Resolved: {title}"], "the others do not wait so long yet"
    assert not Incident.objects.filter(closed_at=None).exists()


def test_nobody_is_told_of_people_who_were_answered_soon(server: Recorder, only: Any) -> None:
    only(RuleKind.WAITING_CHATS, minutes=10)
    only(RuleKind.OTHER)
    factories.route(account := app())
    asked = turn(account)
    Conversation.objects.update(mode="human")
    shift(asked, state="skipped", reason=Reason.HUMAN, finished_at=0)
    assert told(server) == []
    shift(asked, dismissed_at=0)
    assert told(server) == []
    AlertChannel.objects.update(created_at=timezone.now() - timedelta(days=1))
    since, until = (timezone.now() - timedelta(minutes=minutes) for minutes in (25, 16))
    assert Incident.objects.update(first_seen_at=since, opened_at=since, closed_at=until) == 1
    assert told(server) == []


def test_no_worker_sweeps(server: Recorder, only: Any, valkey: redis.Redis) -> None:
    only(RuleKind.WORKER_SILENT)
    incidents.record_sweep()
    assert told(server) == []
    valkey.set("swept", float(valkey.get("swept")) - 600)  # type: ignore[arg-type]
    assert told(server) == ["Worker or beat does not work"]
    incidents.record_sweep()
    assert told(server) == ["Resolved: Worker or beat does not work"]
    valkey.delete("swept")  # its age would be a problem to later tests


@pytest.mark.parametrize(("kind", "code"), [(RuleKind.QUOTA, "quota_low"), (RuleKind.OTHER, "spooled")])
def test_the_other_kinds_match_what_is_found_anyway(server: Recorder, only: Any, kind: RuleKind, code: str) -> None:
    only(kind)
    incident = factories.incident("x", code, code_params={"name": "A", "count": 1})
    assert told(server) == [f"Resolved: {incident.title}"], "found and gone before anybody looked"


@pytest.mark.parametrize(("least", "count"), [(2, 0), (1, 1)])
def test_a_notice_is_told_only_where_a_rule_asks_for_notices(
    server: Recorder, only: Any, least: int, count: int
) -> None:
    assert severity_of("window_closed") == 1
    only(RuleKind.OTHER, least_severity=least)
    factories.incident("x", "window_closed", severity=1, code_params={"name": "A", "count": 1})
    assert len(told(server)) == count


def test_a_rule_that_is_disabled_did_not_end_the_problem(server: Recorder, only: Any) -> None:
    rule = only(RuleKind.BACKLOG, minutes=10)
    shift(to_send(app()), queued_at=-601)
    (title,) = told(server)
    AlertRule.objects.filter(pk=rule.pk).update(enabled=False)
    assert told(server) == [f"No longer watched: {title}"]


def test_a_rule_of_some_accounts_looks_at_no_other(server: Recorder, only: Any) -> None:
    mine, other = app(), app(agent_id=7)
    only(RuleKind.BACKLOG, minutes=10).accounts.add(mine)
    shift(to_send(other), queued_at=-601)
    assert told(server) == []
    shift(to_send(mine), queued_at=-601)
    assert len(told(server)) == 1
    assert Incident.objects.filter(code="backlog").get().account == ChannelAccount.objects.get(pk=mine.pk)


@pytest.mark.parametrize(
    ("since", "until", "hours"),
    [
        ((1, 17), (4, 10), 2),  # Friday evening to Monday morning
        ((1, 10), (1, 12), 2),
        ((2, 10), (3, 20), 0),
        ((4, 8), (5, 10), 10),
    ],
)
def test_only_working_time_counts_as_silence(since: tuple[int, int], until: tuple[int, int], hours: int) -> None:
    """May 2026 begins on a Friday."""
    rule = AlertRule(work_from=time(9), work_until=time(18), weekdays_only=True)
    zone = timezone.get_default_timezone()
    first, last = (datetime(2026, 5, day, hour, tzinfo=zone) for day, hour in (since, until))
    assert alert_rules.working_time(rule, first, last) == timedelta(hours=hours)
