"""Every setting, broken once. The settings file is read anew with the wrong value in the environment, as at a start."""

from __future__ import annotations

import os
import re
import runpy
import subprocess
import sys
from io import StringIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from django.core.checks import run_checks
from django.core.management import call_command

from bridge.runtime.conf import environment
from bridge.runtime.conf.checks import HINTS_OF_UNREADABLE, check_settings

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from pytest_django.fixtures import SettingsWrapper

ROOT = Path(__file__).resolve().parents[2]
KEY = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="
# Read by the launcher, not by the settings.
OF_THE_LAUNCHER = {"HOST", "PORT", "CALLBACKS_PORT", "DATA_DIR"}


@pytest.fixture
def start(settings: SettingsWrapper, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., list[str]]]:
    """start(NAME="value") reads the settings with these variables and gives what the checks say, as 'id message'."""

    def read(**variables: str) -> list[str]:
        for name, value in variables.items():
            monkeypatch.setenv(name, value)
        fresh: dict[str, Any] = runpy.run_path(str(ROOT / "bridge" / "settings.py"))
        for name, value in fresh.items():
            if name.isupper() and getattr(settings, name, None) != value and name != "DATABASES":
                setattr(settings, name, value)
        return [f"{found.id} {found.msg}" for found in check_settings()]

    yield read
    monkeypatch.undo()
    runpy.run_path(str(ROOT / "bridge" / "settings.py"))
    assert not environment.problems


WRONG = {
    "E001": [("SECRET_KEY", ""), ("SECRET_KEY", "x" * 31)],
    "E002": [
        ("FIELD_KEYS", ""),
        ("FIELD_KEYS", "a2V5"),
        ("FIELD_KEYS", f"{KEY},{KEY[:-5]}"),
        ("FIELD_KEYS", f"!{KEY}"),
        ("FIELD_KEYS", "é"),
    ],
    "E003": [
        ("PUBLIC_URL", value)
        for value in (
            "",
            "bridge.example",
            "ftp://bridge.example",
            "https://",
            "https://a:b",
            "https://a/b",
            "http://a",
            "https://[",
        )
    ],
    "E004": [
        ("DATABASE_URL", value)
        for value in ("", "sqlite:///x", "mysql://u:secret@h/d", "nonsense", "postgres://h:port/d")
    ],
    "E005": [
        ("REDIS_URL", value) for value in ("", "valkey://h", "unix://run/sock", "redis://", "redis://h:x", "amqp://h")
    ],
    "E006": [("MEDIA_ROOT", "/proc/media"), ("MEDIA_ROOT", "/dev/null")],
    "E007": [("STATIC_ROOT", "/proc/static")],
    "E008": [("ALERT_WEBHOOK_URL", "alerts.example"), ("ALERT_WEBHOOK_URL", "ftp://alerts.example")],
    "E009": [("ALERT_EMAIL", "ops"), ("ALERT_EMAIL", "a@example.com,b"), ("ALERT_FROM", "bridge")],
    "E010": [("DEBUG", "perhaps")],
    "E011": [("DEMO", "2")],
    "E012": [("DB_POOL_SIZE", "-1"), ("DB_POOL_SIZE", "101"), ("DB_POOL_SIZE", "many")],
    "E013": [("WORKER_THREADS", "0"), ("WORKER_THREADS", "²")],
    "E014": [("SEND_THREADS", "0"), ("SEND_THREADS", "1.5")],
    "E015": [("MAX_AGE_QUESTION", "59"), ("MAX_AGE_QUESTION", "604801")],
    "E016": [("MAX_AGE_ANSWER", "never")],
    "E017": [("EMAIL_URL", "mail.example"), ("EMAIL_URL", "smtp://h:port")],
    "E018": [("TIME_ZONE", "Asia/Peking"), ("TIME_ZONE", "../etc")],
    "E019": [("LOG_LEVEL", "LOUD")],
    "E020": [
        ("ALLOWED_PRIVATE_HOSTS", "http://10.0.0.1"),
        ("ALLOWED_PRIVATE_HOSTS", "10.0.0.1,10.0.0.0/99"),
        ("ALLOWED_PRIVATE_HOSTS", "10.0.0.1:0"),
        ("ALLOWED_PRIVATE_MEDIA_HOSTS", "10.0.0.1:65536"),
        ("ALLOWED_PRIVATE_MEDIA_HOSTS", "10.0.0.1:http"),
    ],
    "E021": [("ALLOWED_HOSTS", "https://bridge.example"), ("ALLOWED_HOSTS", "bridge.example:443")],
    "E022": [("TRUSTED_PROXIES", "proxy.internal"), ("TRUSTED_PROXIES", "127.0.0.1,10.0.0.0/99")],
    "E023": [("HTTPS_REDIRECT", "maybe")],
    "E024": [("HSTS_SECONDS", "-1"), ("HSTS_SECONDS", "a year")],
    "E025": [("LOGIN_FAILURES", "0")],
    "E026": [("LOGIN_LOCK_MINUTES", "0"), ("LOGIN_LOCK_MINUTES", "1441")],
    "E028": [("LOGIN_ADDRESS_FAILURES", "4"), ("LOGIN_ADDRESS_FAILURES", "many")],
    "E027": [("SESSION_HOURS", "0")],
    "E040": [("API_RATE", "0"), ("API_RATE", "1000001"), ("API_RATE", "600/min")],
    "E030": [("RETENTION_DAYS", "6"), ("RETENTION_DAYS", "36501"), ("RETENTION_DAYS", "forever")],
    "E031": [("METRICS_TOKEN", "short"), ("METRICS_TOKEN", "long enough, but é")],
    "E032": [("LOG_FORMAT", "xml")],
    "E042": [("SPOOL_MAX_MB", "0"), ("SPOOL_MAX_MB", "much")],
    "E043": [("SPOOL_MAX_MESSAGES", "0")],
    "E044": [("SPOOL_DIR", "/proc/spool"), ("SPOOL_DIR", "/dev/null")],
    "E045": [("MAX_AGE_WEBHOOK", "59"), ("MAX_AGE_WEBHOOK", "3 days")],
    "W001": [("DB_POOL_SIZE", "11")],
}


