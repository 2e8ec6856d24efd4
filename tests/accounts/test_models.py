"""What we know of an account, and who may change it."""

from __future__ import annotations

from uuid import uuid4

import pytest
from django.core.exceptions import ValidationError

from accounts.channels import by_key, channel_for
from accounts.models import AccessToken, ChannelAccount, Health, cleaned_credentials, kind_choices
from channels_wechat import channel_class
from channels_wechat.retired import Retired
from tests.factories import APP_FIELDS, app

pytestmark = pytest.mark.django_db


def test_a_state_is_written_when_it_differs() -> None:
    account = app()
    assert account.set_state(Health.OK)
    since = account.state_since
    assert not account.set_state(Health.OK)
    account.refresh_from_db()
    assert account.state_since == since
    assert account.set_state(Health.FAILING, "busy")
    assert (account.state, account.state_reason) == (Health.FAILING, "busy")


def test_only_staff_lead_out_of_stopped() -> None:
    account = app()
    AccessToken.objects.create(account=account, failure="refused", generation=3)
    account.set_state(Health.STOPPED, "wrong secret")
    for state in (Health.OK, Health.FAILING, Health.NEW):
        assert not account.set_state(state)
    assert (account.state, account.usable) == (Health.STOPPED, False)
    account.revive()
    assert (account.state, account.state_reason, account.usable) == (Health.NEW, "", True)
    assert AccessToken.objects.get().failure == ""


def test_revive_leaves_the_others_alone() -> None:
    account = app()
    account.set_state(Health.OK)
    account.revive()
    assert account.state == Health.OK


def test_credentials_are_checked() -> None:
    assert cleaned_credentials("wecom_app", APP_FIELDS)["agent_id"] == 1000002
    with pytest.raises(ValidationError) as caught:
        cleaned_credentials("wecom_app", {**APP_FIELDS, "encoding_aes_key": "short", "token": ""})
    assert set(caught.value.message_dict) == {"encoding_aes_key", "token"}


def test_kinds() -> None:
    assert [kind for kind, _label in kind_choices()] == ["wecom_app", "wecom_aibot", "official_account", "mini_program"]
    account = app()
    assert str(account) == "Acme app"
    assert str(account.get_kind_display()) == "WeCom self-built app"
    account.kind = "gone"
    assert account.get_kind_display() == "gone"
    assert isinstance(channel_for(account), Retired)
    with pytest.raises(KeyError):
        channel_class("gone")


def test_by_key() -> None:
    account = app()
    found, channel = by_key(account.key)
    assert (found, channel.identity.external_id) == (account, account.external_id)
    assert by_key(account.key)[1] is channel  # kept for two seconds
    with pytest.raises(ChannelAccount.DoesNotExist):
        by_key(uuid4())
    assert "app-secret" not in repr(channel.identity)
