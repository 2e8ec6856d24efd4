"""One shape for everything that is refused, and nothing that a client sends is an error of ours."""

from __future__ import annotations

import base64
import json
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
from django.core.exceptions import PermissionDenied, RequestDataTooBig, SuspiciousOperation, ValidationError
from django.db import IntegrityError, OperationalError
from django.db.models import ProtectedError
from django.http import Http404
from django.test import Client
from django.urls import path

from accounts import valkey as valkey_module
from bridge import urls
from bridge.api import errors, throttle
from bridge.models import Delivery
from tests.api.conftest import calling_as, user_with
from tests.support import factories

if TYPE_CHECKING:
    import redis
    from pytest_django.fixtures import SettingsWrapper

    from tests.support.factories import World

JSON = {"content_type": "application/json"}


def is_refusal(answer: Any, status: int, code: str) -> None:
    assert (answer.status_code, answer.json()["code"]) == (status, code), answer.content
    assert set(answer.json()) == {"code", "message", "details"}
    assert answer.json()["message"]
    assert answer["Content-Type"] == "application/json"


def test_paths_that_are_none(boss: Client, client: Client) -> None:
    for caller in (boss, client):
        for name in ("/api/", "/api/v2/", "/api/v1/", "/api/v1/nothing/", "/api/v1/messages", "/api/v1/messages/x/"):
            is_refusal(caller.get(name), 404, "not_found")
            is_refusal(caller.post(name), 404, "not_found")
    for pk in ("0", "9" * 18, "9" * 30, "1%00"):
        is_refusal(boss.get(f"/api/v1/messages/{pk}/"), 404, "not_found")


def test_methods_and_types_that_are_not_taken(boss: Client, world: World) -> None:
    is_refusal(boss.put("/api/v1/messages/"), 405, "method_not_allowed")
    is_refusal(boss.options("/api/v1/messages/"), 405, "method_not_allowed")
    is_refusal(boss.patch("/api/v1/stats/"), 405, "method_not_allowed")
    url = "/api/v1/routes/resolve/"
    is_refusal(boss.post(url, "a=1", content_type="application/x-www-form-urlencoded"), 415, "unsupported_media_type")
    is_refusal(boss.post(url, "x", content_type="y" * 300), 415, "unsupported_media_type")
    assert boss.get("/api/v1/stats/", headers={"Accept": "text/html"})["Content-Type"] == "application/json"


@pytest.mark.parametrize(
    "body", ["", "{", "nul", '{"a": NaN}', "[" * 100_000, '{"a":' * 60 + "1" + "}" * 60, b"\xff\xfe", "9" * 5000]
)
def test_json_that_is_none(boss: Client, body: Any) -> None:
    answer = boss.post("/api/v1/routes/resolve/", body, **JSON)
    is_refusal(answer, 400, "parse_error" if body else "invalid")


def test_a_body_that_is_too_large(boss: Client, settings: SettingsWrapper) -> None:
    settings.DATA_UPLOAD_MAX_MEMORY_SIZE = 100
    is_refusal(boss.post("/api/v1/routes/resolve/", json.dumps({"text": "x" * 100}), **JSON), 413, "too_large")
    is_refusal(boss.post("/api/v1/routes/resolve/", "{}", CONTENT_LENGTH="-1", **JSON), 413, "too_large")


@pytest.mark.parametrize(
    "token",
    ["Bearer", "Bearer x", "Bearer a b", "Bearer wxb_" + "0" * 64, "Bearer \xff\xfe", "Bearer wxb_\x00", "bearer " + "x" * 9000],
)  # fmt: skip
def test_tokens_that_are_none(client: Client, token: str) -> None:
    answer = client.get("/api/v1/stats/", headers={"Authorization": token})
    is_refusal(answer, 401, "authentication_failed")
    assert answer["WWW-Authenticate"] == "Bearer"


def test_nobody_in_particular(client: Client) -> None:
    answer = client.get("/api/v1/stats/")
    is_refusal(answer, 401, "not_authenticated")


def test_staff_in_the_browser_need_the_csrf_token_to_write(world: World) -> None:
    browser = Client(enforce_csrf_checks=True)
    browser.force_login(user_with("boss"))
    assert browser.get("/api/v1/stats/").status_code == 200
    url = f"/api/v1/conversations/{world.person.pk}/new-session/"
    is_refusal(browser.post(url), 403, "csrf_failed")
    world.person.refresh_from_db()
    assert world.person.session_epoch == 0
    browser.get("/admin/")
    token = browser.cookies["csrftoken"].value if "csrftoken" in browser.cookies else "0" * 32
    browser.cookies["csrftoken"] = token
    answer = browser.post(url, **JSON, headers={"X-CSRFToken": token, "Referer": "https://testserver/"})
    assert answer.status_code == 200


