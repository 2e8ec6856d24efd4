"""Invitations and friend requests: decided once, by whoever is first, and what the platform said of it."""

from __future__ import annotations

from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING

import pytest
from django.contrib.auth.models import User
from django.utils import timezone

from accounts.models import ChannelAccount
from bridge.models import ContactRequest
from bridge.people import contact_requests
from channels_wechat import KINDS
from channels_wechat.contract.errors import ChannelError
from tests.support import factories
from tests.support.factories import at_once
from tests.support.fake_connection import fake_platform
from tests.support.fake_phone import KIND, FakePhone

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.fake_connection import FakePlatform

pytestmark = pytest.mark.django_db(transaction=True)
Kind, Standing = ContactRequest.Kind, ContactRequest.State


@pytest.fixture
def platform(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakePlatform]:
    monkeypatch.setitem(KINDS, KIND, f"{FakePhone.__module__}.FakePhone")
    with fake_platform() as running:
        running.answers["accept"] = [{}]
        yield running


@pytest.fixture
def asked(platform: FakePlatform) -> ContactRequest:
    return factories.contact_request(factories.account(KIND, {"phone": "shop"}), title="产品组")


@pytest.fixture
def ann() -> User:
    return User.objects.create_user("ann")


@pytest.fixture
def ben() -> User:
    return User.objects.create_user("ben")


def fresh(asked: ContactRequest) -> ContactRequest:
    return ContactRequest.objects.get(pk=asked.pk)


def accepted(platform: FakePlatform) -> list[tuple[str, str]]:
    return [(call["kind"], call["id"]) for call in platform.requests if call["type"] == "accept"]


def test_one_is_accepted_by_one_call(asked: ContactRequest, platform: FakePlatform, ann: User, ben: User) -> None:
    assert contact_requests.accept_request(asked, ann)
    assert not contact_requests.accept_request(asked, ben)
    assert not contact_requests.dismiss_request(asked, ben)
    found = fresh(asked)
    assert (found.state, found.decided_by, found.error) == (Standing.ACCEPTED, ann, "")
    assert found.decided_at
    assert accepted(platform) == [("group", "invitation-1")]


def test_of_many_at_once_one_decides(asked: ContactRequest, platform: FakePlatform) -> None:
    """Some accept and some dismiss: the platform is called at most once, and the row says what was done."""
    users = [User.objects.create_user(f"user{number}") for number in range(8)]
    decide = (contact_requests.accept_request, contact_requests.dismiss_request)
    done = at_once(*(partial(decide[number % 2], fresh(asked), user) for number, user in enumerate(users)))
    assert sum(done) == 1
    found = fresh(asked)
    first = users[done.index(True)]
    assert found.decided_by == first
    assert len(accepted(platform)) == (1 if found.state == Standing.ACCEPTED else 0)
    assert found.state == (Standing.DISMISSED if users.index(first) % 2 else Standing.ACCEPTED)


def test_what_the_platform_refused_may_be_tried_again(asked: ContactRequest, platform: FakePlatform, ann: User) -> None:
    platform.answers["accept"] = [{"error": "gone"}, {}]
    with pytest.raises(ChannelError, match=r"The invitation is over\."):
        contact_requests.accept_request(asked, ann)
    assert (fresh(asked).state, "Ask for another one." in fresh(asked).error) == (Standing.OPEN, True)
    assert contact_requests.accept_request(asked, ann)
    assert (fresh(asked).state, fresh(asked).error) == (Standing.ACCEPTED, "")


def test_an_unknown_outcome_is_not_tried_again_and_can_be_dismissed(
    asked: ContactRequest, platform: FakePlatform, ann: User, ben: User
) -> None:
    platform.answers["accept"] = [{"error": "no_answer"}]
    with pytest.raises(ChannelError):
        contact_requests.accept_request(asked, ann)
    assert (fresh(asked).state, fresh(asked).code) == (Standing.ACCEPTING, "no_answer")
    assert not contact_requests.accept_request(asked, ben)
    assert contact_requests.dismiss_request(asked, ben)
    assert fresh(asked).state == Standing.DISMISSED


def test_one_whose_call_is_under_way_cannot_be_dismissed(asked: ContactRequest, ben: User) -> None:
    """Else it would say dismissed of what the platform accepted. After a lost process it can be."""
    ContactRequest.objects.update(state=Standing.ACCEPTING, decided_at=timezone.now())
    assert not contact_requests.dismiss_request(asked, ben)
    ContactRequest.objects.update(decided_at=timezone.now() - timedelta(minutes=3))
    assert contact_requests.dismiss_request(asked, ben)


@pytest.mark.parametrize("columns", [{"enabled": False}, {"state": "stopped"}, {"kind": "wecom_app"}])
def test_an_account_that_cannot_accept_says_so(
    asked: ContactRequest, platform: FakePlatform, ann: User, columns: dict[str, object]
) -> None:
    if "kind" in columns:
        asked = factories.contact_request(factories.app())
    ChannelAccount.objects.filter(pk=asked.account_id).exclude(kind="wecom_app").update(**columns)
    with pytest.raises(contact_requests.CannotAccept):
        contact_requests.accept_request(fresh(asked), ann)
    assert (fresh(asked).state, accepted(platform)) == (Standing.OPEN, [])
