"""What a panel of an account's page is: one thing that accounts of some kinds can do, with its card, buttons and pages.

A new panel is one module with a `PANEL`, one template, and one line in `bridge.admin.accounts.panels`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

    from django.http import HttpResponse
    from django.utils.functional import _StrOrPromise

    from accounts.models import ChannelAccount
    from channels_wechat.contract.channel import Channel

CHANGE = "accounts.change_channelaccount"


class Position(StrEnum):
    """The place of a panel's template on the account's page."""

    STATE = "state"  # within the card that shows the state
    ABOVE_FORM = "above_form"
    BELOW_FORM = "below_form"


@dataclass(frozen=True, kw_only=True)
class Button:
    """A button that posts to `<account>/<name>/`.

    run: `run(page_admin, request, account, channel)` does it and may return a page; otherwise the account's page follows.
    label: the text among the buttons beside the state; empty where the panel's own template has the button.
    is_shown: whether it stands there now. is_urgent: it is shown in the colour of a warning.
    """

    name: str
    run: Callable[..., HttpResponse | None]
    label: _StrOrPromise = ""
    permission: str = CHANGE
    is_shown: Callable[[ChannelAccount], bool] = field(default=lambda _account: True)
    is_urgent: bool = False


@dataclass(frozen=True, kw_only=True)
class Page:
    """A page of its own at `<account>/<path>`.

    view: `view(page_admin, request, account, channel)`, with what the path captures besides.
    label: the text of the link among the buttons beside the state; empty where no link stands there.
    """

    name: str
    path: str
    view: Callable[..., HttpResponse]
    label: _StrOrPromise = ""
    permission: str = CHANGE


@dataclass(frozen=True, kw_only=True)
class AccountPanel:
    """applies_to: whether accounts with this channel have the panel; for all others its buttons and pages do not exist.

    facts: what the template shows as `facts`; None where there is nothing to show now.
    permission: the one that it takes to see the template; empty where everybody who sees the account sees it.
    """

    applies_to: Callable[[Channel], bool]
    template: str = ""
    position: Position = Position.BELOW_FORM
    permission: str = ""
    facts: Callable[[ChannelAccount, Channel], dict[str, Any] | None] = field(default=lambda _account, _channel: {})
    buttons: tuple[Button, ...] = ()
    pages: tuple[Page, ...] = ()


def has_capability(capability: type[Any]) -> Callable[[Channel], bool]:
    """Return the `applies_to` of a panel that goes with one of the capabilities in `channels_wechat.contract.capabilities`."""
    return lambda channel: isinstance(channel, capability)
