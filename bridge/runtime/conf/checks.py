"""System checks of every setting. The launcher runs them first, so that a missing or wrong setting stops the start with advice."""

from __future__ import annotations

import base64
import binascii
import ipaddress
import os
import re
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from django.conf import settings
from django.core.checks import CheckMessage, Error, Warning, register
from django.core.exceptions import ImproperlyConfigured, ValidationError
from django.core.validators import validate_email

from bridge.runtime.conf import environment
from bridge.runtime.conf.capacity import WEB_THREADS
from channels_wechat.wire.addresses import parse_address
from channels_wechat.wire.ssrf_guard import parse_allowed

if TYPE_CHECKING:
    from collections.abc import Iterator

SECRET_COMMAND = "python3 -c 'import base64, secrets; print(base64.b64encode(secrets.token_bytes(32)).decode())'"  # noqa: S105 - makes one
STAMP_FILE = ".stamp"  # in STATIC_ROOT; written when the static files were collected
HOST_NAME = re.compile(r"(\*\.)?[a-z0-9_-]+(\.[a-z0-9_-]+)*", re.IGNORECASE)

# By setting: the number of the check, and what to do about a value that `bridge.runtime.conf.environment` could not read.
HINTS_OF_UNREADABLE = {
    "DEBUG": ("E010", "Set DEBUG=1 while developing; leave it out otherwise."),
    "DEMO": ("E011", "Leave DEMO out: `make demo` sets it."),
    "DATABASE_URL": (
        "E004",
        "Set it like postgres://user:password@host:5432/bridge, or leave it out: `make run` then starts PostgreSQL.",
    ),
    "DB_POOL_SIZE": ("E012", "Set how many connections one process may open, or 0 for no pool; 24 suits most."),
    "WORKER_THREADS": ("E013", "Set how many tasks the worker does at the same time; 8 suits most."),
    "SEND_THREADS": ("E014", "Set how many deliveries a worker sends at the same time; 12 suits most."),
    "MAX_AGE_QUESTION": ("E015", "Set after how many seconds a question is too old to be asked; 3600 is one hour."),
    "MAX_AGE_ANSWER": ("E016", "Set after how many seconds an answer is too old to be sent; 21600 is six hours."),
    "MAX_AGE_WEBHOOK": (
        "E045",
        "Set after how many seconds an event is too old to be sent to a webhook; 259200 is three days.",
    ),
    "EMAIL_URL": (
        "E017",
        "Set it like smtp+tls://user:password@mail.example.com:587, or leave it out: mail then goes to the log.",
    ),
    "API_RATE": ("E040", "Set how many requests a minute one API token may make; 600 suits most."),
    "SPOOL_MAX_MB": ("E042", "Set how many MB callbacks may take on disk while the database is away; 256 suits most."),
    "SPOOL_MAX_MESSAGES": ("E043", "Set how many callbacks a process may keep on disk; 100000 suits most."),
    "TIME_ZONE": ("E018", "Set a name like Asia/Shanghai or Europe/Berlin."),
    "RETENTION_DAYS": (
        "E030",
        "Set for how many days the messages of a new account are kept, 7 or more, or 0 for ever.",
    ),
    "LOG_FORMAT": ("E032", "Set LOG_FORMAT=line for people, or LOG_FORMAT=json for machines."),
    "LOG_LEVEL": ("E019", "Set LOG_LEVEL=INFO."),
    "HTTPS_REDIRECT": ("E023", "Leave it out, or set HTTPS_REDIRECT=0 where the proxy sets no X-Forwarded-Proto."),
    "HSTS_SECONDS": ("E024", "Set a number of seconds; 2592000 is 30 days, 0 is not at all."),
    "LOGIN_FAILURES": ("E025", "Set after how many wrong passwords a name is locked; 5 suits most."),
    "LOGIN_LOCK_MINUTES": ("E026", "Set for how many minutes a name is locked; 15 suits most."),
    "LOGIN_ADDRESS_FAILURES": ("E028", "Set how many failed logins one address may have in that time; 30 suits most."),
    "SESSION_HOURS": ("E027", "Set after how many hours staff log in again; 12 is a working day."),
}


