"""The callback address of an account, and the results of the platform's last callbacks, for kinds with `Callbacks`."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

from django.conf import settings
from django.utils.translation import gettext_lazy as _

from bridge.admin.accounts.panel import AccountPanel, Position, has_capability
from bridge.pipeline.inbound import callback_stats
from channels_wechat.contract.capabilities import Callbacks

if TYPE_CHECKING:
    from accounts.models import ChannelAccount
    from channels_wechat.contract.channel import Channel

# The results of accepted callbacks, and the reasons of refused ones, by the code that is counted.
ACCEPTANCES = {"ok": "", "verified": _("the address was verified")}
REFUSALS = {
    "signature": _("wrong signature (Token)"),
    "padding": _("not readable with the EncodingAESKey"),
    "length": _("not readable with the EncodingAESKey"),
    "base64": _("not readable: no base64"),
    "json": _("not readable: no JSON"),
    "xml": _("not readable: no XML"),
    "dtd": _("not readable: XML with a DTD"),
    "receiveid": _("for another company or account"),
    "agent": _("for another app"),
    "aibotid": _("for another bot"),
    "stream": _("for an unknown stream"),
    "downgrade": _("not encrypted"),
    "mode": _("encrypted, and there is no EncodingAESKey"),
    "stale": _("too old"),
    "unsigned": _("without the headers of a signature"),
    "secret": _("wrong signature (secret of messages)"),
    "field": _("a field is missing or wrong"),
    "too_large": _("too large"),
}


def facts(account: ChannelAccount, _channel: Channel) -> dict[str, Any]:
    return {
        "callback_url": build_address(account),
        "last": last_callback(account),
        "refusals": count_refusals(account),
    }


def build_address(account: ChannelAccount) -> str:
    """Return the address for the platform's console; empty where PUBLIC_URL is not set."""
    return f"{settings.PUBLIC_URL}/callbacks/{account.key}" if settings.PUBLIC_URL else ""


def last_callback(account: ChannelAccount) -> dict[str, Any] | None:
    found = callback_stats.last_callback(account)
    if found is None:
        return None
    at, code = found
    accepted = code in ACCEPTANCES
    result = (ACCEPTANCES if accepted else REFUSALS).get(code, code)
    return {"at": at, "refused": not accepted, "result": result}


def count_refusals(account: ChannelAccount) -> dict[str, int]:
    """Count the refused callbacks by reason, most frequent first."""
    counts: Counter[str] = Counter()
    for code, count in callback_stats.refused_callbacks(account).items():
        counts[str(REFUSALS.get(code, code))] += count
    return dict(counts.most_common())


PANEL = AccountPanel(
    applies_to=has_capability(Callbacks),
    template="admin/accounts/panels/callback.html",
    position=Position.ABOVE_FORM,
    facts=facts,
)
