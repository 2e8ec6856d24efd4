"""The right to read messages, `bridge.read_content`, which no other right includes.

The roles (staff groups Viewers, Operators, Admins) and their permissions are made by the migration `roles`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.utils.translation import gettext_lazy as _

if TYPE_CHECKING:
    from collections.abc import Iterable

    from django.contrib.auth.models import AnonymousUser, User

READ_CONTENT, SEND_MESSAGE = "bridge.read_content", "bridge.send_message"
# Shown in the place of a text.
HIDDEN = _("hidden: you may not read messages")


def may_read(user: User | AnonymousUser) -> bool:
    """Whether this person may see texts, files, payloads and what platforms and agents answered."""
    return user.has_perm(READ_CONTENT)


def may_write(user: User | AnonymousUser) -> bool:
    """Whether this person may choose what people in WeChat read."""
    return user.has_perms([READ_CONTENT, SEND_MESSAGE])


def hide_errors(rows: Iterable[Any]) -> None:
    """Replace the errors of rows for a reader who may not see texts: they may repeat what was written. Do not save the rows."""
    for row in rows:
        row.hidden = HIDDEN
