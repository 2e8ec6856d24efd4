"""Who may read what people wrote: a right of its own, `bridge.read_content`, which no other right brings along.

The roles (staff groups Viewers, Operators, Admins) and their permissions are made by the migration `roles`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.utils.translation import gettext_lazy as _

if TYPE_CHECKING:
    from collections.abc import Iterable

    from django.contrib.auth.models import AnonymousUser, User

READ_CONTENT = "bridge.read_content"
# Stands where a text would stand.
HIDDEN = _("hidden: you may not read messages")


def may_read(user: User | AnonymousUser) -> bool:
    """Whether this person may see texts, files, payloads and what platforms and agents answered."""
    return user.has_perm(READ_CONTENT)


def hide_errors(rows: Iterable[Any]) -> None:
    """For who may not read: an error may repeat what was written, a file's name, a person's id. The rows are not to be saved."""
    for row in rows:
        row.error = str(HIDDEN) if row.error else ""
