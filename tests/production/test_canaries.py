"""No secret leaves its column: a run with successes and failures of many kinds, then a search through all it produced."""

from __future__ import annotations

import contextlib
import json
import re
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import pytest
import requests
from django.conf import global_settings, settings
from django.contrib.auth.models import User
from django.db import connection
from django.test import override_settings
from knox.models import AuthToken

from accounts.health import Health
from accounts.models import ChannelAccount
from bridge.models import Attempt, Delivery, Outcome, State
from openclaw.device import Device
from openclaw.models import Gateway
from openclaw.stub import RunningStub
from tests.production import canaries
from tests.production.canaries import Search
from tests.production.processes import environment, running, signed
from tests.support import factories
from tests.support.factories import AGENT, BOT, GROUP, eventually

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import redis

    from channels_wechat.simulator import SimulatorClient
    from tests.production.processes import Process

pytestmark = [pytest.mark.heavy, pytest.mark.django_db(transaction=True)]
OTHER_AGENT = 1000099
CONTROL = "Canary control account"  # what is no secret must be found, or the search looks at nothing
API = [f"/api/v1/{name}/" for name in ("accounts", "gateways", "routes", "conversations", "messages", "deliveries")]
API += ["/api/v1/attachments/", "/api/v1/stats/", "/api/v1/schema/", "/api/v1/webhooks/", "/api/v1/unknown/"]


def secret(search: Search, name: str, length: int = 0) -> str:
    """A canary whose value tells where it was planted."""
    return search.add(name, f"canary{name}".ljust(length, "Z"))


def aes_key(search: Search, name: str) -> str:
    return search.add(name, f"canary{name}".ljust(42, "Z") + "A")


@pytest.fixture
def search() -> Search:
    return Search()


@pytest.fixture
def stub(search: Search) -> Iterator[RunningStub]:
    with RunningStub(secret(search, "GatewayToken"), tick=1.0) as running_stub:
        yield running_stub


@pytest.fixture
def env(search: Search, tmp_path: Path, company: SimulatorClient) -> dict[str, str]:
    """The settings of the processes; every one that can hold a secret does. Mail and the alert address fail."""
    search.add("SECRET_KEY", settings.SECRET_KEY)
    search.add("FIELD_KEYS", settings.FIELD_KEYS[0])
    found = environment(tmp_path)
    search.add("DatabasePassword", urlsplit(found["DATABASE_URL"]).password or secret(search, "NoPassword"))
    port = found["PORT"]
    (tmp_path / "media").mkdir()
    return {
        "DATABASE_URL": found["DATABASE_URL"],
        "PORT": port,
        "PUBLIC_URL": f"http://127.0.0.1:{port}",
        "DEMO": "1",
        "LOG_LEVEL": "DEBUG",  # which writes whatever the other levels write
        "MEDIA_ROOT": str(tmp_path / "media"),
        "EMAIL_URL": f"smtp://ops:{secret(search, 'MailPassword')}@127.0.0.1:1",
        "ALERT_EMAIL": "ops@example.com",
        "ALERT_WEBHOOK_URL": f"{company.url}/cgi-bin/webhook/send?key={secret(search, 'AlertKey')}",
        "METRICS_TOKEN": secret(search, "MetricsToken", 24),
    }


