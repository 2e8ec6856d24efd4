"""The panels of an account's page, in their order."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

from django.urls import reverse

from bridge.admin.accounts import (
    callback,
    connection,
    contact_requests,
    customer_messages,
    directory,
    groups,
    limits,
    login,
    pulls,
    quotas,
    restrictions,
    scan,
    sending,
    setup,
    templates,
    token,
    uptime,
    write,
)
from bridge.admin.accounts.panel import AccountPanel, Button, Page, Position

if TYPE_CHECKING:
    from collections.abc import Iterable

    from django.contrib.auth.models import User

    from accounts.models import ChannelAccount
    from channels_wechat.contract.channel import Channel

B = TypeVar("B", Button, Page)

PANELS: tuple[AccountPanel, ...] = (
    setup.PANEL,
    sending.PANEL,
    connection.PANEL,
    login.PANEL,
    scan.PANEL,
    contact_requests.PANEL,
    pulls.PANEL,
    write.PANEL,
    restrictions.PANEL,
    callback.PANEL,
    uptime.PANEL,
    limits.PANEL,
    token.PANEL,
    quotas.PANEL,
    directory.PANEL,
    customer_messages.PANEL,
    groups.PANEL,
    templates.PANEL,
)


class PanelsOfAccount:
    """The panels that one person sees on one account's page. Facts are read only when the template uses them."""

    def __init__(self, account: ChannelAccount, channel: Channel, user: User) -> None:
        self.account, self.channel, self.user = account, channel, user
        self._panels = [panel for panel in PANELS if panel.applies_to(channel)]

    @property
    def buttons(self) -> list[dict[str, Any]]:
        """The buttons and links beside the state."""
        buttons = [each for panel in self._panels for each in panel.buttons if each.is_shown(self.account)]
        pages = [each for panel in self._panels for each in panel.pages]
        return [
            *({**self._describe(each), "method": "post", "is_urgent": each.is_urgent} for each in self._named(buttons)),
            *({**self._describe(each), "method": "get"} for each in self._named(pages)),
        ]

    def _named(self, offered: Iterable[B]) -> list[B]:
        """Those that stand beside the state, and that this person may use."""
        return [each for each in offered if each.label and self.user.has_perm(each.permission)]

    def _describe(self, offered: Button | Page) -> dict[str, Any]:
        url = reverse(f"admin:accounts_channelaccount_{offered.name}", args=[self.account.pk])
        return {"label": offered.label, "url": url}

    @property
    def in_state_card(self) -> list[dict[str, Any]]:
        return self._at(Position.STATE)

    @property
    def above_form(self) -> list[dict[str, Any]]:
        return self._at(Position.ABOVE_FORM)

    @property
    def below_form(self) -> list[dict[str, Any]]:
        return self._at(Position.BELOW_FORM)

    def _at(self, position: Position) -> list[dict[str, Any]]:
        wanted = [panel for panel in self._panels if panel.template and panel.position == position]
        allowed = [panel for panel in wanted if not panel.permission or self.user.has_perm(panel.permission)]
        found = [(panel.template, panel.facts(self.account, self.channel)) for panel in allowed]
        return [{"template": template, "facts": facts} for template, facts in found if facts is not None]