def cursor(position: str) -> str:
    return base64.b64encode(f"p={position}".encode()).decode()


@pytest.mark.parametrize(
    "query",
    [
        "page_size=0", "page_size=201", "page_size=x", "page_size=1e2", "cursor=x", "cursor=%F0%9F%92%A9",
        f"cursor={cursor('abc')}", f"cursor={cursor('9' * 40)}", f"cursor={cursor('-1')}", f"cursor={cursor('²')}",
        "stat=dead", "state=gone", "account=x", "account=0", f"account={'9' * 30}", "account=1.5", "created_after=soon",
        "created_after=0000-00-00", "created_after=%00", "format=xml", "cursor=%25%25%25", "cursor=", "cursor=!!cD0x",
        f"cursor={cursor('1')}%20", f"cursor={cursor('1&x=2')}", "account=318.0", "account=%E0%A5%A7", "account=1e2", "page_size=",
        "account=1&account=2", "state=dead&state=held", "account=True", "account=%2B1", "account=1_0", "nonsense=1",
        "dismissed=maybe", "dismissed=2", "dismissed=None", "dismissed=yes%00",
        f"cursor={cursor(str(2**63))}",
    ],
)  # fmt: skip
def test_parameters_that_cannot_be_used(boss: Client, query: str) -> None:
    answer = boss.get(f"/api/v1/deliveries/?{query}")
    is_refusal(answer, 400, "invalid")
    assert list(answer.json()["details"]) == [query.split("=")[0]]


@pytest.mark.parametrize(
    "path",
    [
        "messages/?created_before",
        "messages/?created_after",
        "deliveries/?created_after",
        "conversations/?last_inbound_after",
    ],
)
@pytest.mark.parametrize("moment", ["9999-12-31T23:59:59-23:59", "0001-01-01T00:00:00%2B23:59"])
def test_a_moment_that_is_none_in_utc_is_refused(boss: Client, path: str, moment: str) -> None:
    answer = boss.get(f"/api/v1/{path}={moment}")
    is_refusal(answer, 400, "invalid")
    assert list(answer.json()["details"]) == [path.split("?")[1]]


@pytest.mark.parametrize("path", ["accounts", "gateways", "routes", "webhooks"])
def test_what_is_neither_true_nor_false_is_refused(boss: Client, path: str) -> None:
    is_refusal(boss.get(f"/api/v1/{path}/?enabled=maybe"), 400, "invalid")
    for word in ("true", "false", "True", "0"):
        assert boss.get(f"/api/v1/{path}/?enabled={word}").status_code == 200


@pytest.mark.parametrize("peer", ["\u200bzhangsan", "zhang\nsan", "zhangsan\u202e", "zhang\u00adsan", "a\x1bb"])
def test_an_id_with_what_nobody_sees_is_refused(boss: Client, world: World, peer: str) -> None:
    where = {"account": world.app.pk, "peer": {"kind": "direct", "id": peer}}
    headers = {"Idempotency-Key": "unseen"}
    answer = boss.post("/api/v1/messages/", {**where, "content": {"text": "x"}}, headers=headers, **JSON)
    is_refusal(answer, 400, "invalid")
    assert list(answer.json()["details"]) == ["peer.id"]


@pytest.mark.parametrize(
    ("body", "name"),
    [
        ('{"account": 1, "account": 2}', "account"),
        ('{"peer": {"kind": "direct", "id": "a", "id": "a"}}', "id"),
        ('{"content": {"data": {"x": [{"deep": 1, "deep": 2}]}}}', "deep"),
    ],
)
def test_a_name_that_is_given_twice_is_refused(boss: Client, body: str, name: str) -> None:
    answer = boss.post("/api/v1/messages/", body, content_type="application/json", headers={"Idempotency-Key": "twice"})
    assert (answer.status_code, answer.json()["details"]) == (400, {name: ["This is given more than once."]})


@pytest.mark.parametrize("charset", ["zlib", "hex", "utf-16", "rot13", "undefined"])
def test_json_is_utf_8_whatever_the_charset(boss: Client, charset: str) -> None:
    kind = {"content_type": f"application/json; charset={charset}", "headers": {"Idempotency-Key": "charset"}}
    [told] = boss.generic("POST", "/api/v1/messages/", b'{"x": 1}', **kind).json()["details"]["x"]
    assert told.startswith("Unknown name. Allowed: account, ")