@pytest.mark.parametrize(
    ("number", "name", "value"), [(number, *case) for number, cases in WRONG.items() for case in cases]
)
def test_a_wrong_value_is_found(start: Callable[..., list[str]], number: str, name: str, value: str) -> None:
    found = start(**{name: value})
    assert [line.split()[0] for line in found] == [f"bridge.{number}"]
    assert name in found[0]
    assert "secret" not in found[0]


def test_every_check_has_a_hint_and_is_broken_here() -> None:
    source = (ROOT / "bridge" / "runtime" / "conf" / "checks.py").read_text()
    assert set(re.findall(r'"(E\d{3})"', source)) | {"W001"} == set(WRONG)
    assert all(hint for _number, hint in HINTS_OF_UNREADABLE.values())


def test_every_value_that_may_be_unreadable_has_words() -> None:
    """Without them the check itself would break, and the start would end with a traceback."""
    source = (ROOT / "bridge" / "settings.py").read_text()
    parsed = re.findall(r'read_setting\(\s*"(\w+)",\s*(\w+)', source)
    assert {name for name, parse in parsed if parse not in ("str", "split_words")} == set(HINTS_OF_UNREADABLE)


RIGHT = [
    {},
    {"DEBUG": "yes", "PUBLIC_URL": "http://localhost:8000"},
    {"DEMO": "1", "PUBLIC_URL": "http://127.0.0.1:8000/"},
    {"PUBLIC_URL": "https://bridge.example:8443"},
    {"FIELD_KEYS": f"{KEY}, {KEY}"},
    {"REDIS_URL": "redis://:secret@valkey:6379/0"},
    {"REDIS_URL": "rediss://valkey"},
    {"DATABASE_URL": "postgresql://user:p%40ss@db:5432/bridge"},
    {"ALLOWED_PRIVATE_HOSTS": "127.0.0.1, 10.1.0.0/16,fd00::/8,gateway.internal,*.lan"},
    {"ALLOWED_PRIVATE_HOSTS": "127.0.0.1:18789,10.1.0.0/16:*,[fd00::/8]:80,gateway.internal:18789,*.lan:8080"},
    {"ALLOWED_PRIVATE_MEDIA_HOSTS": "files.internal:8080"},
    {"ALLOWED_HOSTS": "bridge.example,.example.org"},
    {"TRUSTED_PROXIES": "10.0.0.5, 172.18.0.0/16,fd00::/8", "HTTPS_REDIRECT": "0", "HSTS_SECONDS": "0"},
    {"ALERT_EMAIL": "ops@example.com, boss@example.com", "ALERT_WEBHOOK_URL": "https://alerts.example/hook?key=1"},
    {"EMAIL_URL": "smtp+tls://user:secret@mail.example:587", "ALERT_FROM": "bridge@example.com"},
    {"DB_POOL_SIZE": "0"},
    {"DB_POOL_SIZE": "24", "LOG_LEVEL": "debug", "TIME_ZONE": "Europe/Berlin"},
]


