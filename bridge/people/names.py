"""Fetches the names of people where a platform tells them: once for each person, a few a minute for each account."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from django.db.models import BooleanField, Value
from django.db.models.functions import Coalesce
from django.utils import timezone

from accounts import capabilities
from accounts.capabilities import USER_INFO
from accounts.channels import build_channel
from accounts.health import Health
from accounts.models import ChannelAccount
from bridge.models import Contact
from bridge.people import peers
from channels_wechat.contract.capabilities import Names, People
from channels_wechat.contract.errors import ChannelError
from channels_wechat.contract.explanations import Action

if TYPE_CHECKING:
    from django.db.models import QuerySet

    from channels_wechat.contract.channel import Channel

log = logging.getLogger(__name__)
# Names are less important than messages, so few of them are fetched and the platform's quota is left to messages.
BATCH_SIZE = 50


def fetch_names() -> int:
    """Ask for the names of people that were not asked for yet. Return how many names came."""
    waiting = Contact.objects.filter(name_fetched_at=None, name="", account__enabled=True)
    able = waiting.exclude(account__state=Health.STOPPED).exclude(
        account__in=capabilities.restricted_account_ids(USER_INFO)
    )
    accounts = ChannelAccount.objects.filter(pk__in=able.values("account"))
    return sum(_fetch_for(able.filter(account=account).order_by("id"), account) for account in accounts)


def _fetch_for(waiting: QuerySet[Contact], account: ChannelAccount) -> int:
    count, source = 0, _name_source(account)
    for contact in waiting[:BATCH_SIZE]:
        contact.account = account
        if source and not _ask(contact, source):
            break
        if _store(contact):
            peers.set_default_title(contact)
            count += bool(contact.name)
    return count


def _store(contact: Contact) -> bool:
    """Store the name. Return False where the person was erased meanwhile. An event that told meanwhile whether they follow is kept."""
    follows = Coalesce("subscribed", Value(contact.subscribed, BooleanField()))
    row = Contact.objects.filter(pk=contact.pk, external_id=contact.external_id)
    return bool(row.update(name=contact.name, subscribed=follows, name_fetched_at=timezone.now()))


def _ask(contact: Contact, source: Names) -> bool:
    """Ask for one name. Return False where the platform does not answer now, or grants the account no names: then the rest waits."""
    try:
        _store_name(contact, source)
    except ChannelError as error:
        log.info("names: %s", error.code)
        return error.action == Action.PERMANENT and not capabilities.store_refusal(contact.account, error)
    return True


def _store_name(contact: Contact, source: Names) -> None:
    """Set the contact's name, and whether they follow where the platform tells both."""
    if not isinstance(source, People):
        contact.name = source.name_of(contact.external_id)[:200]
        return
    person = source.person(contact.external_id)
    contact.name, contact.subscribed = person.name[:200], person.follows


def _name_source(account: ChannelAccount) -> Names | None:
    """Return the account itself, or an app of the same company: a bot has no directory of its own."""
    own = build_channel(account)
    return own if isinstance(own, Names) else _sibling_app(own)


def _sibling_app(channel: Channel) -> Names | None:
    company = channel.identity.credentials.get("corp_id")
    if not company:
        return None
    for account in ChannelAccount.objects.filter(enabled=True, external_id__startswith=f"{company}/"):
        sibling = build_channel(account)
        if account.usable and isinstance(sibling, Names):
            return sibling
    return None