def make_error(number: str, message: str, hint: str) -> Error:
    """Make an error of this project."""
    return Error(message, hint=hint, id=f"bridge.{number}")


@register
def check_settings(**_kwargs: Any) -> list[CheckMessage]:
    """Check every setting. The ids are in the order of `.env.example`."""
    messages: list[CheckMessage] = list(_check_unreadable())
    for check in (
        _check_secrets,
        _check_addresses,
        _check_folders,
        _check_alerts,
        _check_private_hosts,
        _check_proxies,
        _check_pool,
        _check_metrics,
    ):
        messages.extend(check())
    return messages


def _check_unreadable() -> Iterator[Error]:
    for name, problem in environment.problems.items():
        number, hint = HINTS_OF_UNREADABLE[name]
        yield make_error(number, f"{name} {problem}.", hint)


def _check_secrets() -> Iterator[Error]:
    try:
        key = settings.SECRET_KEY
    except ImproperlyConfigured:
        key = ""
    if len(key) < 32:
        yield make_error(
            "E001",
            "SECRET_KEY is missing or shorter than 32 characters.",
            f"Put what this prints into it: {SECRET_COMMAND}",
        )
    if not settings.FIELD_KEYS:
        hint = f"Put what this prints into it, and keep a copy: without it no stored credential can be read. {SECRET_COMMAND}"
        yield make_error("E002", "FIELD_KEYS is missing.", hint)
    for position, field_key in enumerate(settings.FIELD_KEYS, start=1):
        if not _is_key(field_key):
            yield make_error(
                "E002",
                f"Key {position} of FIELD_KEYS is not the base64 of 32 bytes.",
                f"Make one with: {SECRET_COMMAND}",
            )


def _is_key(text: str) -> bool:
    try:
        return len(base64.b64decode(text, validate=True)) == 32
    except (binascii.Error, ValueError):
        return False


def _check_addresses() -> Iterator[Error]:
    scheme, rest = _split_address(settings.PUBLIC_URL)
    if scheme not in {"http", "https"} or rest:
        hint = "Set the address at which WeChat reaches this bridge, like PUBLIC_URL=https://bridge.example.com, without a path."
        yield make_error("E003", "PUBLIC_URL is missing or not an address of the form https://host.", hint)
    elif scheme == "http" and not (settings.DEBUG or settings.DEMO):
        hint = "WeChat calls https addresses, and staff type passwords there. Put a TLS proxy in front and use its https address."
        yield make_error("E003", "PUBLIC_URL is not https.", hint)
    if not os.environ.get("DATABASE_URL"):
        hint = "Start with `make run`, which brings its own PostgreSQL, or set it like postgres://user:password@host:5432/bridge."
        yield make_error("E004", "DATABASE_URL is missing.", hint)
    if not _is_broker(settings.REDIS_URL):
        hint = "Start with `make run`, which brings its own Valkey, or set it like redis://host:6379/0 or unix:///run/valkey.sock?db=0."
        yield make_error(
            "E005", "REDIS_URL is missing or not an address that begins with redis://, rediss:// or unix://.", hint
        )


def _split_address(address: str) -> tuple[str, str]:
    """Return the scheme and what follows the host. The scheme is empty if there is no host or the address cannot be read."""
    try:
        parts = urlsplit(address)
        _ = parts.port
    except ValueError:
        return "", ""
    return (parts.scheme if parts.hostname else ""), parts.path + parts.query + parts.fragment


def _is_broker(address: str) -> bool:
    if address.startswith("unix:///"):
        return True
    return _split_address(address)[0] in {"redis", "rediss"}


def _check_metrics() -> Iterator[Error]:
    token = settings.METRICS_TOKEN
    if token and (len(token) < 16 or not token.isascii() or not token.isprintable()):
        hint = f"Put what this prints into it, or leave it out: /metrics is then disabled. {SECRET_COMMAND}"
        yield make_error(
            "E031", "METRICS_TOKEN is shorter than 16 characters, or holds some that no header carries.", hint
        )


