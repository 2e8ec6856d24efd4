"""The line at the top that says where one is."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from django.urls import reverse

if TYPE_CHECKING:
    from django.test import Client

    from tests.support.factories import World


def crumbs(client: Client, address: str) -> list[str]:
    [heading] = re.findall(r"<h1.*?</h1>", client.get(address).content.decode(), re.DOTALL)
    words = re.sub(r"<[^>]+>", "\n", heading.replace("chevron_right", "")).split("\n")
    return [word.strip() for word in words if word.strip()]


def test_a_page_beside_the_lists_has_its_own_name(boss: Client) -> None:
    assert crumbs(boss, reverse("admin:bridge_delivery_dead_letters")) == ["Deliveries", "Dead letters"]
    question = crumbs(boss, reverse("admin:bridge_route_explain"))
    assert question == ["Mappings", "Test routing"]


def test_a_name_is_spelt_as_the_platform_spells_it(boss: Client, world: World) -> None:
    assert crumbs(boss, reverse("admin:bridge_conversation_change", args=[world.person.pk]))[-1] == "zhangsan"
    assert crumbs(boss, reverse("admin:bridge_message_change", args=[world.question.pk]))[-1] == f"#{world.question.pk}"


def test_lists_of_libraries_are_called_as_in_the_menu(boss: Client) -> None:
    assert crumbs(boss, reverse("admin:knox_authtoken_changelist")) == ["API tokens"]
    assert crumbs(boss, reverse("admin:auditlog_logentry_changelist")) == ["Audit log"]
    assert crumbs(boss, reverse("admin:accounts_channelaccount_changelist")) == ["Accounts"]