@pytest.mark.parametrize("text", ["%00", "a%00b", "%ED%A0%80", "x" * 300])
def test_texts_to_look_for_that_cannot_be(boss: Client, text: str) -> None:
    assert boss.get(f"/api/v1/messages/?text={text}").status_code in (200, 400)
    assert boss.get(f"/api/v1/messages/?sender={text}").status_code in (200, 400)


def test_a_bad_host_is_told_in_the_same_shape(client: Client, settings: SettingsWrapper) -> None:
    settings.ALLOWED_HOSTS = ["bridge.example"]
    is_refusal(client.get("/api/v1/stats/", headers={"Host": "evil.example"}), 400, "bad_request")
    assert client.get("/admin/", headers={"Host": "evil.example"})["Content-Type"].startswith("text/html")


def test_an_error_of_ours_says_so_and_no_more(client: Client, settings: SettingsWrapper) -> None:
    def broken(_request: Any) -> Any:
        raise RuntimeError("a secret")

    client.raise_request_exception = False
    here = [path("api/v1/broken/", broken), path("broken/", broken)]
    settings.ROOT_URLCONF = type("Urls", (), {"urlpatterns": here, "handler500": urls.handler500})
    answer = client.get("/api/v1/broken/")
    is_refusal(answer, 500, "internal_error")
    assert b"a secret" not in answer.content
    assert client.get("/broken/")["Content-Type"].startswith("text/html")


def test_while_the_database_is_away_it_is_no_error_of_ours(client: Client, settings: SettingsWrapper) -> None:
    def away(_request: Any) -> Any:
        raise OperationalError("couldn't get a connection after 10.00 sec")

    client.raise_request_exception = False
    here = [path("api/v1/away/", away), path("away/", away)]
    settings.ROOT_URLCONF = type("Urls", (), {"urlpatterns": here, "handler500": urls.handler500})
    answer = client.get("/api/v1/away/")
    is_refusal(answer, 503, "database_away")
    page = client.get("/away/")
    assert (page.status_code, page["Retry-After"], answer["Retry-After"]) == (503, "5", "5")
    assert "The database does not answer" in page.content.decode()


def test_so_many_a_minute_for_each_token(settings: SettingsWrapper) -> None:
    settings.API_RATE = 3
    user = user_with("boss")
    one, other = calling_as(user), calling_as(user)
    statuses = [one.get("/api/v1/stats/").status_code for _n in range(8)]
    assert 429 in statuses
    refused = next(answer for answer in iter(lambda: one.get("/api/v1/stats/"), None) if answer.status_code == 429)
    is_refusal(refused, 429, "throttled")
    assert 0 < int(refused["Retry-After"]) <= throttle.WINDOW_SECONDS + 1
    assert other.get("/api/v1/stats/").status_code == 200


def test_exactly_so_many_pass_within_a_minute(settings: SettingsWrapper, monkeypatch: pytest.MonkeyPatch) -> None:
    # No minute ends during the test.
    monkeypatch.setattr(throttle, "time", SimpleNamespace(time=lambda: 1_700_000_000.0))
    settings.API_RATE = 3
    boss = calling_as(user_with("boss"))
    answers = [boss.get("/api/v1/stats/") for _n in range(6)]
    assert [answer.status_code for answer in answers] == [200] * 3 + [429] * 3
    # Twenty seconds of it are over, and a whole second more is asked for.
    assert [answer.get("Retry-After") for answer in answers] == [None] * 3 + ["41"] * 3
    headers = {"Authorization": "Bearer wxb_" + "0" * 64}
    statuses = [
        Client().get("/api/v1/stats/", headers=headers).status_code for _n in range(throttle.ANONYMOUS_RATE + 3)
    ]
    assert statuses == [401] * throttle.ANONYMOUS_RATE + [429] * 3


def test_what_is_forbidden_counts_too(settings: SettingsWrapper) -> None:
    settings.API_RATE = 2
    nobody = calling_as(user_with("nobody"))
    statuses = [nobody.get("/api/v1/stats/").status_code for _n in range(7)]
    assert set(statuses) == {403, 429}


def test_what_was_counted_is_forgotten_after_its_minute(valkey: redis.Redis) -> None:
    calling_as(user_with("boss")).get("/api/v1/stats/")
    Client().get("/api/v1/stats/")
    ends = [valkey.ttl(key) for key in valkey.keys("api:*")]
    assert len(ends) == 2
    assert all(0 < seconds <= throttle.WINDOW_SECONDS for seconds in ends)


