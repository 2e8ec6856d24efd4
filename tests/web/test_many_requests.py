"""Many requests at once: guessed passwords, taken threads, floods of callbacks. Callbacks go on."""

from __future__ import annotations

import asyncio
import contextlib
import resource
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import pytest
import requests
from axes.models import AccessAttempt
from django.contrib.auth.models import User
from django.core.handlers.wsgi import WSGIHandler

from bridge.models import Message
from bridge.runtime.conf import capacity
from bridge.runtime.web import pages
from bridge.runtime.web.http import Request
from bridge.runtime.web.threads import Threads
from tests.support.callbacks import web_server
from tests.support.factories import eventually
from tests.web.raw_requests import RIGHT, answered, connect, deliver, guess, head, nothing, status

if TYPE_CHECKING:
    from accounts.models import ChannelAccount

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("valkey")]


@pytest.mark.usefixtures("_without_csrf")
def test_one_password_on_many_names_meets_a_limit_that_says_when_to_come_again(account: ChannelAccount) -> None:
    replies = [guess(account, f"name-{number}") for number in range(66)]
    statuses = [reply.status for reply in replies]
    assert statuses == [200] * 30 + [429] * 36
    assert AccessAttempt.objects.count() == 30
    assert "Try again in 15 minutes" in replies[-1].body.decode()
    assert "请在 15 分钟后再试" in guess(account, "name-0", HTTP_ACCEPT_LANGUAGE="zh-CN").body.decode()
    assert int(replies[-1].headers["retry-after"]) > 0
    assert guess(account, "other", "203.0.113.8").status == 200


@pytest.mark.usefixtures("_without_csrf")
def test_the_limit_holds_in_the_whole_network_of_an_ipv6_caller(account: ChannelAccount) -> None:
    statuses = [guess(account, f"n{number}", f"2001:db8::{number + 1:x}").status for number in range(31)]
    assert statuses[-2:] == [200, 429]


@pytest.mark.usefixtures("_without_csrf")
def test_logins_that_succeed_are_not_counted(account: ChannelAccount) -> None:
    User.objects.create_user("li", password=RIGHT, is_staff=True)
    assert {guess(account, "li", password=RIGHT).status for _ in range(40)} == {302}
    assert guess(account, "li").status == 200


def test_where_too_many_requests_wait_others_are_told_to_come_again(monkeypatch: pytest.MonkeyPatch) -> None:
    slots = pages.Slots(3, 2)
    with slots.slot("a"), slots.slot("a"):
        with pytest.raises(pages.Refused, match="busy"), slots.slot("a"):
            pass
        with slots.slot("b"), pytest.raises(pages.Refused), slots.slot("c"):
            pass
    assert slots.used == {}


def test_logins_that_waited_in_vain_for_a_thread_leave_their_places_to_others(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(capacity, "PAGE_WAIT_SECONDS", 0.01)
    login = Request({"method": "POST", "path": "/admin/login/", "headers": []}, nothing)

    async def wait_in_vain() -> bool:
        busy = pages.Pages(Threads())
        for _thread in range(capacity.PAGE_THREADS):
            await busy.running.acquire()
        for _login in range(capacity.MAX_LOGINS):
            with pytest.raises(pages.Refused, match="busy"):
                await busy._run_in_thread(login, BytesIO(), busy.logins)
        return busy.logins.locked()

    assert not asyncio.run(wait_in_vain())


def test_callbacks_go_on_while_all_page_threads_are_taken(
    web: str, account: ChannelAccount, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As by logins that compare passwords."""
    answer, go_on = WSGIHandler.get_response, threading.Event()
    taken: list[Any] = []

    def slowly(self: WSGIHandler, request: Any) -> Any:
        taken.append(request)
        go_on.wait(60)
        return answer(self, request)

    monkeypatch.setattr(WSGIHandler, "get_response", slowly)
    with ThreadPoolExecutor(40) as pool:
        logins = [pool.submit(requests.get, f"{web}/admin/login/", timeout=120) for _ in range(40)]
        try:
            eventually(lambda: len(taken) == capacity.PAGE_THREADS)
            assert deliver(web, account, 1).status_code == 200
        finally:
            go_on.set()
        assert {login.result().status_code for login in logins} == {200, 503}
    assert eventually(lambda: Message.objects.count() == 1)


def test_few_logins_are_compared_at_once_and_pages_go_on(web: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each costs half a second of a core: more at a time than MAX_LOGINS wait, and take no thread from the pages."""
    answer, lock = WSGIHandler.get_response, threading.Lock()
    under_way: set[int] = set()
    most: list[int] = []
    go_on = threading.Event()

    def slowly(self: WSGIHandler, request: Any) -> Any:
        if request.method != "POST":
            return answer(self, request)
        with lock:
            under_way.add(id(request))
            most.append(len(under_way))
        go_on.wait(30)
        with lock:
            under_way.discard(id(request))
        return answer(self, request)

    monkeypatch.setattr(WSGIHandler, "get_response", slowly)
    with ThreadPoolExecutor(12) as pool:
        logins = [
            pool.submit(requests.post, f"{web}/admin/login{end}", data={"username": "x"}, timeout=60)
            for end in "/" * 12
        ]
        try:
            eventually(lambda: len(most) >= capacity.MAX_LOGINS)
            for _page in range(10):  # one login too many would come meanwhile
                assert requests.get(f"{web}/admin/login/", timeout=20).status_code == 200
        finally:
            go_on.set()
        assert {login.result().status_code for login in logins} <= {200, 403}
    assert (max(most), len(most)) == (capacity.MAX_LOGINS, 12)


def test_the_callbacks_process_serves_nothing_else(account: ChannelAccount) -> None:
    with web_server(pages=False) as web:
        assert deliver(web, account, 1).status_code == 200
        assert requests.get(f"{web}/livez", timeout=20).text == "ok\n"
        for path in ("/", "/admin/", "/admin/login/", "/api/v1/messages/", "/static/x.css"):
            assert requests.get(f"{web}{path}", timeout=20).status_code == 404


def test_a_flood_of_guessed_addresses_leaves_callbacks_alone(
    web: str, account: ChannelAccount, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They are looked up together, and count in no bound of those that have an account."""
    monkeypatch.setattr(capacity, "MAX_CALLBACKS", 1)
    with contextlib.ExitStack() as stack:
        requests_ = [head("POST", f"/callbacks/{uuid4()}", "Connection: close") for _ in range(400)]
        lines = [stack.enter_context(connect(web, request)) for request in requests_]
        assert deliver(web, account, 1).status_code == 200
        assert {status(answered(line)) for line in lines} == {404}


def test_more_than_so_many_callbacks_at_once_are_sent_away(
    web: str, account: ChannelAccount, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(capacity, "MAX_CALLBACKS", 2)
    slow = head("POST", f"/callbacks/{account.key}", "Content-Length: 100")
    with connect(web, slow), connect(web, slow):
        eventually(lambda: deliver(web, account, 1).status_code == 503)
    eventually(lambda: deliver(web, account, 1).status_code == 200)


def test_a_web_server_may_open_as_many_files_as_the_system_lets_it() -> None:
    from bridge import asgi
    from bridge.runtime.launcher import commands

    before = sys.getswitchinterval()
    try:
        assert [asgi.application().has_pages, asgi.callbacks().has_pages] == [True, False]
    finally:
        sys.setswitchinterval(before)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    assert soft == hard
    assert commands.find_max_connections() < hard