@pytest.fixture
def world(search: Search, company: SimulatorClient, stub: RunningStub, env: dict[str, str]) -> dict[str, Any]:
    """Accounts and gateways that work, and such that do not."""
    fields = {
        "secret": secret(search, "AppSecret"),
        "token": secret(search, "CallbackToken"),
        "encoding_aes_key": aes_key(search, "AesKey"),
    }
    bot_fields = {"token": secret(search, "BotToken"), "encoding_aes_key": aes_key(search, "BotAesKey"), "corp_id": ""}
    app, bot = factories.app(company.url, **fields), factories.bot(company.url, **bot_fields)
    ChannelAccount.objects.filter(pk=app.pk).update(name=CONTROL)
    wrong = {**factories.APP_FIELDS, "agent_id": OTHER_AGENT, "secret": secret(search, "WrongSecret")}
    refused = factories.account("wecom_app", wrong, name="Refused app", api_base_url=company.url)
    home = factories.gateway(stub.base_url, search.secrets["GatewayToken"])
    locked = factories.gateway(stub.base_url, secret(search, "WrongGatewayToken"), device_key=Device.generate().pem)
    plain = factories.gateway(stub.base_url, search.secrets["GatewayToken"], transport="http")
    for account, gateway in ((app, home), (bot, home), (refused, locked)):
        factories.route(account, gateway)
    factories.route(app, plain, peer_kind="direct", peer_id="wangwu")
    factories.endpoint(f"http://127.0.0.1:1/hooks/{secret(search, 'WebhookPath')}?t={secret(search, 'WebhookQuery')}")
    factories.endpoint(f"{company.url}/sim/none?token={secret(search, 'WebhookToken')}")
    web = f"{env['PUBLIC_URL']}/callbacks"
    a, b = app.credentials, bot.credentials
    keys = {"token": a["token"], "aes_key": a["encoding_aes_key"], "callback_url": f"{web}/{app.key}"}
    company.app(AGENT, corpid=factories.CORP, secret=a["secret"], name="助手", **keys)
    company.bot(BOT, name="Robot A", token=b["token"], aes_key=b["encoding_aes_key"], callback_url=f"{web}/{bot.key}")
    company.app(OTHER_AGENT, corpid=factories.CORP, secret="another", name="另一个", token="t", aes_key=factories.KEY)
    return {"app": app, "bot": bot, "refused": refused}


def test_no_secret_is_in_anything_a_run_produced(
    search: Search,
    tmp_path: Path,
    env: dict[str, str],
    world: dict[str, Any],
    company: SimulatorClient,
    valkey: redis.Redis,
) -> None:
    password = secret(search, "StaffPassword")
    with override_settings(PASSWORD_HASHERS=global_settings.PASSWORD_HASHERS):  # those of the processes
        boss = User.objects.create_superuser("boss", password=password)
    token = search.add("ApiToken", AuthToken.objects.create(boss)[1])
    with contextlib.ExitStack() as stack:
        started = {
            name: stack.enter_context(running(name, tmp_path, **env))
            for name in ("web", "callbacks", "worker", "beat", "connector")
        }
        for process in started.values():
            signed(process, tmp_path)
        _talk(company)
        _fail(company, world)
        _kill_the_worker(company, world["app"], started["worker"])
        with running("worker", tmp_path, **env) as second:
            signed(second, tmp_path)
            eventually(lambda: not Delivery.objects.filter(state=State.SENDING).exists(), 90)
            session = _log_in(search, env["PUBLIC_URL"], password)
            search.add_stored()
            _break_a_page(search, session, env["PUBLIC_URL"])
            seen = canaries.pages(search, session, f"{env['PUBLIC_URL']}/admin/")
            statuses = canaries.api(search, env["PUBLIC_URL"], {"Authorization": f"Bearer {token}"}, API)
            _metrics(search, env)
            canaries.command_lines(search)
            canaries.valkey(search, valkey)
            canaries.database(search)
    canaries.files(search, "file", tmp_path)
    _looked_everywhere(search, seen, statuses)
    assert search.found == set()


def _talk(company: SimulatorClient) -> None:
    """A stream, an app's answer, one over HTTP, and a file."""
    for words in (
        {"bot": BOT, "from_": "zhangsan", "chat": GROUP},
        {"app": AGENT, "from_": "lisi"},
        {"app": AGENT, "from_": "wangwu"},
    ):
        company.say("你好", **words)
    eventually(lambda: Delivery.objects.filter(target="channel", state=State.DELIVERED).count() >= 3, 60)


def _fail(company: SimulatorClient, world: dict[str, Any]) -> None:
    """Every kind of failure that a platform has, a wrong secret, and callbacks that are none."""
    kinds = [("html", {"status": 502}), ("reset", {}), ("timeout_before", {}), ("errcode", {"errcode": 40014})]
    kinds += [("errcode", {"errcode": 82001}), ("timeout_after", {}), ("errcode", {"errcode": 60020})]
    for number, (kind, details) in enumerate(kinds):
        company.member(f"member{number}", "成员")  # one each: what is to be tried again holds up its own conversation
        company.fault("message/send", kind, times=1, **details)
        factories.send(world["app"], f"failing {number} {kind}", f"member{number}")
        eventually(lambda n=number, k=kind: _tried(f"failing {n} {k}"), 60)
    factories.send(world["refused"], "with a wrong secret")
    eventually(lambda: ChannelAccount.objects.get(pk=world["refused"].pk).state == Health.STOPPED, 30)
    eventually(lambda: Gateway.objects.filter(state=Health.STOPPED).exists(), 30)


