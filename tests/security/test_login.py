"""Guessing passwords: locked by name and address, said in words, and not to be got round by a header."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from axes.models import AccessAttempt
from django.contrib.auth.models import User
from django.contrib.auth.password_validation import validate_password
from django.core.exceptions import ValidationError
from django.test import Client
from django.utils import timezone

pytestmark = pytest.mark.django_db
RIGHT = "correct horse battery"
HERE, ELSEWHERE = "203.0.113.7", "203.0.113.8"


@pytest.fixture(autouse=True)
def _behind_a_proxy(settings: Any) -> None:
    settings.TRUSTED_PROXIES = ["127.0.0.1"]


@pytest.fixture
def person() -> User:
    return User.objects.create_user("li", password=RIGHT, is_staff=True)


def log_in(password: str, address: str = HERE, name: str = "li", **more: Any) -> Any:
    return Client().post("/admin/login/", {"username": name, "password": password}, REMOTE_ADDR=address, **more)


def lock(**more: Any) -> list[int]:
    return [log_in(f"wrong-{number}", **more).status_code for number in range(5)]


def test_the_fifth_wrong_password_locks_and_the_page_says_for_how_long(person: User) -> None:
    assert lock() == [200, 200, 200, 200, 429]
    answer = log_in(RIGHT)
    assert answer.status_code == 429
    assert "for 15 minutes" in answer.content.decode()
    assert "sessionid" not in answer.cookies


def test_another_address_and_another_name_are_free(person: User) -> None:
    User.objects.create_user("zhang", password=RIGHT, is_staff=True)
    lock()
    assert log_in(RIGHT, ELSEWHERE).status_code == 302
    assert log_in(RIGHT, name="zhang").status_code == 302


def test_a_stranger_cannot_get_round_it_by_a_header(person: User) -> None:
    statuses = [log_in("wrong", HTTP_X_FORWARDED_FOR=f"198.51.100.{number}").status_code for number in range(5)]
    assert statuses[-1] == 429
    assert set(AccessAttempt.objects.values_list("ip_address", flat=True)) == {HERE}


def test_behind_a_trusted_proxy_each_client_has_its_own_lock(person: User) -> None:
    lock(address="127.0.0.1", HTTP_X_FORWARDED_FOR=HERE)
    assert log_in(RIGHT, "127.0.0.1", HTTP_X_FORWARDED_FOR=HERE).status_code == 429
    assert log_in(RIGHT, "127.0.0.1", HTTP_X_FORWARDED_FOR=ELSEWHERE).status_code == 302


def test_a_right_password_forgets_the_wrong_ones_and_time_opens_the_lock(person: User) -> None:
    assert [log_in("wrong").status_code for _ in range(4)] == [200] * 4
    assert log_in(RIGHT).status_code == 302
    assert not AccessAttempt.objects.exists()
    lock()
    AccessAttempt.objects.update(attempt_time=timezone.now() - timedelta(minutes=16))
    assert log_in(RIGHT).status_code == 302


def test_no_password_is_kept_with_a_failed_login(person: User) -> None:
    log_in("a-wrong-password-that-may-be-almost-right")
    row = AccessAttempt.objects.values().get()
    assert "almost-right" not in str(row)


def test_of_a_failed_login_neither_form_nor_browser_is_kept(person: User) -> None:
    agents = ["first", "second" * 1000]
    for agent in agents:
        query = {"next": "/" + "x" * 4000}
        form = {"username": "li", "password": "wrong", "more": "y" * 4000}
        Client().post(
            "/admin/login/", form, query_params=query, REMOTE_ADDR=HERE, HTTP_USER_AGENT=agent, HTTP_ACCEPT=agent
        )
    row = AccessAttempt.objects.values("user_agent", "http_accept", "path_info", "get_data", "post_data").get()
    assert set(row.values()) <= {"", "\n---------\n"}
    assert (AccessAttempt.objects.get().username, AccessAttempt.objects.get().failures_since_start) == ("li", 2)


@pytest.mark.parametrize("password", ["short-1", "123456789012345", "1q2w3e4r5t6y", "lihuateam2026"])
def test_a_weak_password_is_refused(password: str) -> None:
    with pytest.raises(ValidationError):
        validate_password(password, User(username="lihuateam"))
