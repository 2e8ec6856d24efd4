"""What staff choose for themselves."""

from __future__ import annotations

from django.conf import settings
from django.db import models
from django.utils.translation import gettext_lazy as _


class StaffLanguage(models.Model):
    """The language in which one of the staff reads pages, on every machine, and the API answers to their tokens. No row: the browser's."""

    user = models.OneToOneField(
        settings.AUTH_USER_MODEL, models.CASCADE, primary_key=True, related_name="language", verbose_name=_("user")
    )
    language = models.CharField(_("language"), max_length=20, choices=settings.LANGUAGES)

    class Meta:
        verbose_name = _("language of staff")
        verbose_name_plural = _("languages of staff")

    def __str__(self) -> str:
        return self.language
