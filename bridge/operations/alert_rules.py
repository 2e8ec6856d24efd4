"""Finds the problems that staff described by rules: messages that wait, a rate of failures, tokens, and accounts that receive nothing."""

from __future__ import annotations

from datetime import datetime, time, timedelta
from typing import TYPE_CHECKING, Any

from django.db.models import Count, Max, Min, Q
from django.utils import timezone

from accounts.health import Health
from accounts.models import AccessToken, ChannelAccount
from bridge.explanations.tables import nest_cause
from bridge.models import AlertRule, Delivery, Message, RuleKind, State, Target
from bridge.operations.problems.chats import describe_chats, list_for_staff
from bridge.operations.problems.problem import Problem
from channels_wechat import KINDS, channel_class
from channels_wechat.contract.capabilities import Callbacks
from channels_wechat.contract.explanations import Cause

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from datetime import date

    from django.db.models import QuerySet

    from bridge.operations.problems.problem import Names
    from bridge.operations.problems.sql import WaitingChat

# The cause is this, the number of the rule, and the account.
CAUSE = "rule:"
FAILED = (State.DEAD, State.UNCERTAIN)
# Working time is counted back for so many days at most.
MAX_DAYS = 15


def find_problems(_names: Names) -> list[Problem]:
    """Find what each enabled rule describes, in a query or two for each; over all accounts or those of the rule."""
    finders: dict[str, Callable[[AlertRule, QuerySet[ChannelAccount]], Iterator[Problem]]] = {
        RuleKind.BACKLOG: _find_backlog,
        RuleKind.FAILURE_RATE: _find_failure_rate,
        RuleKind.TOKEN: _find_tokens,
        RuleKind.SILENCE: _find_silence,
        RuleKind.WAITING_CHATS: _find_waiting_chats,
    }
    rules = AlertRule.objects.filter(enabled=True, kind__in=finders).prefetch_related("accounts")
    return [problem for rule in rules for problem in finders[rule.kind](rule, _accounts_of(rule))]


def _accounts_of(rule: AlertRule) -> QuerySet[ChannelAccount]:
    rows = ChannelAccount.objects.filter(enabled=True).defer("credentials")
    chosen = [account.pk for account in rule.accounts.all()]
    return rows.filter(pk__in=chosen) if chosen else rows


def _build(rule: AlertRule, code: str, account: ChannelAccount, params: dict[str, Any], **columns: Any) -> Problem:
    params = {**params, "name": account.name, "minutes": rule.minutes}
    return Problem(f"{CAUSE}{rule.pk}:account:{account.pk}", code, params, account_id=account.pk, **columns)


def _find_backlog(rule: AlertRule, accounts: QuerySet[ChannelAccount]) -> Iterator[Problem]:
    """Find accounts with messages that were queued long ago and still wait, whatever for. Uses the index delivery_due."""
    late = Delivery.objects.filter(state=State.PENDING, account__in=accounts.filter(sending_stopped_at=None))
    late = late.exclude(target=Target.WEBHOOK).filter(queued_at__lt=_minutes_ago(rule.minutes)).order_by()
    rows = late.values("account").annotate(count=Count("pk"), first=Min("queued_at"))
    found = {row["account"]: row for row in rows}
    for account in accounts.filter(pk__in=found):
        count = found[account.pk]["count"]
        yield _build(rule, "backlog", account, {"count": count}, count=count, first_seen_at=found[account.pk]["first"])


def _find_failure_rate(rule: AlertRule, accounts: QuerySet[ChannelAccount]) -> Iterator[Problem]:
    """Find accounts of whose deliveries of the last minutes too many failed. Uses the index delivery_day."""
    recent = Delivery.objects.filter(created_at__gte=_minutes_ago(rule.minutes), account__in=accounts)
    recent = recent.exclude(target=Target.WEBHOOK).filter(state__in=(*FAILED, State.DELIVERED)).order_by()
    failed = Count("pk", filter=Q(state__in=FAILED, dismissed_at=None))
    found = {row["account"]: row for row in recent.values("account").annotate(count=Count("pk"), failed=failed)}
    too_many = [
        pk
        for pk, row in found.items()
        if row["failed"] >= (rule.least_count or 1) and row["failed"] * 100 >= row["count"] * (rule.percent or 100)
    ]
    for account in accounts.filter(pk__in=too_many):
        row = found[account.pk]
        params = {"percent": round(row["failed"] * 100 / row["count"]), "failed": row["failed"], "count": row["count"]}
        yield _build(rule, "failure_rate", account, params, count=row["failed"])


