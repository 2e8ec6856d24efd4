"""What is encrypted in a row opens in that row only."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
from django.db import connection, transaction
from psycopg import sql

from accounts import rotation
from accounts.fields import Sealed, Undecryptable, encrypt, sealed
from accounts.models import AccessToken, ChannelAccount
from bridge.models import Message, WebhookEndpoint
from openclaw.models import Gateway
from tests.support import factories
from tests.support.factories import app, endpoint, gateway, hear

if TYPE_CHECKING:
    from django.db.models import Model

pytestmark = pytest.mark.django_db
COLUMNS = [
    (ChannelAccount, "credentials"),
    (AccessToken, "value"),
    (Gateway, "token"),
    (Gateway, "device_key"),
    (Gateway, "device_token"),
    (Message, "reply_address"),
    (WebhookEndpoint, "url"),
    (WebhookEndpoint, "secret"),
    (WebhookEndpoint, "previous_secret"),
]


def two_of_each() -> None:
    """Two rows of every model with something encrypted, each value another one."""
    for number in (1, 2):
        account = app(agent_id=1000100 + number)
        factories.access_token(account, value=f"canary-token-{number}")
        gateway(token=f"canary-{number}", device_key=f"canary-PEM-{number}", device_token=f"canary-device-{number}")
        hear(account, reply=f"https://reply/canary-{number}")
        one = endpoint(f"https://example.com/canary-{number}")
        one.rotate(timedelta(hours=1))


def stored(model: type[Model], name: str) -> list[str]:
    names = {"table": sql.Identifier(model._meta.db_table), "column": sql.Identifier(name)}
    with connection.cursor() as cursor:
        cursor.execute(sql.SQL("SELECT {column} FROM {table} ORDER BY id").format(**names))
        return [row[0] for row in cursor.fetchall()]


def put(model: type[Model], name: str, pk: int, value: str) -> None:
    names = {"table": sql.Identifier(model._meta.db_table), "column": sql.Identifier(name)}
    with connection.cursor() as cursor:
        cursor.execute(sql.SQL("UPDATE {table} SET {column} = %s WHERE id = %s").format(**names), [value, pk])


def values(model: type[Model], name: str) -> list[Any]:
    return [getattr(row, name) for row in model._default_manager.order_by("pk")]


@pytest.mark.parametrize(("model", "name"), COLUMNS)
def test_a_value_copied_to_another_row_does_not_open(model: type[Model], name: str) -> None:
    two_of_each()
    first, second = model._default_manager.order_by("pk")
    assert getattr(first, name)
    put(model, name, second.pk, stored(model, name)[0])
    with pytest.raises(Undecryptable, match="in another place") as caught:
        getattr(model._default_manager.get(pk=second.pk), name)
    with pytest.raises(Undecryptable):
        getattr(model._default_manager.defer(name).get(pk=second.pk), name)
    assert "canary" not in str(caught.value)
    assert getattr(model._default_manager.get(pk=first.pk), name) == getattr(first, name)


@pytest.mark.parametrize(("model", "name"), COLUMNS)
def test_neither_version_is_taken_for_the_other(model: type[Model], name: str) -> None:
    two_of_each()
    row = model._default_manager.order_by("pk")[0]
    put(model, name, row.pk, "v1" + stored(model, name)[0][2:])
    with pytest.raises(Undecryptable):
        getattr(model._default_manager.get(pk=row.pk), name)
    old = encrypt("x", f"{model._meta.label_lower}.{name}")
    put(model, name, row.pk, "v2" + old[2:])
    with pytest.raises(Undecryptable):
        getattr(model._default_manager.get(pk=row.pk), name)
    put(model, name, row.pk, old)
    with pytest.raises(Undecryptable):
        getattr(model._default_manager.get(pk=row.pk), name)


def test_each_way_of_reading_opens_it() -> None:
    two_of_each()
    for model, name in COLUMNS:
        for number, row in enumerate(model._default_manager.order_by("pk")):
            value = values(model, name)[number]
            assert getattr(model._default_manager.only(name).get(pk=row.pk), name) == value
            assert getattr(model._default_manager.only("pk").get(pk=row.pk), name) == value
            row.refresh_from_db()
            assert getattr(row, name) == value
            row.refresh_from_db(fields=[name])
            assert getattr(row, name) == value
            row.save()
            assert values(model, name)[number] == value
    assert isinstance(Gateway.objects.values_list("token", flat=True)[0], Sealed)


def test_a_deferred_value_is_one_query(django_assert_num_queries: Any) -> None:
    gateway(token="canary")
    found = Gateway.objects.defer("token").get()
    with django_assert_num_queries(1):
        assert found.token == "canary"
        assert found.token == "canary"


def test_a_queryset_takes_no_text_for_rows_it_does_not_know() -> None:
    home = gateway(token="canary")
    for refused in (
        lambda: Gateway.objects.update(token="other"),
        lambda: Gateway.objects.bulk_update([home], ["token"]),
        lambda: Gateway.objects.filter(token="canary").exists(),
        lambda: ChannelAccount.objects.update(credentials={"secret": "canary"}),
    ):
        with pytest.raises(TypeError) as caught, transaction.atomic():
            refused()
        assert "canary" not in str(caught.value)
    Gateway.objects.update(token=sealed(Gateway, "token", str(home.key).upper(), "other"))
    assert Gateway.objects.get().token == "other"
    Gateway.objects.update(token="")
    assert Gateway.objects.get().token == ""
    assert Gateway.objects.filter(token="").count() == 1


def test_a_webhook_is_checked_with_its_secrets() -> None:
    one = endpoint("https://example.com/canary")
    one.rotate(timedelta(hours=1))
    WebhookEndpoint.objects.get().full_clean()


def test_rotation_opens_nothing_that_was_copied() -> None:
    two_of_each()
    second = Gateway.objects.order_by("pk")[1]
    key, rest = stored(Gateway, "token")[0].split(".", 2)[1:]
    copied = f"v2.{key}.{rest}"
    put(Gateway, "token", second.pk, copied)
    column = next(each for each in rotation.list_columns() if each.context == "openclaw.gateway.token")
    assert column._again(copied, str(second.key)) == ""
