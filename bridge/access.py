"""Who may read what people wrote: a right of its own, `bridge.read_content`, which no other right brings along.

The roles (staff groups Viewers, Operators, Admins) and their permissions are made by the migration `roles`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from django.utils.translation import gettext_lazy as _

if TYPE_CHECKING:
    from django.contrib.auth.models import AnonymousUser, User

READ_CONTENT = "bridge.read_content"
# Stands where a text would stand.
HIDDEN = _("hidden: you may not read messages")


def may_read(user: User | AnonymousUser) -> bool:
    """Whether this person may see texts, files, payloads and what platforms and agents answered."""
    return user.has_perm(READ_CONTENT)