@pytest.mark.parametrize("variables", RIGHT, ids=str)
def test_a_right_value_is_not_found_wrong(start: Callable[..., list[str]], variables: dict[str, str]) -> None:
    assert start(**variables) == []


def test_an_empty_value_is_the_default(start: Callable[..., list[str]], settings: SettingsWrapper) -> None:
    assert start(LOG_LEVEL="", TIME_ZONE=" ", DB_POOL_SIZE="", ALERT_EMAIL="") == []
    assert (settings.LOG_LEVEL, settings.TIME_ZONE, settings.DB_POOL_SIZE) == ("INFO", "Asia/Shanghai", 24)


def test_one_address_form_serves_redis_py_and_celery(
    start: Callable[..., list[str]], settings: SettingsWrapper
) -> None:
    start(REDIS_URL="unix:///run/valkey.sock?db=0")
    assert settings.CELERY_BROKER_URL == "redis+socket:///run/valkey.sock?virtual_host=0"
    start(REDIS_URL="redis://valkey:6379/1")
    assert settings.CELERY_BROKER_URL == "redis://valkey:6379/1"


def test_every_setting_stands_in_the_example_with_its_default() -> None:
    read = set(re.findall(r'read_setting\(\s*"(\w+)"', (ROOT / "bridge" / "settings.py").read_text()))
    example = re.findall(r"^(?:# )?([A-Z_]+)=", (ROOT / ".env.example").read_text(), re.MULTILINE)
    assert sorted(example) == sorted((read - {"DEMO"}) | OF_THE_LAUNCHER)


def test_the_example_holds_no_secret() -> None:
    for line in (ROOT / ".env.example").read_text().splitlines():
        if line.startswith(("SECRET_KEY", "FIELD_KEYS")):
            assert line.endswith("=")


@pytest.mark.django_db
def test_the_project_passes_every_check_of_django_s() -> None:
    assert [str(found) for found in run_checks(include_deployment_checks=False)] == []


def test_every_command_runs_these_checks() -> None:
    """Nobody imports them but the app itself, when it is ready."""
    command = [sys.executable, "manage.py", "check"]
    environ = {**os.environ, "LOG_LEVEL": "LOUD"}
    found = subprocess.run(command, cwd=ROOT, env=environ, capture_output=True, text=True, check=False)
    assert found.returncode == 1
    assert "(bridge.E019) LOG_LEVEL" in found.stderr


@pytest.mark.django_db
def test_the_migrations_match_the_models() -> None:
    call_command("makemigrations", check=True, dry_run=True, stdout=StringIO())


def pins(text: str) -> dict[str, list[str]]:
    """Each package of a requirements file with its SHA-256 hashes. Refuses what is no pin in pip-compile's form."""
    entry = re.compile(
        r"([a-z0-9-]+)(?:\[[a-z,]+\])?==[\w.]+ \\\n((?:    --hash=sha256:[0-9a-f]{64}(?: \\)?\n)*)    # via .+\n"
    )
    assert entry.sub("", text) == ""
    return {name: re.findall("[0-9a-f]{64}", hashes) for name, hashes in entry.findall(text)}


@pytest.mark.parametrize("name", ["requirements.txt", "requirements-dev.txt"])
def test_every_pin_has_its_hashes_and_names_no_machine(name: str) -> None:
    found = pins((ROOT / name).read_text())
    assert len(found) > 60
    assert [package for package, hashes in found.items() if not hashes] == []
    # psycopg-binary and the like have a file for each Python and processor: not only this machine's are known.
    assert name != "requirements.txt" or len(found["psycopg-binary"]) > 20
    assert "--require-hashes --requirement $(FILE)".replace("$(FILE)", name) in (ROOT / "Makefile").read_text()


@pytest.mark.parametrize(("text", "fits"), [("0", False), ("1", True), ("9", True), ("10", False), ("²", False)])
def test_both_ends_of_a_range_belong_to_it(text: str, fits: bool) -> None:
    parse = environment.make_number_parser(1, 9)
    if fits:
        assert parse(text) == int(text)
    else:
        with pytest.raises(ValueError, match="from 1 to 9"):
            parse(text)
