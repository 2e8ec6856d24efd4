"""Tokens: printed once, good for a time, taken back in the admin."""

from __future__ import annotations

import logging
from datetime import timedelta
from io import StringIO
from typing import TYPE_CHECKING

import pytest
from django.core.management import call_command
from django.core.management.base import CommandError
from django.test import Client
from django.utils import timezone
from knox.models import AuthToken

from tests.api.conftest import calling_as, user_with

if TYPE_CHECKING:
    from django.contrib.auth.models import User


def issue(user: str, *arguments: str) -> tuple[str, str]:
    """(stdout, stderr)."""
    out, err = StringIO(), StringIO()
    call_command("issue_token", user, *arguments, stdout=out, stderr=err)
    return out.getvalue().strip(), err.getvalue()


def status(token: str) -> int:
    return Client().get("/api/v1/stats/", headers={"Authorization": f"Bearer {token}"}).status_code


@pytest.fixture
def script() -> User:
    return user_with("Viewers")


def test_a_token_is_printed_once_and_lets_in(script: User, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG):
        token, told = issue(script.username, "--days", "7")
    assert token.startswith("wxb_")
    assert token not in told + caplog.text
    row = AuthToken.objects.get()
    assert token not in str(row.__dict__)
    assert timedelta(days=6.9) < row.expiry - timezone.now() <= timedelta(days=7)
    assert status(token) == 200


def test_ninety_days_unless_said_otherwise(script: User) -> None:
    issue(script.username)
    assert timedelta(days=89.9) < AuthToken.objects.get().expiry - timezone.now() <= timedelta(days=90)


def test_an_old_or_lost_token_lets_nobody_in(script: User) -> None:
    token, _told = issue(script.username)
    AuthToken.objects.update(expiry=timezone.now() - timedelta(seconds=1))
    assert status(token) == 401
    token, _told = issue(script.username)
    script.is_active = False
    script.save()
    assert status(token) == 401


def test_for_nobody_and_for_the_inactive_there_is_none(script: User) -> None:
    with pytest.raises(CommandError, match="no user nemo"):
        issue("nemo")
    script.is_active = False
    script.save()
    with pytest.raises(CommandError, match="not active"):
        issue(script.username)
    script.is_active = True
    script.save()
    for days in ("0", "3651"):
        with pytest.raises(CommandError, match="--days"):
            issue(script.username, "--days", days)
    assert not AuthToken.objects.exists()


def test_admins_see_tokens_and_take_them_back(script: User) -> None:
    token, _told = issue(script.username)
    browser = Client()
    browser.force_login(user_with("Admins"))
    page = browser.get("/admin/knox/authtoken/").content.decode()
    assert script.username in page
    assert token[:10] in page
    assert token[:16] not in page
    row = AuthToken.objects.get()
    assert row.digest[:40] not in page.replace(f'value="{row.digest}"', "")
    chosen = {"action": "delete_selected", "_selected_action": row.pk}
    sure = browser.post("/admin/knox/authtoken/", chosen).content.decode()
    assert f"{token[:10]}…" in sure
    browser.post("/admin/knox/authtoken/", {**chosen, "post": "yes"})
    assert status(token) == 401


def test_others_neither_see_nor_take_back_tokens(script: User) -> None:
    token, _told = issue(script.username)
    for role in ("Operators", "nobody"):
        browser = Client()
        browser.force_login(user_with(role))
        assert browser.get("/admin/knox/authtoken/").status_code == 403
        browser.post("/admin/knox/authtoken/", {"action": "delete_selected", "post": "yes"})
    assert status(token) == 200


def test_a_token_of_one_user_has_that_users_rights(script: User) -> None:
    assert calling_as(script).get("/api/v1/stats/").status_code == 200
    assert calling_as(script).post("/api/v1/deliveries/1/replay/").status_code == 403
