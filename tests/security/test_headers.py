"""What every answer tells the browser, and what Django's own check of a production setup says."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import Client

ROOT = Path(__file__).resolve().parents[2]
STRICT = {"default-src 'self'", "script-src 'self'", "object-src 'none'", "base-uri 'none'", "frame-ancestors 'none'"}


def policy(answer: Any) -> set[str]:
    return set(answer["Content-Security-Policy"].split("; "))


@pytest.mark.django_db
@pytest.mark.parametrize("path", ["/", "/api/nothing/", "/nothing"])
def test_outside_the_admin_the_policy_is_strict(path: str) -> None:
    found = policy(Client().get(path))
    assert found >= STRICT | {"form-action 'self'", "style-src 'self'", "img-src 'self'"}
    assert not [part for part in found if "unsafe" in part]


@pytest.mark.django_db
def test_the_admin_may_evaluate_but_runs_no_inline_script() -> None:
    found = policy(Client().get("/admin/login/"))
    assert "script-src 'self' 'unsafe-eval'" in found
    assert found >= STRICT - {"script-src 'self'"} | {"form-action 'self'"}


@pytest.mark.django_db
def test_every_page_has_the_other_headers() -> None:
    answer = Client().get("/admin/login/")
    assert answer["X-Content-Type-Options"] == "nosniff"
    assert answer["X-Frame-Options"] == "DENY"
    assert answer["Referrer-Policy"] == answer["Cross-Origin-Opener-Policy"] == "same-origin"
    assert "microphone=()" in answer["Permissions-Policy"]
    cookie = answer.cookies["csrftoken"]
    assert (cookie["secure"], cookie["httponly"], cookie["samesite"]) == (True, True, "Strict")


@pytest.mark.django_db
def test_the_session_cookie_is_kept_from_scripts_and_plain_http_and_ends_with_the_day() -> None:
    User.objects.create_user("li", password="correct horse battery", is_staff=True)
    answer = Client().post("/admin/login/", {"username": "li", "password": "correct horse battery"})
    cookie = answer.cookies["sessionid"]
    found = (cookie["secure"], cookie["httponly"], cookie["samesite"], cookie["max-age"])
    assert found == (True, True, "Lax", 12 * 3600)


@pytest.mark.django_db
def test_plain_http_is_sent_to_the_public_address_and_https_is_told_to_stay(settings: Any) -> None:
    settings.HTTPS_REDIRECT, settings.TRUSTED_PROXIES = True, ["127.0.0.1"]
    plain = Client().get("/admin/login/", HTTP_HOST="10.0.0.5:8000")
    assert (plain.status_code, plain["Location"]) == (302, "https://bridge.example/admin/login/")
    forged = Client().get("/admin/login/", REMOTE_ADDR="203.0.113.7", HTTP_X_FORWARDED_PROTO="https")
    assert forged.status_code == 302
    safe = Client().get("/admin/login/", HTTP_X_FORWARDED_PROTO="https")
    assert safe.status_code == 200
    assert safe["Strict-Transport-Security"] == "max-age=2592000"


@pytest.mark.django_db
def test_a_site_without_https_sends_nobody_away(settings: Any) -> None:
    """It would send them to where they are, again and again."""
    settings.HTTPS_REDIRECT, settings.PUBLIC_URL = True, "http://10.0.0.5:8000"
    assert Client().get("/admin/login/", HTTP_HOST="10.0.0.5:8000", REMOTE_ADDR="10.0.0.9").status_code == 200


@pytest.mark.parametrize("probe", ["livez", "readyz", "metrics"])
@pytest.mark.django_db
def test_a_probe_from_inside_is_not_sent_away(settings: Any, probe: str) -> None:
    settings.HTTPS_REDIRECT = True
    assert Client().get(f"/{probe}").status_code not in (301, 302)


def test_a_production_setup_passes_django_s_check() -> None:
    """In a process of its own, with what docs ask for and nothing else."""
    names = ("PATH", "DATABASE_URL", "REDIS_URL", "SECRET_KEY", "FIELD_KEYS", "PUBLIC_URL", "MEDIA_ROOT", "STATIC_ROOT")
    environment = {name: os.environ[name] for name in names} | {"ALLOWED_HOSTS": "bridge.example"}
    done = subprocess.run(
        [sys.executable, "manage.py", "check", "--deploy", "--fail-level", "WARNING"],
        cwd=ROOT, env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "no issues (3 silenced)" in done.stdout


@pytest.mark.parametrize(
    ("host", "more", "direct"),
    [
        ("127.0.0.1:8000", {}, True),
        ("localhost:8000", {}, True),
        ("[::1]:8000", {}, True),
        ("bridge.example", {}, False),
        ("127.0.0.1.evil.example", {}, False),
        ("127.0.0.1:8000", {"HTTP_X_FORWARDED_FOR": "192.0.2.1"}, False),
        ("127.0.0.1:8000", {"HTTP_X_FORWARDED_PROTO": "http"}, False),
        ("127.0.0.1:8000", {"HTTP_VIA": "1.1 proxy"}, False),
        ("127.0.0.1:8000", {"SERVER_PROTOCOL": "HTTP/1.0"}, False),
        ("127.0.0.1:8000", {"REMOTE_ADDR": "192.0.2.1"}, False),
    ],
)
def test_before_the_proxy_stands_staff_log_in_on_this_machine(
    settings: object, admin_user: object, host: str, more: dict[str, str], direct: bool
) -> None:
    settings.HTTPS_REDIRECT = settings.SESSION_COOKIE_SECURE = settings.CSRF_COOKIE_SECURE = True  # type: ignore[attr-defined]
    client = Client(HTTP_HOST=host, **more)
    login = client.get("/admin/login/")
    assert login.status_code == (200 if direct else 302)
    assert bool(login.cookies.get("csrftoken")) == direct
    if direct:
        entered = client.post("/admin/login/", {"username": "admin", "password": "password", "next": "/admin/"})
        assert entered.status_code == 302
        assert not entered.cookies["sessionid"]["secure"]
