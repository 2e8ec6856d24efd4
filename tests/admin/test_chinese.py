"""No English is left on a Chinese page: pages are read for Latin words outside a list, with rows and without, also errors and the login."""

from __future__ import annotations

import re
from contextlib import suppress
from html.parser import HTMLParser
from typing import TYPE_CHECKING, Any

import pytest
from django.apps import apps
from django.db.models import CharField, JSONField, TextField
from django.test import Client
from django.urls import NoReverseMatch, get_resolver, reverse

from tests.admin.test_pages import EMPTY_PAGES, object_pages

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support import factories

CHINESE = {"HTTP_ACCEPT_LANGUAGE": "zh-CN"}
# Elements whose text is code, or is not shown. Of the icon font the text is the icon's name.
NOT_READ = {"script", "style", "svg", "code", "pre", "time", "noscript"}
EMPTY_ELEMENTS = {"input", "br", "img", "meta", "link", "hr", "source", "col", "wbr", "area", "embed", "track"}
SHOWN_ATTRIBUTES = ("title", "alt", "placeholder", "aria-label", "data-confirm", "data-done", "data-show", "data-hide")
# Names, and what has no Chinese name in the platforms' own consoles.
NAMES = {
    "access_token", "AES", "Agent", "AgentId", "AI", "AMR", "API", "AppID", "AppSecret", "Asia", "Axes", "Bot", "CA", "Command",
    "Control", "Cookie", "corpid", "CSV", "Ctrl", "EncodingAESKey", "English", "Enter", "Esc", "esc", "GIF", "http", "HTTP", "HTTPS",
    "https", "ID", "Idempotency", "IDs", "iLink", "IP", "JPG", "JSON", "KB", "kB", "Key", "KiB", "Knox", "LDAP", "Mac",
    "Markdown", "MB", "MD", "MiB", "ms", "OK", "OpenAPI", "OpenClaw", "OpenID", "openid", "PBKDF", "PEM", "PNG", "Puppet", "QR",
    "RSA", "Secret", "Service", "SHA", "Shanghai", "Shift", "SSL", "Standard", "TLS", "Token", "token", "URL", "userid", "UTC",
    "Valkey", "VoIP",
    "xn", "Webhook", "Webhooks", "WebSocket", "Wechaty", "WeCom", "XML",
}  # fmt: skip
# Types of messages as the platforms call them, and the names of the groups of staff that are rows since the installation.
CODES = {
    "action", "Admins", "card", "event", "file", "image", "link", "location", "markdown", "miniprogram",
    "miniprogram_notice", "miniprogrampage", "mixed", "mpnews", "mpnewsarticle", "msgmenu", "music", "news", "Operators",
    "subscribe", "text", "textcard", "unsupported", "video", "Viewers", "voice", "wxcard",
}  # fmt: skip
WORD = re.compile(r"[A-Za-z][A-Za-z_]+")
# Addresses, paths, names of hosts, file names, ids, hashes and what stands for them: they are the same in every language.
TECHNICAL = re.compile(
    r"\[\[\w+|\bwebhook-[a-z]+\b|openclaw devices approve\b|manage\.py \w+ USER\b|\b\w+\*{3,}"
    r"|(?:https?|wss?)://\S+|/[\w./:-]+|[\w.-]+@[\w.-]+|\b\w+(?:[.:]\w+)+\b|\b[\w-]*\d[\w-]*\b|#\w+|%\(\w+\)s|\{\w+\}|@all"
    r"|\b\w*_\w*|\"\w+\"\s*:|:\s*null\b|\bnull$"
)


class Shown(HTMLParser):
    """Collects what a reader sees or hears of a page."""

    def __init__(self) -> None:
        super().__init__()
        self.hidden: list[str] = []
        self.texts: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = {name: value or "" for name, value in attrs}
        if tag not in EMPTY_ELEMENTS and (
            self.hidden or tag in NOT_READ or "material-symbols" in values.get("class", "")
        ):
            self.hidden.append(tag)
        self.texts += [values[name] for name in SHOWN_ATTRIBUTES if values.get(name)]
        if tag == "input" and values.get("type") in {"submit", "button"}:
            self.texts.append(values.get("value", ""))

    def handle_endtag(self, tag: str) -> None:
        if self.hidden and tag == self.hidden[-1]:
            self.hidden.pop()

    def handle_data(self, data: str) -> None:
        if not self.hidden and data.strip():
            self.texts.append(" ".join(data.split()))


