"""An account whose kind is no longer registered, after a downgrade say: what it said is kept and readable, nothing more goes in or out."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING

import pytest
from django.test import Client

from accounts.health import Health
from accounts.models import ChannelAccount
from bridge.models import Contact, Delivery, Message, Reason
from bridge.operations.replay import replay
from bridge.people import names
from bridge.pipeline.outbound import outbox
from bridge.pipeline.outbound.outbox import CannotSend
from tests.support import factories
from tests.support.factories import (
    answer,
    app,
    bot,
    gateway,
    hear,
    parts,
    route,
    send,
    shift,
    state,
    to_send,
    turn,
    work_off,
)

if TYPE_CHECKING:
    import redis

pytestmark = pytest.mark.django_db
SENTENCE = "This kind of account is no longer supported."


def retire(account: ChannelAccount) -> ChannelAccount:
    ChannelAccount.objects.filter(pk=account.pk).update(kind="wecom_fax")
    account.refresh_from_db()
    return account


def test_nothing_new_can_be_sent() -> None:
    talk = to_send(app()).message.conversation
    retire(talk.account)
    talk.refresh_from_db()
    assert outbox.why_not_send(talk) == SENTENCE
    with pytest.raises(CannotSend, match=f"^{SENTENCE}$"):
        send(talk.account)
    assert Message.objects.count() == 1


def test_what_an_agent_says_is_kept() -> None:
    question = hear(app())
    retire(question.account)
    question.refresh_from_db()
    said = answer(question, "too late")
    assert (said.text, parts(said)) == ("too late", [("dead", Reason.CONTENT)])
    assert said.deliveries.get().code_params["because"] == {"code": "kind_unsupported", "params": {}}
    assert said.deliveries.get().error.endswith(f": {SENTENCE}")


def test_what_waits_goes_on_waiting_with_its_stopped_account(valkey: redis.Redis) -> None:
    delivery = to_send(app())
    retire(delivery.account)
    work_off()
    account = ChannelAccount.objects.get()
    assert (state(delivery), account.state) == ("pending", Health.STOPPED)
    assert SENTENCE in account.state_reason


@pytest.mark.parametrize("target", ["agent", "channel"])
def test_nothing_is_replayed(target: str) -> None:
    account = app()
    delivery = to_send(account)
    if target == "agent":
        route(account, gateway())
        delivery = turn(account)
    shift(delivery, state="dead", reason=Reason.PERMANENT, finished_at=0)
    retire(account)
    assert replay([delivery.pk]).refused == [(delivery.pk, SENTENCE)]
    assert state(delivery) == "dead"


def test_its_callback_address_is_no_longer_there(valkey: redis.Redis) -> None:
    retire(account := bot(columns={"key": uuid.uuid4()}))
    assert Client().post(f"/callbacks/{account.key}", b"<xml/>", content_type="text/xml").status_code == 404


def test_other_accounts_still_learn_names(valkey: redis.Redis) -> None:
    """One that nobody can be asked by keeps none from being asked after it."""
    gone, other = retire(app()), bot()
    for account in (gone, other):
        factories.contact(account, "zhangsan")
    names.fetch_names()
    assert not Contact.objects.filter(name_fetched_at=None).exists()
    assert Delivery.objects.count() == 0
