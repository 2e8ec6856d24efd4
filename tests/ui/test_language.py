"""Who reads which language: the browser's, the one chosen on the login page, the one kept with the user, and that of a script."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from django.contrib.auth.models import User
from django.test import Client
from knox.models import AuthToken

from bridge.models import StaffLanguage

if TYPE_CHECKING:
    import redis

CHINESE, ENGLISH = {"HTTP_ACCEPT_LANGUAGE": "zh-CN,zh;q=0.9,en;q=0.8"}, {"HTTP_ACCEPT_LANGUAGE": "en-GB,en;q=0.9"}
PASSWORD = "correct horse battery"  # noqa: S105


@pytest.fixture(autouse=True)
def _servers(db: None, valkey: redis.Redis, settings: Any) -> None:
    Path(settings.STATIC_ROOT).mkdir(parents=True, exist_ok=True)  # whitenoise warns without


@pytest.fixture
def ann() -> User:
    return User.objects.create_superuser("ann", password=PASSWORD)


def language_of(client: Client, path: str, **headers: str) -> str:
    """What the page says of itself, after a look that its words are of that language: none of these pages is without one of these."""
    page = client.get(path, **headers).content.decode()
    language = page.partition('<html lang="')[2].partition('"')[0]
    assert any(word in page for word in ("密码", "首页", "页面不存在")) == (language == "zh-hans")
    return language


def choose(client: Client, language: str, **more: str) -> Any:
    return client.post("/admin/language/", {"language": language, **more})


@pytest.mark.parametrize(
    ("asked", "got"),
    [
        ("zh-CN", "zh-hans"),
        ("zh", "zh-hans"),
        ("zh-TW,en;q=0.5", "zh-hans"),
        ("en-GB", "en"),
        ("fr", "en"),
        ("fr,zh;q=0.5", "zh-hans"),
    ],
)
def test_a_browser_gets_its_language_before_anybody_chose(asked: str, got: str) -> None:
    answer = Client().get("/admin/login/", HTTP_ACCEPT_LANGUAGE=asked)
    assert f'<html lang="{got}"' in answer.content.decode()
    assert answer["Content-Language"] == got
    assert ("欢迎回到" in answer.content.decode() or "密码" in answer.content.decode()) == (got == "zh-hans")


def test_the_login_page_has_a_switch_that_lasts(ann: User) -> None:
    client = Client()
    page = client.get("/admin/login/?next=/admin/", **CHINESE).content.decode()
    assert 'action="/admin/language/"' in page
    assert "English" in page
    answer = choose(client, "en", next="/admin/login/?next=/admin/")
    assert (answer.status_code, answer["Location"]) == (302, "/admin/login/?next=/admin/")
    assert language_of(client, "/admin/login/", **CHINESE) == "en"
    client.post("/admin/login/", {"username": "ann", "password": PASSWORD}, **CHINESE)
    assert language_of(client, "/admin/", **CHINESE) == "en"
    assert not StaffLanguage.objects.exists()


def test_a_choice_is_kept_for_the_next_login_on_any_machine(ann: User) -> None:
    here, there = Client(), Client()
    here.force_login(ann)
    assert language_of(here, "/admin/", **ENGLISH) == "en"
    assert 'action="/admin/language/"' in here.get("/admin/").content.decode()
    choose(here, "zh-hans", next="/admin/")
    assert StaffLanguage.objects.get().language == "zh-hans"
    assert language_of(here, "/admin/", **ENGLISH) == "zh-hans"
    there.post("/admin/login/", {"username": "ann", "password": PASSWORD}, **ENGLISH)
    assert language_of(there, "/admin/", **ENGLISH) == "zh-hans"
    choose(there, "en")
    assert StaffLanguage.objects.get().language == "en"
    assert language_of(there, "/admin/", **CHINESE) == "en"


def test_a_language_that_is_not_offered_changes_nothing(ann: User) -> None:
    client = Client()
    client.force_login(ann)
    for language in ("fr", "", "zh-hans\0", "../../etc"):
        assert choose(client, language).status_code == 302
    assert not StaffLanguage.objects.exists()
    assert client.get("/admin/language/").status_code == 405
    assert language_of(client, "/admin/", **CHINESE) == "zh-hans"


def test_the_switch_leads_to_no_other_site_and_wants_its_token(ann: User) -> None:
    client = Client()
    client.force_login(ann)
    assert choose(client, "en", next="https://evil.example/")["Location"] == "/"
    strict = Client(enforce_csrf_checks=True)
    strict.force_login(ann)
    assert choose(strict, "zh-hans").status_code == 403
    assert StaffLanguage.objects.get().language == "en"


def test_an_error_page_is_in_the_readers_language(ann: User) -> None:
    client = Client()
    client.force_login(ann)
    choose(client, "zh-hans")
    assert language_of(client, "/admin/nothing/here/", **ENGLISH) == "zh-hans"


def test_a_script_reads_what_it_asks_for_else_its_owners_language(ann: User) -> None:
    _, token = AuthToken.objects.create(ann, prefix="wxb_")
    StaffLanguage.objects.create(user=ann, language="zh-hans")

    def message(**headers: str) -> str:
        return (
            Client()
            .get("/api/v1/routes/?nosuch=1", HTTP_AUTHORIZATION=f"Bearer {token}", **headers)
            .json()["details"]["nosuch"][0]
        )

    assert "名称未知" in message()
    assert "名称未知" in message(**CHINESE)
    assert "Unknown name" in message(**ENGLISH)
    StaffLanguage.objects.all().delete()
    assert "Unknown name" in message()
