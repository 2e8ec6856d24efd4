"""A person sees only what their rights name."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from django.contrib.auth.models import User
from django.urls import reverse

from tests.admin.test_pages import LISTS, object_pages

if TYPE_CHECKING:
    from collections.abc import Callable

    from django.test import Client

    from tests.support.factories import World


@pytest.mark.parametrize("name", [*(f"{name}_changelist" for name in LISTS), "bridge_delivery_dead_letters"])
def test_a_list_is_closed_without_the_right(staff: Callable[..., Client], name: str) -> None:
    assert staff().get(reverse(f"admin:{name}")).status_code == 403


def test_object_pages_are_closed_without_the_right(staff: Callable[..., Client], world: World) -> None:
    client = staff()
    answers = {
        name: client.get(reverse(f"admin:{name}", args=[pk])).status_code for name, pk in object_pages(world).items()
    }
    assert set(answers.values()) == {403}, answers


def test_the_start_page_shows_nothing_without_rights(staff: Callable[..., Client], world: World) -> None:
    page = staff().get("/admin/").content.decode()
    for word in ("Acme app", "OpenClaw at home", "has stopped", "received today", "by the hour"):
        assert word not in page


def test_a_reader_gets_no_buttons(staff: Callable[..., Client], world: World) -> None:
    client = staff("bridge.view_delivery", "accounts.view_channelaccount", "openclaw.view_gateway")
    pages = [
        reverse("admin:bridge_delivery_change", args=[world.dead.pk]),
        reverse("admin:accounts_channelaccount_change", args=[world.app.pk]),
        reverse("admin:openclaw_gateway_change", args=[world.gateway.pk]),
    ]
    for page in pages:
        html = client.get(page).content.decode()
        assert "Replay…" not in html
        assert ">Test</button>" not in html
        assert ">Disable</button>" not in html


@pytest.mark.parametrize(("is_superuser", "status"), [(False, 302), (True, 403)])
def test_who_is_no_superuser_deletes_none(staff: Callable[..., Client], is_superuser: bool, status: int) -> None:
    """Nothing else keeps this one: no row of anybody's names them."""
    other = User.objects.create_user("other", is_staff=True, is_superuser=is_superuser)
    client = staff("auth.view_user", "auth.delete_user")
    assert client.post(reverse("admin:auth_user_delete", args=[other.pk]), {"post": "yes"}).status_code == status
    assert User.objects.filter(pk=other.pk).exists() is is_superuser
