"""Every endpoint for every role: who may gets the answer, who may not changes nothing."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import pytest
from django.apps import apps
from django.contrib.auth.models import Permission
from django.db import connection, transaction

from bridge.api.schema import Generator
from tests.api.conftest import ROLES, calling_as, user_with
from tests.api.matrix import CALLS, Call

if TYPE_CHECKING:
    from collections.abc import Callable

    from django.test import Client

    from tests.support.factories import World


def everything() -> tuple[Any, ...]:
    """A digest of every column of every row of ours, and of the log of who changed what."""
    labels = ("accounts", "openclaw", "bridge", "auditlog", "knox")
    tables = [model._meta.db_table for label in labels for model in apps.get_app_config(label).get_models()]
    digests = [f"(SELECT md5(string_agg(t::text, ',' ORDER BY t::text)) FROM {table} t)" for table in tables]  # noqa: S608
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT {', '.join(digests)}")
        found: tuple[Any, ...] = cursor.fetchone()
        return found


def call(client: Client, wanted: Call, world: World) -> Any:
    body = wanted.filled(world)
    more = {"data": body, "content_type": "application/json"} if body is not None else {}
    send = getattr(client, wanted.method.lower())
    return send(wanted.at(world), headers=wanted.headers, **more)


def shape(path: str) -> str:
    return re.sub(r"{\w+}", "{}", path)


def test_no_endpoint_is_missing_from_the_matrix() -> None:
    described = Generator().get_schema()["paths"]
    known = {(verb.upper(), shape(path.removeprefix("/api/v1"))) for path, verbs in described.items() for verb in verbs}
    assert known == {(each.method, shape(each.path)) for each in CALLS}


def test_what_each_call_is_answered_is_described() -> None:
    paths = Generator().get_schema()["paths"]
    described = {
        (verb.upper(), shape(path)): each["responses"] for path, verbs in paths.items() for verb, each in verbs.items()
    }
    missing = [call for call in CALLS if str(call.status) not in described[call.method, f"/api/v1{shape(call.path)}"]]
    assert missing == []


@pytest.mark.parametrize("role", ROLES)
def test_who_may_do_what(as_role: Callable[[str], Client], world: World, role: str) -> None:
    client = as_role(role)
    before, wrong = everything(), {}
    for number, each in enumerate(CALLS):
        client.defaults["REMOTE_ADDR"] = f"192.0.2.{number // 50}"  # who is nobody may ask 60 times a minute
        allowed = ROLES.index(role) >= ROLES.index(each.least)
        expected = each.status if allowed else 401 if role == "anonymous" else 403
        with transaction.atomic():
            answer = call(client, each, world)
            body = b"".join(answer) if answer.streaming else answer.content
            same = everything() == before
            transaction.set_rollback(True)
        if answer.status_code != expected or (not allowed and not same) or (expected >= 400 and not same):
            wrong[each.method, each.path] = (answer.status_code, expected, same, body[:200])
    assert wrong == {}


@pytest.mark.parametrize("path", ["/api/v1/schema/", "/api/v1/docs/"])
def test_the_description_is_for_those_who_are_known(as_role: Callable[[str], Client], path: str) -> None:
    assert as_role("anonymous").get(path).status_code in (302, 401)


OBJECTS = {
    "accounts": "channelaccount", "gateways": "gateway", "routes": "route", "conversations": "conversation", "messages": "message",
    "attachments": "attachment", "deliveries": "delivery", "webhooks": "webhookendpoint", "stats": "delivery",
    "fallbacks": "conversation", "customer-messages": "customermessage", "contact-requests": "contact", "contacts": "contact",
    "canned-answers": "cannedanswer", "incidents": "incident", "replays": "delivery", "alert-channels": "alertchannel",
    "alert-rules": "alertrule", "alerts": "incident",
}  # fmt: skip
VERBS = {"GET": "view", "POST": "add", "PATCH": "change", "DELETE": "delete"}
# What is no plain reading, adding, changing or deleting of its rows.
DEEDS = {
    ("GET", "/accounts/{}/templates/"): "send_message",
    ("GET", "/accounts/{}/limits/"): "view_channelaccount",
    ("POST", "/accounts/{}/stop-sending/"): "change_channelaccount",
    ("POST", "/accounts/{}/allow-sending/"): "change_channelaccount",
    ("POST", "/messages/"): "send_message",
    ("GET", "/customer-messages/"): "send_to_many",
    ("GET", "/customer-messages/{}/"): "send_to_many",
    ("GET", "/contact-requests/"): "view_contact",
    ("GET", "/contact-requests/{}/"): "view_contact",
    ("POST", "/contact-requests/{}/accept/"): "change_contact",
    ("POST", "/contact-requests/{}/dismiss/"): "change_contact",
    ("POST", "/customer-messages/"): "send_to_many",
    ("POST", "/fallbacks/"): "change_conversation",
    ("DELETE", "/fallbacks/{}/"): "change_conversation",
    ("POST", "/routes/resolve/"): "view_route",
    ("POST", "/conversations/{}/new-session/"): "pause_conversation",
    ("POST", "/conversations/{}/move/"): "change_route",
    ("POST", "/conversations/{}/take-over/"): "pause_conversation",
    ("POST", "/conversations/{}/assign/"): "pause_conversation",
    ("POST", "/conversations/{}/hand-back/"): "pause_conversation",
    ("GET", "/conversations/{}/notes/"): "read_content",
    ("POST", "/conversations/{}/notes/"): "pause_conversation",
    **{(verb, "/canned-answers/{}/"): "send_message" for verb in ("GET", "PATCH", "DELETE")},
    **{(verb, "/canned-answers/"): "send_message" for verb in ("GET", "POST")},
    ("POST", "/deliveries/replay/"): "replay_delivery",
    ("POST", "/deliveries/{}/replay/"): "replay_delivery",
    ("POST", "/deliveries/{}/release/"): "replay_delivery",
    ("POST", "/deliveries/{}/dismiss/"): "dismiss_delivery",
    ("POST", "/incidents/{}/acknowledge/"): "handle_incident",
    ("POST", "/incidents/{}/mute/"): "handle_incident",
    ("POST", "/incidents/{}/assign/"): "handle_incident",
    ("POST", "/replays/"): "replay_delivery",
    **{
        ("POST", f"/replays/{{}}/{verb}/"): "replay_delivery"
        for verb in ("run", "pause", "resume", "cancel", "undo", "look-again")
    },
    ("POST", "/webhooks/{}/rotate-secret/"): "change_webhookendpoint",
    ("POST", "/webhooks/{}/test/"): "change_webhookendpoint",
}
# Beside the right that opens it: who answers is a right of its own, and so is what people wrote.
MORE = {
    "PATCH /conversations/{}/": {"pause_conversation"},
    "POST /conversations/{}/move/": {"change_conversation", "pause_conversation"},
    "POST /conversations/{}/notes/": {"read_content"},
    "POST /conversations/{}/hand-back/": {"replay_delivery"},
    "GET /attachments/{}/content/": {"read_content"},
}


def right_of(wanted: Call) -> str:
    usual = f"{VERBS[wanted.method]}_{OBJECTS[wanted.path.split('/')[1]]}"
    return DEEDS.get((wanted.method, shape(wanted.path)), usual)


def test_each_call_takes_its_own_right_and_no_other(world: World) -> None:
    """A role has many rights, so that one in the place of another would open the same to all roles."""
    user = user_with("nobody")
    client, everybody, wrong = calling_as(user), set(Permission.objects.values_list("codename", flat=True)), {}
    for each in CALLS:
        right, more = right_of(each), MORE.get(f"{each.method} {shape(each.path)}", set())
        for given, expected in (({right, *more}, each.status), (everybody - {right}, 403)):
            with transaction.atomic():
                user.user_permissions.set(Permission.objects.filter(codename__in=given))
                answer = call(client, each, world)
                b"".join(answer) if answer.streaming else answer.content
                transaction.set_rollback(True)
            if answer.status_code != expected:
                wrong[each.method, each.path, right] = (answer.status_code, expected)
    assert wrong == {}