def words_of(html: str, entered: list[str]) -> set[str]:
    """The Latin words of a page that are neither names nor what the test entered."""
    page = Shown()
    page.feed(html)
    found: set[str] = set()
    for text in page.texts:
        rest = text
        for known in entered:
            if known in rest:
                rest = re.sub(rf"(?<![A-Za-z0-9_.]){re.escape(known)}(?![A-Za-z0-9_]|\.[A-Za-z])", " ", rest)
        found |= {word for word in WORD.findall(TECHNICAL.sub(" ", rest)) if word not in NAMES | CODES}
    return found


def entered_texts() -> list[str]:
    """The texts of all rows, the longest first; not the words that code chose, such as states."""
    found: set[str] = set()
    for model in apps.get_models():
        if model._meta.app_label not in {"accounts", "bridge", "openclaw"} and model._meta.model_name != "user":
            continue
        fields = [
            field
            for field in model._meta.concrete_fields
            if isinstance(field, CharField | TextField | JSONField) and not field.choices
        ]
        for row in model._base_manager.all():
            for field in fields:
                found.update(_strings_in(getattr(row, field.attname, None)))
    return sorted((text for text in found if len(text) > 1), key=len, reverse=True)


def _strings_in(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield from (value, " ".join(value.split()))
    elif isinstance(value, dict):
        for name, inner in value.items():
            yield str(name)
            yield from _strings_in(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _strings_in(inner)


def entered_here() -> list[str]:
    return [*entered_texts(), "admin", "staff"]


def english_on(client: Client, entered: list[str], addresses: list[str]) -> list[str]:
    """A line for each page with English on it. entered: what the test entered."""
    lines = []
    for address in addresses:
        answer: Any = client.get(address, **CHINESE)
        assert answer.status_code in (200, 404), address
        lines += english_in(answer, address, entered)
    return lines


def english_in(answer: Any, about: str, entered: list[str]) -> list[str]:
    """A line if the answer is a page with English on it; what is no page, such as a file, is not read."""
    if not answer.get("Content-Type", "").startswith("text/html"):
        return []
    assert answer["Content-Language"] == "zh-hans", about
    words = words_of(answer.content.decode(), entered)
    return [f"{about}: {', '.join(sorted(words))}"] if words else []


def test_no_english_on_pages_without_rows(boss: Client) -> None:
    assert english_on(boss, entered_here(), [reverse(f"admin:{name}") for name in EMPTY_PAGES]) == []


def test_no_english_on_lists(boss: Client, world: factories.World) -> None:
    assert english_on(boss, entered_here(), [reverse(f"admin:{name}") for name in EMPTY_PAGES]) == []


def test_no_english_on_pages_of_rows(boss: Client, world: factories.World) -> None:
    pages = [reverse(f"admin:{name}", args=[pk]) for name, pk in object_pages(world).items()]
    assert english_on(boss, entered_here(), pages) == []


def test_no_english_on_error_pages_and_the_login(boss: Client) -> None:
    assert english_on(boss, entered_here(), ["/admin/nothing/here/"]) == []
    assert english_on(Client(), entered_here(), ["/admin/login/"]) == []


def list_addresses(client: Client) -> list[str]:
    """Every address of the admin that names no row and answers with a page."""
    pages = []
    for name in sorted(
        name for name in get_resolver(None).namespace_dict["admin"][1].reverse_dict if isinstance(name, str)
    ):
        with suppress(NoReverseMatch):
            pages.append(reverse(f"admin:{name}"))
    pages = [page for page in pages if "logout" not in page and "jsi18n" not in page]
    answers = {page: client.get(page) for page in pages}
    return [
        page
        for page, answer in answers.items()
        if answer.status_code == 200 and answer["Content-Type"].startswith("text/html")
    ]


def test_no_english_on_any_page_that_names_no_row(boss: Client, world: factories.World) -> None:
    pages = list_addresses(boss)
    assert len(pages) > len(EMPTY_PAGES)
    assert english_on(boss, entered_here(), pages) == []


def test_no_english_on_other_pages_of_staff(boss: Client, admin_user: Any, world: factories.World) -> None:
    pages = [reverse("admin:auth_user_change", args=[admin_user.pk]), reverse("reports")]
    pages += [reverse("dashboard_part", args=[part]) for part in ("numbers", "sides")]
    assert english_on(boss, entered_here(), pages) == []


@pytest.mark.parametrize(
    ("html", "words"),
    [
        ("<p>Save</p>", {"Save"}),
        ("<p>保存</p><script>let word;</script><span class='material-symbols-outlined'>arrow_back</span>", set()),
        ('<input type="submit" value="Send"><a title="Open it">打开</a>', {"Send", "Open", "it"}),
        ("<p>OpenClaw 的 API：https://bridge.example/a/b，张三 Zhang San</p>", set()),
        ("<p>2 messages</p>", {"messages"}),
    ],
)
def test_english_is_found(html: str, words: set[str]) -> None:
    assert words_of(html, ["Zhang San"]) == words
