"""The addresses of all pages, found by walking the admin: a new page, filter or column is measured without being named here."""

from __future__ import annotations

from datetime import timedelta
from itertools import islice
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import quote, urlencode

import django_filters
from django.contrib import admin
from django.urls import reverse
from django.urls.exceptions import NoReverseMatch
from django.utils import timezone

from bridge.admin.paging import MAX_PAGE
from bridge.api.urls import router
from bridge.models import Conversation, Delivery, Message
from bridge.operations.figures.reports import Grouping
from tests.million.texts import COMMON, RARE

if TYPE_CHECKING:
    from collections.abc import Iterator

    from django.test import Client

# What people type: a rare word, a frequent one; two characters that are frequent, rare and nowhere; one character; an English word;
# a person; an id of the platform; the number of a row; the code of a failure; and nonsense.
WORDS = (
    RARE, COMMON, "报价", "花瓷", "请假", "茶", "staging", "赵伟明", "user0000031", "#4711", "81013", "no such words anywhere",
)  # fmt: skip
# Ninety days, as long as there are messages.
REPORT = urlencode({"first": timezone.now().date() - timedelta(days=89), "last": timezone.now().date()})
# Many values of one filter cost the same.
CHOICES = 30
# These show what the platform answers; our rows have no part in it.
ELSEWHERE = frozenset({"accounts_channelaccount_templates"})


class Page(NamedTuple):
    """is_list: a list or the dashboard, whose queries are few; a page of one row may ask for all that hangs on it."""

    name: str
    address: str
    is_list: bool = True


def admin_pages(client: Client) -> Iterator[Page]:
    yield Page("dashboard", reverse("admin:index"))
    for part in ("numbers", "numbers?days=7", "numbers?days=30", "sides"):
        name, _mark, query = part.partition("?")
        yield Page(f"dashboard, {part}", f"{reverse('dashboard_part', args=[name])}?{query}")
    for model, _desk in sorted(admin.site._registry.items(), key=lambda item: item[0].__name__):
        name = f"{model._meta.app_label}_{model._meta.model_name}"
        yield from list_pages(client, name, reverse(f"admin:{name}_changelist"))
        yield from _object_pages(name, model)
    for by in Grouping.values:
        # A file of conversations adds up every row of its days, which takes a second at a million messages: it is a download.
        files = () if by == Grouping.CONVERSATION else (("file of the report", "&format=csv"),)
        for name, more in (("report", ""), *files):
            yield Page(f"{name} by {by}", f"{reverse('reports')}?{REPORT}&by={by}{more}")
    yield from list_pages(client, "dead letters", reverse("admin:bridge_delivery_dead_letters"))
    for label, conversation in samples(Conversation).items():
        address = f"{reverse('admin:bridge_delivery_changelist')}?conversation={conversation.pk}"
        yield Page(f"deliveries of the {label} conversation", address)


def list_pages(client: Client, name: str, address: str) -> Iterator[Page]:
    """The list as it opens, its second and deepest page, each value of each filter, each column up and down, and each search."""
    answer: Any = client.get(address)
    if answer.status_code != 200:
        return
    found = answer.context_data["cl"]
    yield Page(name, address)
    yield Page(f"{name}, page 2", f"{address}?p=2")
    yield Page(f"{name}, deepest page", f"{address}?p={MAX_PAGE}")
    for spec in found.filter_specs:
        for choice in islice(spec.choices(found), CHOICES):
            query = choice.get("query_string", "?")
            if len(query) > 1:
                yield Page(f"{name}, {spec.title}: {choice['display']}", address + query)
    for number, column in enumerate(found.list_display):
        if column in found.sortable_by and found.get_ordering_field(column):
            for sign in ("", "-"):
                yield Page(f"{name}, by {column} {sign}", f"{address}?o={sign}{number}")
    if found.search_fields:
        for word in WORDS:
            yield Page(f"{name}, search {word}", f"{address}?q={quote(word)}")


def _object_pages(name: str, model: Any) -> Iterator[Page]:
    """Every page of one row that can be opened: those below the list that take its id."""
    rows = samples(model)
    for pattern in admin.site._registry[model].urls:
        if pattern.name in ELSEWHERE:
            continue
        for label, row in rows.items():
            try:
                address = reverse(f"admin:{pattern.name}", args=[row.pk]) if pattern.name else ""
            except NoReverseMatch:
                continue
            if address:
                yield Page(f"{pattern.name} {label}", address, is_list=False)


def samples(model: Any) -> dict[str, Any]:
    """Rows worth opening: the newest, and the ones with the most behind them."""
    rows = {"newest": model._default_manager.order_by("-pk").first()}
    if model is Conversation:
        first = Message.objects.order_by("pk").first()
        rows["of a fifth of all"] = first and first.conversation
        rows["middle"] = Conversation.objects.order_by("pk")[Conversation.objects.count() // 2 :].first()
    if model is Delivery:
        rows["failed"] = Delivery.objects.filter(state="dead").first()
    return {label: row for label, row in rows.items() if row}


def api_pages(client: Client) -> Iterator[Page]:
    """Every list of the API as it opens, its next page, and each filter with each kind of value; one row of each; and the figures."""
    for prefix, view, name in router.registry:
        if not hasattr(view, "list"):
            continue
        address = reverse(f"{name}-list")
        yield Page(f"API {prefix}", address)
        listed = client.get(address).json()
        if listed["next"]:
            yield Page(f"API {prefix}, next page", listed["next"])
        for row in listed["results"][:1]:
            yield Page(f"API {prefix}, one", reverse(f"{name}-detail", args=[row["id"]]), is_list=False)
        filters = view.filterset_class.base_filters.items() if view.filterset_class else ()
        for field, condition in filters:
            for value in _values(field, condition, listed["results"]):
                yield Page(f"API {prefix}, {field}={value}", f"{address}?{urlencode({field: value})}")
    yield Page("API stats", reverse("stats"))
    for by in Grouping.values:
        yield Page(f"API reports by {by}", f"{reverse('stats-reports')}?{REPORT}&by={by}")


def _values(field: str, condition: Any, rows: list[dict[str, Any]]) -> list[Any]:
    """What to ask a filter: all choices; both answers; moments late, early and before anything; words; and what a row has."""
    if isinstance(condition, django_filters.ChoiceFilter):
        return [choice for choice, _label in condition.extra["choices"]]
    if isinstance(condition, django_filters.BooleanFilter):
        return ["true", "false"]
    if isinstance(condition, django_filters.IsoDateTimeFilter):
        return [(timezone.now() - timedelta(days=days)).isoformat() for days in (1, 45, 85, 900)]
    if field in ("text", "search"):
        return [word for word in WORDS if len(word) > 1]
    if field == "conversation":
        return [row.pk for row in samples(Conversation).values()]
    found = {row[field] for row in rows if row.get(field)}
    return [*sorted(found)[:3], "none-like-this" if isinstance(condition, django_filters.CharFilter) else 999_999_999]
