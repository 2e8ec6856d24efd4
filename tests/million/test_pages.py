"""Lists cost a fixed number of queries, whatever is in them. Their time at a million rows is measured by `make million`."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import quote

import pytest
from django.test import Client
from django.urls import reverse

from tests.million import pages
from tests.million.fill import fill
from tests.million.measure import cost, most_queries
from tests.million.texts import COMMON

if TYPE_CHECKING:
    import redis
    from django.contrib.auth.models import User

    from tests.million.measure import Cost


@pytest.fixture
def boss(admin_user: User, valkey: redis.Redis, settings: object) -> Client:
    settings.API_RATE = 100_000  # type: ignore[attr-defined]
    client = Client()
    client.force_login(admin_user)
    return client


def costs(client: Client) -> dict[str, Cost]:
    """Of every list as it opens, its second page and one search; filters cost what the list costs."""
    found = [*pages.admin_pages(client), *pages.api_pages(client)]
    plain = [
        page
        for page in found
        if page.is_list and "=" not in page.address.replace("p=2", "").replace(f"q={quote(COMMON)}", "")
    ]
    return {page.name: one for page in plain if (one := cost(client, page, times=1))}


@pytest.mark.django_db
def test_every_list_costs_few_queries_and_no_more_with_more_rows(boss: Client) -> None:
    fill(12)
    few = costs(boss)
    fill(36)
    many = costs(boss)
    assert reverse("admin:index") in {one.page.address for one in many.values()}
    assert len(many) > 40
    assert {name: one.queries for name, one in many.items() if one.queries > most_queries(one.page)} == {}
    # What a search finds may have names to look up; a list as it opens has the same at any size.
    same = {name for name in few if "search" not in name}
    assert {name: many[name].queries for name in same if many[name].queries > few[name].queries} == {}