def _find_tokens(rule: AlertRule, accounts: QuerySet[ChannelAccount]) -> Iterator[Problem]:
    """Find tokens whose refresh failed, and those that end within minutes although they should have been refreshed before.

    Of an account that is stopped, `account_down` tells; what was open before only stays open.
    """
    ends = timezone.now() + timedelta(minutes=rule.minutes or 0)
    rows = AccessToken.objects.filter(account__in=accounts).select_related("account")
    rows = rows.filter(~Q(failure_code="") | (~Q(value="") & Q(expires_at__lt=ends)))
    for token in rows.order_by("account_id"):
        account, code = token.account, token.failure_code
        opens = account.state != Health.STOPPED
        if code:
            because = nest_cause(Cause(code, token.failure_params), "channel", account.kind)
            yield _build(rule, "token_failed", account, {"because": because}, error_code=code, opens=opens)
        elif token.expires_at:
            yield _build(rule, "token_ends", account, {"ends": token.expires_at.isoformat()}, opens=opens)


def _find_silence(rule: AlertRule, accounts: QuerySet[ChannelAccount]) -> Iterator[Problem]:
    """Find accounts that received nothing for so much (working) time, of those that receive at all. Uses the index message_age."""
    now, limit = timezone.now(), timedelta(minutes=rule.minutes or 0)
    for account in accounts:
        if account.kind not in KINDS or not issubclass(channel_class(account.kind), Callbacks):
            continue
        heard = Message.objects.filter(account=account, direction="in", created_at__gt=now - timedelta(days=MAX_DAYS))
        last = heard.order_by().aggregate(last=Max("created_at"))["last"] or account.created_at
        if working_time(rule, last, now) >= limit:
            yield _build(rule, "silent", account, {"heard": last.isoformat()}, first_seen_at=last)


def _find_waiting_chats(rule: AlertRule, accounts: QuerySet[ChannelAccount]) -> Iterator[Problem]:
    """Find accounts with chats that have waited so long for staff. Others that have just begun to wait are none of it."""
    found: dict[int, list[WaitingChat]] = {}
    for chat in list_for_staff(before=_minutes_ago(rule.minutes)):
        found.setdefault(chat.account_id, []).append(chat)
    for account in accounts.filter(pk__in=found):
        yield _build(rule, "chats_waiting_long", account, **describe_chats(found[account.pk]))


def working_time(rule: AlertRule, since: datetime, until: datetime) -> timedelta:
    """Return how much of the time between lies within the rule's working hours, in the site's time zone; all of it without hours."""
    zone = timezone.get_default_timezone()
    first, last = timezone.localtime(since, zone), timezone.localtime(until, zone)
    day, total = max(first, last - timedelta(days=MAX_DAYS)).date() - timedelta(days=1), timedelta()
    while day <= last.date():
        if not rule.weekdays_only or day.weekday() < 5:
            begins, ends = _hours_of(rule, day)
            total += max(min(ends, last) - max(begins, first), timedelta())
        day += timedelta(days=1)
    return total


def _hours_of(rule: AlertRule, day: date) -> tuple[datetime, datetime]:
    """Return when the working hours of a day begin and end; they may pass midnight."""
    midnight = datetime.combine(day, time(), timezone.get_default_timezone())
    if rule.work_from is None or rule.work_until is None:
        return midnight, midnight + timedelta(days=1)
    begins = midnight.replace(hour=rule.work_from.hour, minute=rule.work_from.minute)
    ends = midnight.replace(hour=rule.work_until.hour, minute=rule.work_until.minute)
    return begins, ends if ends > begins else ends + timedelta(days=1)


def _minutes_ago(minutes: int | None) -> datetime:
    return timezone.now() - timedelta(minutes=minutes or 0)
