"""schemathesis on the whole API, in this process: nothing a client can send makes an error of ours or an answer nobody described.

SCHEMATHESIS_EXAMPLES: how many requests of each sort for each endpoint and role; derandomised, so a failure comes again.
"""

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING, Any

import pytest
import schemathesis
from django.core.handlers.wsgi import WSGIHandler
from django.core.management import call_command
from django.core.signals import request_finished, request_started
from django.db import close_old_connections, transaction
from hypothesis import HealthCheck, given
from hypothesis import settings as budget
from jsonschema import Draft202012Validator
from knox.models import AuthToken
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi import checks

from bridge.api.schema import Generator
from channels_wechat import KINDS, channel_class
from tests.api.conftest import ROLES, user_with
from tests.support import factories

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.support.factories import World

application = WSGIHandler()
EXAMPLES = int(os.environ.get("SCHEMATHESIS_EXAMPLES", "2"))
CHECKS = [
    not_a_server_error,
    checks.status_code_conformance,
    checks.content_type_conformance,
    checks.response_headers_conformance,
    checks.response_schema_conformance,
]


@pytest.fixture
def open_connection() -> Iterator[None]:
    """The test's transaction outlives each request."""
    for signal in (request_started, request_finished):
        signal.disconnect(close_old_connections)
    yield
    for signal in (request_started, request_finished):
        signal.connect(close_old_connections)


def whole(environ: Any, start_response: Any) -> list[bytes]:
    """The web server's application, which reads a file to its end and closes it, as a server does."""
    with contextlib.closing(application(environ, start_response)) as answer:
        return [b"".join(answer)]


@pytest.mark.parametrize("mode", [GenerationMode.POSITIVE, GenerationMode.NEGATIVE], ids=str)
@pytest.mark.parametrize("role", ROLES)
def test_nothing_sent_is_answered_with_a_surprise(
    open_connection: None, world: World, role: str, mode: GenerationMode
) -> None:
    headers = {}
    if role != "anonymous":
        headers["Authorization"] = f"Bearer {AuthToken.objects.create(user_with(role))[1]}"
    schema = schemathesis.openapi.from_wsgi("/api/v1/schema/", whole, headers=headers or boss_headers())
    for found in schema.get_all_operations():
        explore(found.ok(), mode, headers)


def boss_headers() -> dict[str, str]:
    return {"Authorization": f"Bearer {AuthToken.objects.create(user_with('boss'))[1]}"}


def explore(operation: Any, mode: GenerationMode, headers: dict[str, str]) -> None:
    """Each request in a savepoint that is undone."""

    @budget(
        max_examples=EXAMPLES, derandomize=True, database=None, deadline=None, suppress_health_check=list(HealthCheck)
    )
    @given(case=operation.as_strategy(generation_mode=mode))
    def one(case: Any) -> None:
        with transaction.atomic():
            response = case.call(headers=headers)
            transaction.set_rollback(True)
        case.validate_response(response, checks=CHECKS)

    one()


def test_the_description_is_complete() -> None:
    """Every endpoint names its refusals, and what is sent may hold no unknown names."""
    described = Generator().get_schema()
    for path, verbs in described["paths"].items():
        for verb, operation in verbs.items():
            assert {"401", "403", "429"} <= set(operation["responses"]), (path, verb)
    assert all(
        component.get("additionalProperties") is False
        for name, component in described["components"]["schemas"].items()
        if name.endswith("Request")
    )


@pytest.mark.parametrize(
    ("change", "fits"),
    [({}, True), ({"agent_id": "x"}, False), ({"secret": 7}, False), ({"password": "x"}, False)],
)
def test_the_credentials_of_each_kind_are_described_by_name_and_type(change: dict[str, Any], fits: bool) -> None:
    described = Generator().get_schema()["components"]["schemas"]["AccountRequest"]["properties"]["credentials"]
    assert Draft202012Validator(described).is_valid({**factories.APP_FIELDS, **change}) is fits
    assert {each["title"] for each in described["anyOf"]} == {str(channel_class(kind).label) for kind in KINDS}
    assert all(field["title"] for each in described["anyOf"] for field in each["properties"].values())


def test_the_description_is_valid_and_leaves_nothing_to_guess(tmp_path: Path) -> None:
    Generator.made = None
    call_command("spectacular", "--validate", "--fail-on-warn", "--file", str(tmp_path / "schema.yaml"))
