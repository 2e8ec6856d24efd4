"""Secrets planted wherever one can be, and a search through everything a run produced."""

from __future__ import annotations

import re
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urljoin, urlsplit

import requests
from django.apps import apps
from django.db import connection

from accounts.fields import Encrypted

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    import redis

LONG_ENOUGH = 6  # characters; what is shorter is no secret but a word
MOST_PAGES = 400
_LINK = re.compile(rb'\s(?:href|action|hx-get|data-url)="([^"#]+)')
# Signing out, and the language form, would change the session that is looking.
_NOT_FOLLOWED = ("logout", "/jsi18n/", "/i18n/", "/static/")


@dataclass
class Search:
    """secrets: name → value; places: where each was found, and how often it looked."""

    secrets: dict[str, str] = field(default_factory=dict)
    found: set[tuple[str, str]] = field(default_factory=set)
    looked: dict[str, int] = field(default_factory=dict)

    def add(self, name: str, value: str) -> str:
        if len(value) >= LONG_ENOUGH:
            self.secrets[name] = value
        return value

    def add_stored(self) -> None:
        """Everything that is encrypted in a column: what staff typed in, and what platforms gave since."""
        for model in apps.get_models():
            for column in model._meta.fields:
                if isinstance(column, Encrypted):
                    for row in model._default_manager.all():
                        self._add_value(f"{model._meta.label}.{column.name} {row.pk}", getattr(row, column.name))

    def _add_value(self, name: str, value: Any) -> None:
        if isinstance(value, dict):
            for key, item in value.items():
                if key in ("secret", "token", "encoding_aes_key"):
                    self.add(f"{name} {key}", str(item))
        elif value and value.startswith("http"):
            parts = urlsplit(value)  # the secret of an address is in its path or query
            self.add(f"{name} query", parts.query.partition("=")[2])
            self.add(f"{name} path", parts.path if not parts.query else "")
        else:  # of a key in lines, one line: a newline is written differently everywhere
            self.add(name, max((value or "").splitlines(), key=len, default=""))

    def look(self, kind: str, place: str, content: bytes | str) -> None:
        """content: as it was produced; text is searched as UTF-8."""
        data = content.encode("utf-8", "surrogateescape") if isinstance(content, str) else content
        self.looked[kind] = self.looked.get(kind, 0) + 1
        for name, secret in self.secrets.items():
            if secret.encode() in data:
                self.found.add((name, f"{kind} {place}"))


def files(search: Search, kind: str, folder: Path) -> None:
    for path in folder.rglob("*"):
        if path.is_file() and not path.is_symlink():
            search.look(kind, str(path.relative_to(folder)), path.read_bytes())


def database(search: Search) -> None:
    """Every row of every table, as text."""
    with connection.cursor() as cursor:
        for table in connection.introspection.table_names(cursor):
            cursor.execute(f'SELECT t::text FROM "{table}" t')  # noqa: S608 - a name from the catalogue
            for number, (row,) in enumerate(cursor.fetchall()):
                search.look("database", f"{table} row {number}", row)


def valkey(search: Search, client: redis.Redis) -> None:
    """Every key, and its value as Valkey would dump it (short strings stay readable in a dump)."""
    readers: Mapping[bytes, Any] = {
        b"string": client.get,
        b"hash": client.hgetall,
        b"set": client.smembers,
        b"list": lambda key: client.lrange(key, 0, -1),
        b"zset": lambda key: client.zrange(key, 0, -1),
    }
    for key in client.scan_iter():
        with suppress(KeyError):
            search.look("valkey", repr(key), repr(key) + repr(readers[client.type(key)](key)))


def command_lines(search: Search) -> None:
    """What everybody on the machine can read of every process."""
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with suppress(OSError):
            search.look("process list", path.parent.name, path.read_bytes())


def pages(search: Search, session: requests.Session, start: str) -> set[str]:
    """Every page that can be reached by links from `start`, of the same site; the addresses looked at."""
    waiting, seen = [start], {start}
    while waiting and len(seen) <= MOST_PAGES:
        address = waiting.pop(0)
        answer = session.get(address, timeout=60)
        search.look("page", address, b"\n".join([answer.content, repr(dict(answer.headers)).encode()]))
        for link in _links(address, answer.content):
            if link not in seen:
                seen.add(link)
                waiting.append(link)
    return seen


def _links(address: str, content: bytes) -> Iterator[str]:
    """Without the queries of lists: each sorting and filter is a page of the same rows."""
    for found in _LINK.findall(content):
        link = urljoin(address, found.decode(errors="replace").replace("&amp;", "&"))
        same = urlsplit(link)[:2] == urlsplit(address)[:2]
        if same and not any(part in link for part in _NOT_FOLLOWED):
            yield link.partition("?")[0]


def api(search: Search, base: str, headers: Mapping[str, str], paths: Iterable[str]) -> list[int]:
    """Each address of the API, and of each list the first row's; the statuses seen."""
    statuses = []
    for path in paths:
        answer = requests.get(f"{base}{path}", headers=dict(headers), timeout=60)
        search.look("api", path, answer.content)
        statuses.append(answer.status_code)
        for row in _rows(answer):
            detail = requests.get(f"{base}{path}{row}/", headers=dict(headers), timeout=60)
            search.look("api", f"{path}{row}/", detail.content)
            statuses.append(detail.status_code)
    return statuses


def _rows(answer: requests.Response) -> list[str]:
    with suppress(ValueError, AttributeError, KeyError, TypeError):
        return [str(row["id"]) for row in answer.json()["results"]]
    return []
