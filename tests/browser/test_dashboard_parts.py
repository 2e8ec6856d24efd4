"""The start page fills itself, keeps itself up to date, and moves nothing that is under the reader's pointer."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
from django.contrib.auth.models import User
from django.db import connection
from django.utils import timezone

from accounts import work
from accounts.health import Health
from bridge.operations.figures.counting import count_due_periods
from tests.browser.camera import photograph
from tests.browser.desk import Desk, chromium
from tests.figures import history
from tests.support import factories

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    import redis

pytestmark = [pytest.mark.heavy, pytest.mark.django_db(transaction=True)]
PAGES = {
    "dashboard": "/admin/?days=7",
    "reports": "/admin/reports/?by=account",
    "uptime-account": "/admin/accounts/channelaccount/{account}/change/",
    "uptime-gateway": "/admin/openclaw/gateway/{gateway}/change/",
}


def elsewhere(make: Callable[[], Any]) -> Any:
    """Run it in a thread: this one has the browser's event loop, in which Django refuses queries."""

    def run() -> Any:
        try:
            return make()
        finally:
            connection.close()

    with ThreadPoolExecutor(1) as pool:
        return pool.submit(run).result()


def fill(valkey: redis.Redis) -> history.History:
    past = history.begin(11, days=6)
    history.go_on(past, 150)
    account, gateway = past.chats[0][1].account, past.chats[0][1].gateway
    for state in (Health.OK, Health.FAILING, Health.OK):
        account.set_state(state, "timeout" if state == Health.FAILING else "")
    gateway.set_state(Health.STOPPED, "wrong_token")
    count_due_periods(60)
    with valkey.pipeline() as pipe:
        for process in ("worker:here:12", "beat:here:13", "connector:here:14"):
            work.record(
                pipe, {("attempts", (("target", "channel"),)): 41, ("messages", (("direction", "in"),)): 7}, process
            )
        pipe.execute()
    User.objects.create_superuser("boss", "boss@bridge.example", "battery-horse")
    return past


def test_the_start_page_lives_and_moves_nothing_that_is_read(
    live_server: Any, valkey: redis.Redis, pictures: Path
) -> None:
    past = fill(valkey)
    with chromium() as browser:
        desk = Desk(browser, live_server.url.replace("localhost", "127.0.0.1"))
        desk.log_in("boss", "battery-horse")
        page = desk.page
        first = page.locator("#dashboard-numbers .b-figure strong").first
        before = int(first.inner_text())
        for _ in range(2):
            elsewhere(
                lambda: factories.message(
                    past.chats[0][0], "?", past.key(), created_at=timezone.now() - timedelta(seconds=1)
                )
            )
        page.wait_for_function(
            "n => document.querySelector('#dashboard-numbers .b-figure strong')?.innerText == n", arg=str(before + 2)
        )
        page.locator("#dashboard-numbers h2").first.hover()
        elsewhere(lambda: factories.message(past.chats[0][0], "?", past.key()))
        newer = page.locator("[data-newer=dashboard-numbers]")
        newer.wait_for(state="visible")
        assert int(first.inner_text()) == before + 2
        newer.click()
        page.wait_for_function(
            "n => document.querySelector('#dashboard-numbers .b-figure strong')?.innerText == n", arg=str(before + 3)
        )
        for name, path in PAGES.items():
            route = past.chats[0][1]
            desk.go(path.format(account=route.account_id, gateway=route.gateway_id))
            page.wait_for_load_state("networkidle")
            photograph(page, name, pictures)
        assert desk.complaints == []
        desk.close()
