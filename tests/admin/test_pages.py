"""Every page, with everything in it and with nothing; what it costs; and that no secret is ever in it."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
from django.urls import reverse
from django.utils import timezone

from accounts.health import Health
from accounts.models import ChannelAccount
from bridge.models import Message
from openclaw.models import Gateway
from tests.support import factories

if TYPE_CHECKING:
    from django.test import Client

LISTS = (
    "accounts_channelaccount",
    "openclaw_gateway",
    "bridge_route",
    "bridge_conversation",
    "bridge_message",
    "bridge_delivery",
    "bridge_incident",
    "bridge_replayrun",
    "bridge_contact",
    "bridge_contactrequest",
    "bridge_cannedanswer",
    "bridge_webhookendpoint",
    "bridge_alertchannel",
    "bridge_alertrule",
    "auth_user",
    "auth_group",
)
OTHER_PAGES = (
    "index",
    "bridge_delivery_dead_letters",
    "bridge_route_explain",
    "bridge_route_add",
    "openclaw_gateway_add",
    "accounts_channelaccount_add",
    "bridge_webhookendpoint_add",
    "bridge_cannedanswer_add",
    "bridge_replayrun_add",
    "bridge_alertchannel_add",
    "bridge_alertrule_add",
)
EMPTY_PAGES = [*(f"{name}_changelist" for name in LISTS), *OTHER_PAGES]


def object_pages(world: factories.World) -> dict[str, int]:
    return {
        "accounts_channelaccount_change": world.app.pk,
        "accounts_channelaccount_history": world.app.pk,
        "openclaw_gateway_change": world.gateway.pk,
        "bridge_route_change": world.route.pk,
        "bridge_conversation_change": world.group.pk,
        "bridge_conversation_transcript": world.group.pk,
        "bridge_message_change": world.question.pk,
        "bridge_delivery_change": world.dead.pk,
        "bridge_incident_change": world.incident.pk,
        "bridge_replayrun_change": factories.replay_run(world.dead).pk,
        "bridge_contactrequest_change": world.contact_request.pk,
        "bridge_webhookendpoint_change": world.webhook.pk,
        "bridge_webhookendpoint_history": world.webhook.pk,
    }


def first_steps(client: Client) -> list[str]:
    page = client.get(reverse("admin:index")).content.decode()
    return [
        re.sub(r"<[^>]+>", "", step)
        for step in re.findall(r"<li>(<a .*?)</li>", page.partition("First steps")[2].partition("</ol>")[0])
    ]


def test_first_steps_name_the_callback_address_and_the_test(boss: Client, settings: Any) -> None:
    settings.PUBLIC_URL = "https://bridge.example"
    before = " ".join(first_steps(boss))
    assert "callback address for the platform" in before
    assert before.count("the button Test") == 2
    account = factories.account()
    ChannelAccount.objects.update(state=Health.NEW)
    first, *_others = first_steps(boss)
    assert first == (
        f"Enter the callback address of {account.name} in the platform&#x27;s console, then press Test. "
        f"https://bridge.example/callbacks/{account.key}"
    )
    gateway = factories.gateway(name="Home")
    assert first_steps(boss) == [first, f"Press Test on the page of the gateway {gateway.name}."]
    for model in (ChannelAccount, Gateway):
        model.objects.update(state=Health.OK)
    assert first_steps(boss) == []


@pytest.mark.parametrize("name", EMPTY_PAGES)
def test_a_page_without_rows(boss: Client, name: str) -> None:
    assert boss.get(reverse(f"admin:{name}")).status_code == 200


@pytest.mark.parametrize("name", EMPTY_PAGES)
def test_a_list_costs_few_queries(
    boss: Client, world: factories.World, django_assert_max_num_queries, name: str
) -> None:
    for number in range(30):
        said = factories.message(world.group, f"message {number}", f"KEY{number}", sender=f"user{number % 7}")
        factories.delivery(said, "dead", "permanent")
    with django_assert_max_num_queries(16):
        assert boss.get(reverse(f"admin:{name}")).status_code == 200


@pytest.mark.parametrize("number", range(13))
def test_a_page_with_everything(
    boss: Client, world: factories.World, django_assert_max_num_queries, number: int
) -> None:
    page, pk = list(object_pages(world).items())[number]
    with django_assert_max_num_queries(33):
        answer = boss.get(reverse(f"admin:{page}", args=[pk]))
    assert answer.status_code == 200


@pytest.mark.parametrize(
    ("day", "shown"),
    [
        ("today", ["now"]),
        ("yesterday", ["late yesterday", "early yesterday"]),
        ("week", ["now", "late yesterday", "early yesterday", "first of the week"]),
        ("", ["now", "late yesterday", "early yesterday", "first of the week", "before"]),
    ],
)
def test_a_list_of_a_day(boss: Client, day: str, shown: list[str]) -> None:
    midnight = timezone.localtime().replace(hour=0, minute=0, second=0, microsecond=0)
    week, second = midnight - timedelta(days=6), timedelta(seconds=1)
    times = {"before": week - second, "first of the week": week, "early yesterday": midnight - timedelta(days=1)}
    times |= {"late yesterday": midnight - second, "now": timezone.now()}
    person = factories.conversation(factories.account(), "zhangsan")
    for text, at in times.items():
        factories.delivery(factories.message(person, text, text, created_at=at), created_at=at)
    listed = boss.get(reverse("admin:bridge_message_changelist"), {"day": day} if day else {}).context["cl"]
    assert [message.text for message in listed.result_list] == shown
    listed = boss.get(reverse("admin:bridge_delivery_changelist"), {"day": day} if day else {}).context["cl"]
    assert [delivery.message.text for delivery in listed.result_list] == shown


def test_no_page_holds_a_secret(boss: Client, world: factories.World) -> None:
    pages = [boss.get(reverse(f"admin:{name}")) for name in EMPTY_PAGES]
    pages += [boss.get(reverse(f"admin:{name}", args=[pk])) for name, pk in object_pages(world).items()]
    pages.append(boss.get(reverse("admin:accounts_channelaccount_change", args=[world.bot.pk])))
    html = "".join(page.content.decode() for page in pages)
    leaked = [name for name, secret in factories.CANARIES.items() if secret in html]
    assert leaked == []
    assert "PRIVATE KEY" not in html


# --- an account whose kind is gone --------------------------------------------------------------------------------------------


def test_what_an_account_of_a_retired_kind_said_can_still_be_read(boss: Client, world: factories.World) -> None:
    """The page of a conversation says why nothing can be sent there, the page of a delivery why it cannot be replayed."""
    ChannelAccount.objects.update(kind="wecom_fax")
    pages = {page: boss.get(reverse(f"admin:{page}", args=[pk])) for page, pk in object_pages(world).items()}
    pages |= {name: boss.get(reverse(f"admin:{name}")) for name in EMPTY_PAGES}
    assert {name for name, page in pages.items() if page.status_code != 200} == set()
    for page in ("bridge_conversation_change", "bridge_delivery_change"):
        assert "This kind of account is no longer supported." in pages[page].content.decode()
    assert "本周的数据怎么样" in pages["bridge_conversation_change"].content.decode()
    assert "您的报表好了" in pages["bridge_delivery_change"].content.decode()


def test_nothing_is_done_through_an_account_of_a_retired_kind(boss: Client, world: factories.World) -> None:
    ChannelAccount.objects.update(kind="wecom_fax")
    say = boss.post(reverse("admin:bridge_conversation_send", args=[world.person.pk]), {"text": "x"})
    assert (say.status_code, "no longer supported" in say.content.decode()) == (200, True)
    asked = boss.post(reverse("admin:bridge_delivery_confirm"), {"verb": "replay", "ids": str(world.dead.pk)})
    assert "no longer supported" in asked.content.decode()
    recalled = boss.post(reverse("admin:bridge_delivery_recall", args=[world.delivered.pk]), follow=True)
    assert "can no longer be recalled" in recalled.content.decode()
    assert boss.get(reverse("admin:accounts_channelaccount_groups", args=[world.app.pk])).status_code == 404
    assert Message.objects.filter(source="staff", text="x").count() == 0
