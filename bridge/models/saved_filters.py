"""Filters of lists that staff keep by name."""

from __future__ import annotations

from django.conf import settings
from django.db import models
from django.utils.translation import gettext_lazy as _
from django.utils.translation import gettext_noop

NAME_LENGTH, QUERY_LENGTH = 60, 2000


class SavedFilter(models.Model):
    """A filter and search of one list, for its owner or for all staff.

    list: the name of the list's address within the admin, so that no other address can be stored. query: sorted, as it stands behind `?`.
    """

    owner = models.ForeignKey(
        settings.AUTH_USER_MODEL, models.CASCADE, related_name="saved_filters", verbose_name=_("owner")
    )
    list = models.CharField(_("list"), max_length=100)
    name = models.CharField(_("name"), max_length=NAME_LENGTH)
    query = models.CharField(_("filter"), max_length=QUERY_LENGTH)
    shared = models.BooleanField(_("shared"), default=False, db_default=False)
    created_at = models.DateTimeField(_("created"), auto_now_add=True)

    class Meta:
        verbose_name, verbose_name_plural = _("saved filter"), _("saved filters")
        ordering = ["name", "id"]
        default_permissions = ()  # whoever sees a list keeps filters of it
        permissions = [("share_filter", gettext_noop("Can share filters with all staff, and remove shared ones"))]
        constraints = [
            # Those of a person on one list, by name.
            models.UniqueConstraint(fields=["owner", "list", "name"], name="saved_filter_name")
        ]
        indexes = [
            # What all staff see above a list.
            models.Index(fields=["list", "name"], condition=models.Q(shared=True), name="saved_filter_shared")
        ]

    def __str__(self) -> str:
        return self.name
