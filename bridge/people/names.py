"""Names instead of ids, where a platform tells them: asked once for each person, a few a minute for each account."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from django.db.models import BooleanField, Value
from django.db.models.functions import Coalesce
from django.utils import timezone

from accounts import capabilities
from accounts.capabilities import USER_INFO
from accounts.channels import build_channel
from accounts.models import ChannelAccount, Health
from bridge.models import Contact
from bridge.people import peers
from channels_wechat.contract.capabilities import Names, People
from channels_wechat.contract.errors import Action, ChannelError

if TYPE_CHECKING:
    from django.db.models import QuerySet

    from channels_wechat.contract.channel import Channel

log = logging.getLogger(__name__)
# Names are a courtesy: they never compete with messages for the platform's quota.
BATCH_SIZE = 50


def fetch_names() -> int:
    """Ask for people nobody asked for yet. Returns how many names were found."""
    waiting = Contact.objects.filter(name_fetched_at=None, name="", account__enabled=True)
    able = waiting.exclude(account__state=Health.STOPPED).exclude(account__in=capabilities.without(USER_INFO))
    accounts = ChannelAccount.objects.filter(pk__in=able.values("account"))
    return sum(_fetch_for(able.filter(account=account).order_by("id"), account) for account in accounts)


def _fetch_for(waiting: QuerySet[Contact], account: ChannelAccount) -> int:
    found, teller = 0, _name_source(account)
    for contact in waiting[:BATCH_SIZE]:
        contact.account = account
        if teller and not _ask(contact, teller):
            break
        if _store(contact):
            peers.set_default_title(contact)
            found += bool(contact.name)
    return found


def _store(contact: Contact) -> bool:
    """False: the person was forgotten meanwhile (`erasure`). Whether they follow, an event may have told meanwhile too."""
    follows = Coalesce("subscribed", Value(contact.subscribed, BooleanField()))
    row = Contact.objects.filter(pk=contact.pk, external_id=contact.external_id)
    return bool(row.update(name=contact.name, subscribed=follows, name_fetched_at=timezone.now()))


def _ask(contact: Contact, teller: Names) -> bool:
    """False: the platform does not answer now, or grants the account no names; the rest waits."""
    try:
        _store_name(contact, teller)
    except ChannelError as error:
        log.info("names: %s", error.code)
        return error.action == Action.PERMANENT and not capabilities.note(contact.account, error)
    return True


def _store_name(contact: Contact, teller: Names) -> None:
    """Whether they follow comes with the name, where the platform tells both."""
    if not isinstance(teller, People):
        contact.name = teller.name_of(contact.external_id)[:200]
        return
    person = teller.person(contact.external_id)
    contact.name, contact.subscribed = person.name[:200], person.follows


def _name_source(account: ChannelAccount) -> Names | None:
    """The account itself, or the app of the same company that it names (a bot has no directory of its own)."""
    own = build_channel(account)
    return own if isinstance(own, Names) else _sibling_app(own)


def _sibling_app(channel: Channel) -> Names | None:
    company = channel.identity.credentials.get("corp_id")
    if not company:
        return None
    for account in ChannelAccount.objects.filter(enabled=True, external_id__startswith=f"{company}/"):
        found = build_channel(account)
        if account.usable and isinstance(found, Names):
            return found
    return None
