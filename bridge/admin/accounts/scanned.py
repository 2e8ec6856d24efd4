"""What becomes of a scan: a new account, or new credentials for the one that the person has already."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.forms.models import model_to_dict
from django.utils.translation import gettext

from accounts.forms import CONFIGURATION, SENTENCE_PREFIX, AccountForm, account_form
from accounts.models import ChannelAccount

if TYPE_CHECKING:
    from collections.abc import Mapping

    from channels_wechat.contract.capabilities import ScanToCreate

# So much of its identity distinguishes an account whose name is taken.
SUFFIX_LENGTH = 8


class CannotTake(Exception):
    """Nothing was stored, for the reason that this says."""


def build_new_form(channel: type[ScanToCreate], asked: Mapping[str, Any], scanned: Mapping[str, str]) -> AccountForm:
    """Return the form of a new account as if somebody had filled it in. One of a risky kind is added disabled."""
    new = ChannelAccount(kind=channel.kind, enabled=not channel.is_risky)
    return account_form(channel.kind)({**_columns_of(new), **asked, **scanned})


def find_account(channel: type[ScanToCreate], scanned: Mapping[str, str]) -> ChannelAccount | None:
    """Return the account that the person who scanned has already."""
    return ChannelAccount.objects.filter(kind=channel.kind, external_id=channel.external_id(scanned)).first()


def add_account(channel: type[ScanToCreate], asked: Mapping[str, Any], scanned: Mapping[str, str]) -> ChannelAccount:
    """Add the account; under a longer name where its name is taken. Raises CannotTake."""
    form = build_new_form(channel, asked, scanned)
    if list(form.errors) == ["name"]:
        longer = f"{asked['name']} {channel.external_id(scanned)[-SUFFIX_LENGTH:]}"
        form = build_new_form(channel, {**asked, "name": longer}, scanned)
    _check(form)
    return form.save()


def renew_account(account: ChannelAccount, scanned: Mapping[str, str]) -> None:
    """Store the new credentials; everything else stays, and a stopped account tries again. Raises CannotTake."""
    sentences = {f"{SENTENCE_PREFIX}{name}": text for name, text in account.sentences.items()}
    data = {**_columns_of(account), **sentences, **account.credentials, **scanned}
    form = account_form(account.kind)(data, instance=account)
    _check(form)
    form.save(commit=False).save(update_fields=CONFIGURATION)
    account.revive()


def _columns_of(account: ChannelAccount) -> dict[str, Any]:
    """Return the columns as a form sends them: what is empty, and a box that is not ticked, is left out."""
    columns = model_to_dict(account, AccountForm.Meta.fields)
    return {name: value for name, value in columns.items() if value is not None and value is not False}


def _check(form: AccountForm) -> None:
    if not form.is_valid():
        words = " ".join(str(error) for errors in form.errors.values() for error in errors)
        text = gettext("The platform told the credentials, and the account could not take them: %(why)s")
        raise CannotTake(text % {"why": words})