def _check_folders() -> Iterator[Error]:
    """Check that the folders can be written, except that of static files in an image, which are collected already."""
    for number, name in (("E006", "MEDIA_ROOT"), ("E007", "STATIC_ROOT"), ("E044", "SPOOL_DIR")):
        folder = Path(getattr(settings, name))
        if not (folder / STAMP_FILE).exists() and not _is_writable(folder):
            yield make_error(
                number, f"{name} cannot be written.", "Name a folder that the user of this process may write to."
            )


def _is_writable(folder: Path) -> bool:
    """Try to write: permission bits do not tell about root, read-only mounts and full disks."""
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            return True
    except OSError:
        return False


def _check_alerts() -> Iterator[Error]:
    if settings.ALERT_WEBHOOK_URL and not _is_address(settings.ALERT_WEBHOOK_URL):
        hint = "Set an http(s) address, for instance that of a WeCom group robot, or leave it out."
        yield make_error("E008", "ALERT_WEBHOOK_URL is not an http(s) address.", hint)
    for name, addresses in (("ALERT_EMAIL", settings.ALERT_EMAIL), ("ALERT_FROM", [settings.DEFAULT_FROM_EMAIL])):
        if not all(_is_email(address) for address in addresses):
            yield make_error(
                "E009",
                f"{name} holds something that is no e-mail address.",
                "Set addresses like ops@example.com, with commas between them.",
            )


def _is_address(text: str) -> bool:
    try:
        parse_address(text, query=True)
    except ValidationError:
        return False
    return True


def _is_email(text: str) -> bool:
    try:
        validate_email("bridge@example.com" if text == "bridge@localhost" else text)
    except ValidationError:
        return False
    return True


def _check_private_hosts() -> Iterator[Error]:
    for name in ("ALLOWED_PRIVATE_HOSTS", "ALLOWED_PRIVATE_MEDIA_HOSTS"):
        if not all(_is_allowed(entry) for entry in getattr(settings, name)):
            hint = (
                "Set host:port with commas between them, like 127.0.0.1:18789,10.1.0.0/16:8080,gateway.internal:18789."
                " Without a port, 80 and 443 are meant; host:* is every port."
            )
            yield make_error("E020", f"{name} holds something that is no name, address or network with a port.", hint)
    if not all(host == "*" or _is_host(host.removeprefix(".")) for host in settings.ALLOWED_HOSTS):
        hint = "Set the host names this bridge answers to, without scheme and port, or leave it out to answer to all."
        yield make_error("E021", "ALLOWED_HOSTS holds something that is no host name.", hint)


def _is_allowed(entry: str) -> bool:
    try:
        allowed = parse_allowed(entry)
    except ValueError:
        return False
    return allowed.network is not None or HOST_NAME.fullmatch(allowed.host) is not None


def _is_host(text: str) -> bool:
    return _is_network(text) or HOST_NAME.fullmatch(text) is not None


def _is_network(text: str) -> bool:
    try:
        ipaddress.ip_network(text, strict=False)
    except ValueError:
        return False
    return True


def _check_proxies() -> Iterator[Error]:
    if not all(_is_network(proxy) for proxy in settings.TRUSTED_PROXIES):
        hint = (
            "Set addresses or networks with commas between them, like 127.0.0.1,172.18.0.0/16; names are not looked up."
        )
        yield make_error("E022", "TRUSTED_PROXIES holds something that is no address or network.", hint)


def _check_pool() -> Iterator[Warning]:
    threads = max(WEB_THREADS, settings.CELERY_WORKER_CONCURRENCY, settings.SEND_THREADS)
    if 0 < settings.DB_POOL_SIZE < threads:
        hint = f"A pool smaller than the number of threads costs much of the speed: set at least {threads}, or 0 for no pool."
        yield Warning("DB_POOL_SIZE is smaller than the number of threads.", hint=hint, id="bridge.W001")
