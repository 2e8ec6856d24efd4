"""No form renders a secret that was typed into it: after an error its field comes back empty and says that it has to be typed again."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from django.contrib import admin
from django.contrib.auth.models import User
from django.contrib.sessions.models import Session
from django.test import RequestFactory
from django.urls import reverse

from accounts.fields import Encrypted
from accounts.models import ChannelAccount
from bridge.admin.secret_fields import HidesSecrets, is_secret
from bridge.models import AlertChannel, WebhookEndpoint
from channels_wechat import KINDS, channel_class
from openclaw.models import Gateway
from tests.support import factories
from tests.support.factories import CANARIES

if TYPE_CHECKING:
    from django.test import Client

pytestmark = pytest.mark.django_db
TYPED = "typed-and-secret"
AGAIN = "What you typed here is not shown again. Type it once more"
ADDRESS = f"https://hooks.example.com/{TYPED}"
# What each form refuses: a row without a name.
FORMS: dict[type, tuple[str, dict[str, Any]]] = {
    Gateway: ("token", {"name": "", "base_url": "https://gateway.example.com", "token": TYPED}),
    WebhookEndpoint: ("url", {"name": "", "url": ADDRESS, "events": ["message.received"]}),
    AlertChannel: ("url", {"name": "", "kind": "webhook", "url": ADDRESS, "language": "en", "max_per_hour": 5}),
}


def url(model: type, name: str, *args: Any) -> str:
    return reverse(f"admin:{model._meta.app_label}_{model._meta.model_name}_{name}", args=args)  # type: ignore[attr-defined]


def refused(client: Client, address: str, given: dict[str, Any]) -> tuple[str, Any]:
    """The page that comes back, and the help at each of its fields."""
    answer: Any = client.post(address, given)
    assert answer.status_code == 200
    assert "no-store" in answer.headers["Cache-Control"]
    assert not any(TYPED in str(row.get_decoded()) for row in Session.objects.all())
    form = answer.context["adminform"].form
    assert form.errors["name"]
    return answer.content.decode(), {field.name: str(field.help_text) for field in form}


@pytest.mark.parametrize("kind", KINDS)
def test_the_form_of_an_account(boss: Client, kind: str) -> None:
    secrets = channel_class(kind).Credentials.secrets
    given = {"name": "", "enabled": "on", **{name: f"{TYPED}-{name}" for name in secrets}}
    page, help_texts = refused(boss, f"{url(ChannelAccount, 'add')}?kind={kind}", given)
    assert TYPED not in page
    assert {name for name, text in help_texts.items() if AGAIN in text} == secrets
    assert page.count(AGAIN) == len(secrets)


@pytest.mark.parametrize("model", FORMS)
def test_the_forms_of_what_else_has_a_secret(boss: Client, model: type) -> None:
    name, given = FORMS[model]
    page, help_texts = refused(boss, url(model, "add"), given)
    assert TYPED not in page
    assert f"{AGAIN}.<" in help_texts[name]
    assert page.count(AGAIN) == 1


def test_a_stored_secret_is_kept_where_nothing_is_typed_and_is_not_shown_either(boss: Client) -> None:
    account, gateway = factories.account(), factories.connected_gateway()
    hook = factories.endpoint(url=f"https://hooks.example.com/{CANARIES['webhook address']}")
    channel = factories.alert_channel("webhook", url=f"https://a.example.com/{CANARIES['alert address']}")
    stored = [str(value) for value in factories.APP_FIELDS_WITH_SEATS.values() if "CANARY" in str(value)]
    cases = [(account, "secret", {"name": "", "secret": TYPED})]
    cases += [(row, *FORMS[type(row)]) for row in (gateway, hook, channel)]
    for row, name, given in cases:
        address = url(type(row), "change", row.pk)
        page, help_texts = refused(boss, address, given)
        assert TYPED not in page
        assert f"{AGAIN}; if it stays empty, what is stored is kept." in help_texts[name]
        assert [value for value in (*CANARIES.values(), *stored) if value in page] == []
        assert AGAIN not in refused(boss, address, {**given, name: ""})[0]


def test_every_secret_column_in_a_form_of_staff_is_such_a_field() -> None:
    request: Any = RequestFactory().get("/")
    request.user = User.objects.create_superuser("root")
    found: set[tuple[type, str]] = set()
    for model, page in admin.site._registry.items():
        if model is ChannelAccount or not page.has_change_permission(request):
            continue
        fields: dict[str, Any] = page.get_form(request).base_fields
        secrets = {column.name for column in model._meta.fields if isinstance(column, Encrypted)} & set(fields)
        for name in secrets:
            assert is_secret(fields[name]), f"{model} {name}"
            assert issubclass(page.get_form(request), HidesSecrets)
            found.add((model, name))
    assert found == {(model, name) for model, (name, _given) in FORMS.items()}