def _tried(text: str) -> bool:
    rows = Delivery.objects.filter(message__text=text)
    return rows.filter(attempts__finished_at__isnull=False).exists() or rows.exclude(code_params={}).exists()


def _kill_the_worker(company: SimulatorClient, app: ChannelAccount, worker: Process) -> None:
    app.revive()
    company.clear_faults()
    company.fault("message/send", "slow_after", times=0, seconds=3)
    held = factories.to_send(app, "killed meanwhile", "lisi")
    eventually(lambda: held.attempts.filter(finished_at=None).exists(), 60)
    worker.end()
    company.clear_faults()


def _log_in(search: Search, base: str, password: str) -> requests.Session:
    """After a failed try; the pages seen on the way are looked at too."""
    session = requests.Session()
    address = f"{base}/admin/login/"
    for said in (secret(search, "MistypedPassword"), password):
        form = session.get(address, timeout=60)
        csrf = re.search(r'name="csrfmiddlewaretoken" value="([^"]+)"', form.text)
        assert csrf, form.text[:500]
        data = {"username": "boss", "password": said, "csrfmiddlewaretoken": csrf[1], "next": "/admin/"}
        answer = session.post(address, data=data, headers={"Referer": address}, timeout=60)
        search.look("page", "login", answer.content)
    assert "/login/" not in answer.url, answer.text[:500]
    return session


def _break_a_page(search: Search, session: requests.Session, base: str) -> None:
    """A defect in the middle of a page, of the API's, and of a callback; and what is asked wrongly."""
    with connection.cursor() as cursor:
        cursor.execute("ALTER TABLE bridge_contact RENAME TO bridge_contact_away")
        try:
            broken = session.get(f"{base}/admin/bridge/contact/", timeout=60)
        finally:
            cursor.execute("ALTER TABLE bridge_contact_away RENAME TO bridge_contact")
    assert broken.status_code == 500
    search.look("page", "500", broken.content)
    for account in ChannelAccount.objects.all():
        for call in ("?msg_signature=00&timestamp=1&nonce=2&echostr=AAAA", ""):
            answers = [session.get(f"{base}/callbacks/{account.key}{call}", timeout=60)]
            answers += [
                session.post(f"{base}/callbacks/{account.key}{call}", data=b"<xml><Encrypt>!</Encrypt>", timeout=60)
            ]
            for answer in answers:
                search.look("page", "callback", answer.content)
    for path in ("/admin/none/", "/none", "/api/v1/none/", "/admin/bridge/message/999999/change/"):
        search.look("page", path, session.get(f"{base}{path}", timeout=60).content)


def _metrics(search: Search, env: dict[str, str]) -> None:
    for headers in ({"Authorization": f"Bearer {env['METRICS_TOKEN']}"}, {}):
        for path in ("/metrics", "/livez", "/readyz"):
            answer = requests.get(f"{env['PUBLIC_URL']}{path}", headers=headers, timeout=60)
            search.look("metrics", path, answer.content)


def _looked_everywhere(search: Search, seen: set[str], statuses: list[int]) -> None:
    """The search itself: each kind of place was there, and what is no secret is found where it should be."""
    assert set(search.looked) == {"page", "api", "metrics", "process list", "valkey", "database", "file"}
    assert len(seen) > 30, sorted(seen)
    assert statuses.count(200) > 10, statuses
    assert len(search.secrets) > 20, sorted(search.secrets)
    outcomes = set(Attempt.objects.values_list("outcome", flat=True))
    assert {Outcome.OK, Outcome.ERROR, Outcome.INTERRUPTED} <= outcomes, outcomes


def test_the_search_finds_what_is_there(search: Search, tmp_path: Path, valkey: redis.Redis) -> None:
    """A search that cannot find would prove nothing."""
    search.add("planted", "canaryPlanted")
    (tmp_path / "web.log").write_text("2026 INFO canaryPlanted in a log")
    valkey.hset("celery", "body", json.dumps({"token": "canaryPlanted"}))
    factories.send(factories.app(), "canaryPlanted")
    canaries.files(search, "file", tmp_path)
    canaries.valkey(search, valkey)
    canaries.database(search)
    kinds = {place.split()[0] for _name, place in search.found}
    assert kinds == {"file", "valkey", "database"}
