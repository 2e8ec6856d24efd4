"""Accounts that somebody logs in, and what is known of their logins beside the connection that needs them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from accounts.health import Health
from accounts.models import Connection

if TYPE_CHECKING:
    from accounts.models import ChannelAccount


def note_logged_out(account: ChannelAccount) -> None:
    """Forget who was logged in, because staff wanted it so: the account is like a new one, and alerts nobody."""
    Connection.objects.filter(account=account).update(own_id="", own_name="")
    account.set_state(Health.NEW)
