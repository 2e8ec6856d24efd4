"""What the platform does not grant, kept for a day."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

import pytest
from django.utils import timezone

from accounts import capabilities
from accounts.channels import build_channel
from accounts.health import CODE_LENGTH
from accounts.models import Restriction
from channels_wechat.weixin.errors import WEIXIN
from tests.support import factories
from tests.support.factories import app, mini, official

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from accounts.models import ChannelAccount

pytestmark = pytest.mark.django_db
REFUSED = WEIXIN.error(48001, capability="custom_send")


@pytest.fixture(autouse=True)
def _nothing_known() -> Iterator[None]:
    """Ids of rows come again in another test."""
    capabilities._known.clear()
    yield
    capabilities._known.clear()


def test_what_was_refused_is_not_asked_for_a_day() -> None:
    account = official()
    assert capabilities.is_allowed(account.pk, "custom_send")
    assert capabilities.store_refusal(account, REFUSED)
    assert not capabilities.is_allowed(account.pk, "custom_send")
    assert capabilities.is_allowed(account.pk, "typing")
    (row,) = capabilities.list_restrictions(account)
    assert (row.capability, row.code, "does not grant" in row.text) == ("custom_send", "48001", True)
    assert timedelta(hours=23) < row.until - timezone.now() <= timedelta(days=1)


def test_what_another_process_was_refused_is_known_in_a_moment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(capabilities, "CACHE_SECONDS", 0.0)
    account = official()
    assert capabilities.is_allowed(account.pk, "custom_send")
    until = timezone.now() + timedelta(hours=1)
    factories.restriction(account, "custom_send", code="48001", until=until)
    assert not capabilities.is_allowed(account.pk, "custom_send")


def test_after_a_day_it_is_asked_again() -> None:
    account = official()
    capabilities.restrict(account, "custom_send", REFUSED)
    Restriction.objects.update(until=timezone.now())
    capabilities._known.clear()  # two seconds later
    assert capabilities.is_allowed(account.pk, "custom_send")
    assert (
        list(capabilities.list_restrictions(account)),
        list(capabilities.restricted_account_ids("custom_send")),
    ) == ([], [])
    capabilities.restrict(account, "custom_send", REFUSED)  # once more, in the same row
    assert (Restriction.objects.count(), list(capabilities.restricted_account_ids("custom_send"))) == (1, [account.pk])


def test_other_errors_restrict_nothing() -> None:
    account = official()
    assert not capabilities.store_refusal(account, WEIXIN.error(45009))
    assert capabilities.is_allowed(account.pk, "custom_send")


@pytest.mark.parametrize(
    ("make", "code", "capability", "restricted"),
    [
        (official, 48001, "typing", ["custom_send", "typing"]),  # one permission, and another way to answer
        (official, 48001, "media", ["media"]),
        (official, 48002, "typing", ["typing"]),
        (mini, 48001, "typing", ["typing"]),
        (official, 48001, "", []),
    ],
)
def test_a_refusal_tells_of_what_is_governed_by_the_same_permission(
    make: Callable[[], ChannelAccount], code: int, capability: str, restricted: list[str]
) -> None:
    account = make()
    error = WEIXIN.error(code, capability=capability)
    assert capabilities.store_refusal(account, error) is bool(capability)
    assert [row.capability for row in capabilities.list_restrictions(account)] == restricted


def test_a_code_of_any_length_is_kept() -> None:
    account = official()
    capabilities.restrict(account, "typing", WEIXIN.error("4" * 100))
    assert Restriction.objects.get().code == "4" * CODE_LENGTH


def test_each_account_has_its_own_restrictions() -> None:
    one, other = official(), mini()
    for account, name in ((one, "typing"), (one, "media"), (one, "quota"), (other, "quota")):
        capabilities.restrict(account, name, REFUSED)
    assert [row.capability for row in capabilities.list_restrictions(one)] == ["media", "quota", "typing"]
    assert [row.capability for row in capabilities.list_restrictions(other)] == ["quota"]
    assert [capabilities.is_allowed(one.pk, name) for name in ("typing", "media", "quota", "custom_send")] == [
        *[False] * 3,
        True,
    ]
    assert [capabilities.is_allowed(other.pk, name) for name in ("typing", "media", "quota")] == [True, True, False]
    assert set(capabilities.restricted_account_ids("typing")) == {one.pk}
    assert capabilities.lift_restrictions(one, "quota") == 1
    assert capabilities.lift_restrictions(one) == 2
    assert [row.capability for row in capabilities.list_restrictions(other)] == ["quota"]


def test_while_the_database_is_away_what_was_known_last_holds(monkeypatch: pytest.MonkeyPatch) -> None:
    account = official()
    assert capabilities.was_allowed(account.pk, "custom_send")  # nobody has asked yet
    capabilities.restrict(account, "custom_send", REFUSED)
    assert not capabilities.is_allowed(account.pk, "custom_send")
    monkeypatch.setattr(capabilities.time, "monotonic", lambda: float("inf"))  # long ago by now
    assert not capabilities.is_known(account.pk)
    assert not capabilities.was_allowed(account.pk, "custom_send")
    assert capabilities.was_allowed(account.pk, "typing")


def test_staff_lift_one_or_all() -> None:
    account = official()
    for name in ("custom_send", "typing", "media"):
        capabilities.restrict(account, name, REFUSED)
    assert capabilities.lift_restrictions(account, "typing") == 1
    assert capabilities.is_allowed(account.pk, "typing")
    assert not capabilities.is_allowed(account.pk, "media")
    assert capabilities.lift_restrictions(account) == 2
    assert capabilities.is_allowed(account.pk, "media")


@pytest.mark.parametrize(
    ("answers", "restricted", "expected"),
    [
        ("passive", False, True),
        ("messages", False, False),
        ("messages", True, False),
        ("automatic", False, False),
        ("automatic", True, True),
    ],
)
def test_which_way_an_account_answers(answers: str, restricted: bool, expected: bool) -> None:
    account = official(answers=answers)
    if restricted:
        capabilities.restrict(account, "custom_send", REFUSED)
    assert capabilities.answers_passively(build_channel(account), account.pk) is expected
    capabilities.is_allowed(account.pk, "custom_send")  # it is asked while the database is there
    assert capabilities.answers_passively_as_cached(build_channel(account), account.pk) is expected


def test_a_kind_without_passive_answers_never_does() -> None:
    account = app()
    capabilities.restrict(account, "custom_send", REFUSED)
    assert not capabilities.is_allowed(account.pk, "custom_send")
    assert not capabilities.answers_passively(build_channel(account), account.pk)
    assert not capabilities.answers_passively_as_cached(build_channel(account), account.pk)
