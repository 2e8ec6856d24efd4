"""Why a delivery cannot be replayed, as codes that rows keep; the sentence is made when somebody reads it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from django.db import models
from django.utils.translation import gettext_lazy as _

from accounts.channels import build_channel
from accounts.fields import Undecryptable
from bridge.models import Reason
from channels_wechat.unregistered import NO_LONGER_SUPPORTED, UnregisteredKind

if TYPE_CHECKING:
    from django.utils.functional import _StrOrPromise

    from accounts.models import ChannelAccount


class Obstacle(models.TextChoices):
    STATE = "state", _("Only what failed, is uncertain or was skipped can be replayed.")
    GONE = "no_longer_there", _("It no longer exists.")
    CHANGED = "changed", _("It has changed meanwhile: look again.")
    ERASED = "erased", _("All data of this person was erased: nothing is left to send.")
    UNREGISTERED = "unregistered", NO_LONGER_SUPPORTED
    UNREADABLE = "unreadable", _("No key of FIELD_KEYS opens the credentials of its account: put the key back.")
    NO_TURN = "no_turn", _("This is not something an agent could answer.")
    NO_ENDPOINT = "no_endpoint", _("The webhook was deleted: there is no address to send to.")
    MERGED = "merged", _("It was sent as a part of another delivery: replay that one.")
    CONTENT = "content", _("The content itself cannot be sent here; it was never rendered.")
    NO_REPLY = "no_reply", _("This bot can only reply to callbacks, and the reply address is used up.")
    TWICE = "twice", _("It may have arrived already: it is sent again only where you say that it may arrive twice.")
    NEWER_COPY = "newer_copy", _("Another account sends the same message, by this replay too: only one of them goes.")
    DISMISSED = "dismissed", _("Somebody dismissed it after the plan was made.")
    HELD_PART = "held_part", _("It waits for the part before it: replay that one.")
    HELD_WINDOW = (
        "held_window",
        _("WeChat takes no more messages until the person writes again; then it is sent by itself."),
    )
    HELD_REVIEW = "held_review", _("It waits for a decision: release it, or dismiss it.")
    OTHER_ACCOUNT = "other_account", _("The mapping that was chosen belongs to another account.")
    NOT_TEXT = "not_text", _("Only a text can be changed; this is something else.")
    SENT_IN_PART = "sent_in_part", _("A part of this message was sent already, so its text cannot be changed.")
    LATER_PART = "later_part", _("The changed text goes with the first part of this message.")
    CARRIES_OTHERS = (
        "carries_others",
        _("Other messages were merged into this one and would be lost with its text: replay it without a change."),
    )
    TOO_LONG = "too_long", _("The changed text cannot be sent here, or not in as many messages as the stored one.")
    NO_GATEWAY = "no_gateway", _("The gateway that was chosen was deleted.")
    INTERNAL = "internal_error", _("An error of the bridge stopped it: its log says which.")
    REPLAYED_AGAIN = "replayed_again", _("It failed again, and was replayed once more outside of this run.")


def find_account_obstacle(account: ChannelAccount) -> Obstacle | None:
    """Return why nothing of this account can be replayed; None where it can."""
    try:
        channel = build_channel(account)
    except Undecryptable:
        return Obstacle.UNREADABLE
    return Obstacle.UNREGISTERED if isinstance(channel, UnregisteredKind) else None


def explain_detail(code: str) -> _StrOrPromise:
    """Return the sentence of an item's detail: an obstacle, a reason, or an error code, which is shown itself."""
    if code in Obstacle.values:
        return Obstacle(code).label
    return Reason(code).label if code in Reason.values else code
