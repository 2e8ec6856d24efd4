"""Names instead of ids, where a platform tells them: asked once for each person, a few a minute."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from django.utils import timezone

from accounts.channels import channel_for
from accounts.models import ChannelAccount, Health
from bridge import peers
from bridge.models import Contact
from channels_wechat.base import Names
from channels_wechat.errors import Action, ChannelError

if TYPE_CHECKING:
    from channels_wechat.base import Channel

log = logging.getLogger(__name__)
# Names are a courtesy: they never compete with messages for the platform's quota.
AT_ONCE = 50


def look_up() -> int:
    """Ask for people nobody asked for yet. Returns how many names were found."""
    found = 0
    waiting = Contact.objects.filter(looked_up_at=None, name="", account__enabled=True).select_related("account")
    for contact in waiting.exclude(account__state=Health.STOPPED).order_by("id")[:AT_ONCE]:
        teller = _teller(contact.account)
        if teller and not _ask(contact, teller):
            break
        Contact.objects.filter(pk=contact.pk).update(looked_up_at=timezone.now(), name=contact.name)
        peers.entitle(contact)
        found += bool(contact.name)
    return found


def _ask(contact: Contact, teller: Names) -> bool:
    """False: the platform does not answer now; the rest waits."""
    try:
        contact.name = teller.name_of(contact.external_id)[:200]
    except ChannelError as error:
        log.info("names: %s", error.code)
        return error.action == Action.PERMANENT
    return True


def _teller(account: ChannelAccount) -> Names | None:
    """The account itself, or the app of the same company that it names (a bot has no directory of its own)."""
    own = channel_for(account)
    return own if isinstance(own, Names) else _colleague(own)


def _colleague(channel: Channel) -> Names | None:
    company = channel.identity.credentials.get("corp_id")
    if not company:
        return None
    for account in ChannelAccount.objects.filter(enabled=True, external_id__startswith=f"{company}/"):
        found = channel_for(account)
        if account.usable and isinstance(found, Names):
            return found
    return None
