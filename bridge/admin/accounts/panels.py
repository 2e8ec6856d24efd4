"""The panels of an account's page, in their order."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.urls import reverse

from bridge.admin.accounts import (
    callback,
    connection,
    customer_messages,
    directory,
    groups,
    limits,
    pulls,
    quotas,
    restrictions,
    templates,
    token,
    write,
)
from bridge.admin.accounts.panel import AccountPanel, Position

if TYPE_CHECKING:
    from django.contrib.auth.models import User

    from accounts.models import ChannelAccount
    from channels_wechat.contract.channel import Channel

PANELS: tuple[AccountPanel, ...] = (
    connection.PANEL,
    pulls.PANEL,
    write.PANEL,
    restrictions.PANEL,
    callback.PANEL,
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
        offered = [(each, "post") for panel in self._panels for each in panel.buttons]
        offered += [(each, "get") for panel in self._panels for each in panel.pages]  # type: ignore[misc]
        return [
            {
                "label": each.label,
                "method": method,
                "url": reverse(f"admin:accounts_channelaccount_{each.name}", args=[self.account.pk]),
            }
            for each, method in offered
            if each.label and self.user.has_perm(each.permission)
        ]

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
