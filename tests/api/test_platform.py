"""Templates, subscribe messages, the content check and what it holds, by script."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from bridge.models import Conversation, Delivery, Message, Reason, State
from channels_wechat.simulator import RunningSimulator
from tests.support import factories
from tests.support.factories import row, state, work_off

if TYPE_CHECKING:
    from collections.abc import Iterator

    from django.test import Client

    from accounts.models import ChannelAccount
    from tests.support.factories import World

JSON = {"content_type": "application/json"}
TEMPLATE = {"priTmplId": "T1", "title": "报名", "content": "会议:{{thing1.DATA}}", "example": "会议:周会", "type": 2}


@pytest.fixture
def simulator() -> Iterator[RunningSimulator]:
    with RunningSimulator() as running:
        keys = {"token": factories.TOKEN, "aes_key": factories.KEY}
        running.client.mini(factories.MINI, secret=factories.SECRET, templates=[TEMPLATE], **keys)
        running.client.person(factories.MINI, "小明", "oUSER")
        running.client.accept(factories.MINI, "oUSER", "T1")
        yield running


@pytest.fixture
def account(simulator: RunningSimulator) -> ChannelAccount:
    account = factories.mini_with_a_token(simulator.url)
    account.token.delete()
    return account


def held(account: ChannelAccount, reason: Reason) -> Delivery:
    person = Conversation.objects.get_or_create(account=account, peer_kind="direct", peer_id="oUSER")[0]
    return factories.delivery(factories.message(person, "赌", str(reason), sender="oUSER"), State.HELD, reason)


def test_a_subscribe_message_is_sent_from_a_template(
    operator: Client, account: ChannelAccount, simulator: RunningSimulator
) -> None:
    (template,) = operator.get(f"/api/v1/accounts/{account.pk}/templates/").json()["templates"]
    assert template == {"id": "T1", "title": "报名", "content": "会议:{{thing1.DATA}}", "example": "会议:周会"}
    data = {"template_id": template["id"], "data": {"thing1": {"value": "周会"}}}
    body = {
        "account": account.pk,
        "peer": {"kind": "direct", "id": "oUSER"},
        "content": {"kind": "subscribe", "data": data},
    }
    answer = operator.post("/api/v1/messages/", body, **JSON, headers={"Idempotency-Key": "one"})
    assert answer.status_code == 201
    work_off()
    assert Message.objects.get().deliveries.get().state == "delivered"
    assert "周会" in simulator.client.sent_to("oUSER")[0]["text"]


def test_who_has_no_templates_and_who_is_not_told(
    operator: Client, world: World, account: ChannelAccount, simulator: RunningSimulator
) -> None:
    simulator.client.fault("wxaapi/newtmpl/gettemplate", "errcode", errcode=48001)
    found = [operator.get(f"/api/v1/accounts/{pk}/templates/") for pk in (world.app.pk, account.pk)]
    assert [(each.status_code, each.json()["code"]) for each in found] == [
        (422, "no_templates"), (422, "platform_refused"),
    ]  # fmt: skip


@pytest.mark.parametrize(("checks", "status"), [("both", 200), ("", 200), ("everything", 400)])
def test_the_check_is_chosen(boss: Client, account: ChannelAccount, checks: str, status: int) -> None:
    answer = boss.patch(f"/api/v1/accounts/{account.pk}/", {"moderation_scope": checks}, **JSON)
    assert answer.status_code == status
    account.refresh_from_db()
    assert account.moderation_scope == (checks if status == 200 else "")
    assert status == 200 or "moderation_scope" in answer.json()["details"]


def test_a_kind_without_a_check_refuses_it_by_field(boss: Client, world: World) -> None:
    answer = boss.patch(f"/api/v1/accounts/{world.app.pk}/", {"moderation_scope": "in"}, **JSON)
    assert (answer.status_code, list(answer.json()["details"])) == (400, ["moderation_scope"])


def test_what_is_held_is_released_or_dismissed(operator: Client, account: ChannelAccount) -> None:
    one, other = held(account, Reason.REVIEW), held(account, Reason.CHECKING)
    answer = operator.post(f"/api/v1/deliveries/{one.pk}/release/").json()
    assert (answer["state"], bool(answer["reviewed_at"])) == ("pending", True)
    answer = operator.post(f"/api/v1/deliveries/{other.pk}/dismiss/").json()
    assert (answer["state"], answer["reason"], bool(answer["dismissed_at"])) == ("skipped", "checking", True)
    assert row(other).dismissed_by.get_username() == "Operators-user"  # type: ignore[union-attr]


@pytest.mark.parametrize("reason", [Reason.WINDOW, Reason.PART_BEFORE])
def test_what_waits_for_something_else_stays(operator: Client, account: ChannelAccount, reason: Reason) -> None:
    waiting = held(account, reason)
    answer = operator.post(f"/api/v1/deliveries/{waiting.pk}/release/")
    assert (answer.status_code, answer.json()["code"]) == (422, "cannot_release")
    assert state(waiting) == "held"
    assert operator.post(f"/api/v1/deliveries/{waiting.pk}/dismiss/").status_code == 200


def test_the_figures_tell_what_is_held_for_whom(operator: Client, account: ChannelAccount) -> None:
    held(account, Reason.REVIEW), held(account, Reason.WINDOW)
    figures = operator.get("/api/v1/stats/").json()
    assert (figures["held"], figures["held_by"]) == (2, {"review": 1, "window": 1})