def test_guessing_tokens_is_slow(client: Client) -> None:
    headers = {"Authorization": "Bearer wxb_" + "0" * 64}
    statuses = [
        client.get("/api/v1/stats/", headers=headers).status_code for _n in range(2 * throttle.ANONYMOUS_RATE + 2)
    ]
    assert statuses[0] == 401
    assert 429 in statuses


def test_requests_pass_while_valkey_is_away(settings: SettingsWrapper) -> None:
    settings.API_RATE = 1
    boss = calling_as(user_with("boss"))
    valkey_module.circuit_breaker.until = float("inf")
    try:
        assert {boss.get("/api/v1/stats/").status_code for _n in range(5)} == {200}
    finally:
        valkey_module.circuit_breaker.until = 0.0


WHOLE_NUMBERS = [
    "1e400",
    "-1e400",
    "NaN",
    "Infinity",
    "318.9",
    "1.5",
    "1.0",
    "true",
    "[1]",
    "{}",
    "9" * 400,
    '"१"',
    '"1.5"',
    '"1e2"',
    '"１"',
]
PLACES = [
    ("post", "/api/v1/messages/", "account"),
    ("post", "/api/v1/messages/", "conversation"),
    ("post", "/api/v1/routes/", "account"),
    ("post", "/api/v1/routes/", "gateway"),
    ("post", "/api/v1/webhooks/", "account"),
    ("post", "/api/v1/deliveries/replay/", "account"),
    ("post", "/api/v1/deliveries/replay/", "limit"),
    ("post", "/api/v1/gateways/", "timeout_seconds"),
    ("post", "/api/v1/gateways/", "max_in_flight"),
    ("post", "/api/v1/accounts/", "retention_days"),
]


@pytest.mark.parametrize("number", WHOLE_NUMBERS)
@pytest.mark.parametrize(("method", "place", "name"), PLACES)
def test_what_is_no_whole_number_is_refused_at_its_field(
    boss: Client, method: str, place: str, name: str, number: str
) -> None:
    """Another row than the one that was meant would be used, or the server fail."""
    factories.app()
    answer = getattr(boss, method)(place, f'{{"{name}": {number}}}', **JSON, headers={"Idempotency-Key": "k"})
    assert answer.status_code == 400, answer.content
    assert set(answer.json()) == {"code", "message", "details"}
    if number not in ("NaN", "Infinity"):  # no JSON, so that no field is known
        assert name in answer.json()["details"], answer.content


@pytest.mark.parametrize("path", ["", "{pk}/", "{pk}/replay/"])
def test_a_parameter_that_nobody_knows_is_refused_everywhere(boss: Client, world: World, path: str) -> None:
    pk = Delivery.objects.latest("id").pk
    method = boss.post if "replay" in path else boss.get
    answer = method(f"/api/v1/deliveries/{path.format(pk=pk)}?nonsense=1", **JSON)
    is_refusal(answer, 400, "invalid")
    assert list(answer.json()["details"]) == ["nonsense"]


def test_infinity_is_found_however_deep(boss: Client) -> None:
    answer = boss.post(
        "/api/v1/messages/", '{"content": {"card": [1, {"x": -1e999}]}}', **JSON, headers={"Idempotency-Key": "k"}
    )
    is_refusal(answer, 400, "invalid")
    assert list(answer.json()["details"]) == ["content.card.1.x"]


REFUSALS: list[tuple[Exception, int, str]] = [
    (Http404(), 404, "not_found"),
    (PermissionDenied(), 403, "permission_denied"),
    (ValidationError({"name": ["wrong"]}), 400, "invalid"),
    (ProtectedError("in use", set()), 409, "in_use"),
    (RequestDataTooBig(), 413, "too_large"),
    (SuspiciousOperation(), 400, "parse_error"),
    (IntegrityError(), 409, "conflict"),
    (errors.Refused("no", "cannot_send"), 422, "cannot_send"),
    (errors.MalformedRequest("no", "idempotency_key_required"), 400, "idempotency_key_required"),
]


@pytest.mark.parametrize(
    ("error", "status", "code"), REFUSALS, ids=[type(error).__name__ for error, _s, _c in REFUSALS]
)
def test_each_refusal_has_its_status_and_its_word(error: Exception, status: int, code: str) -> None:
    answer: Any = errors.handle(error, {})
    assert (answer.status_code, answer.data["code"], set(answer.data)) == (status, code, {"code", "message", "details"})
    assert answer.data["details"] == ({"name": ["wrong"]} if isinstance(error, ValidationError) else {})


def test_what_is_no_refusal_stays_an_error_of_ours() -> None:
    assert errors.handle(RuntimeError("a secret"), {}) is None
