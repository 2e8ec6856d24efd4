"""How the other side does: a platform's account, an agents' gateway."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.db import models
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

if TYPE_CHECKING:
    from typing import Self


class Health(models.TextChoices):
    """What we know of the other side. `stopped` is left by staff only."""

    NEW = "new", _("not used yet")
    OK = "ok", _("working")
    FAILING = "failing", _("failing – retrying")
    STOPPED = "stopped", _("stopped – action required")


# What a platform answers is no word of ours, and may be longer.
CODE_LENGTH = 32


class HealthMixin(models.Model):
    """A row with the state of the other side, and why it is so, since when."""

    state = models.CharField(_("state"), max_length=16, choices=Health.choices, default=Health.NEW, editable=False)
    state_code = models.CharField(max_length=CODE_LENGTH, blank=True, default="", editable=False)
    state_reason = models.TextField(_("reason"), blank=True, editable=False)
    state_since = models.DateTimeField(_("since"), default=timezone.now, editable=False)

    class Meta:
        abstract = True

    def set_state(
        self, state: Health, code: str = "", reason: str = "", rows: models.QuerySet[Self] | None = None
    ) -> bool:
        """Write the state if it differs; true when it changed. Staff alone bring a stopped row back, by `revive`.

        rows: this row under a condition; without it, this row as it is.
        """
        code = code[:CODE_LENGTH]
        rows = (self._row() if rows is None else rows).exclude(state=state, state_code=code, state_reason=reason)
        if state != Health.STOPPED:
            rows = rows.exclude(state=Health.STOPPED)
        return self._write_state(rows, state, code, reason)

    def revive(self) -> None:
        """Staff changed something: let it try again."""
        self._write_state(self._row().filter(state=Health.STOPPED), Health.NEW, "", "")

    def fields_with_state(self, state: Health) -> dict[str, Any]:
        """What else is written when the state is; a model adds its own."""
        return {}

    def _row(self) -> models.QuerySet[Self]:
        return type(self)._default_manager.filter(pk=self.pk)

    def _write_state(self, rows: models.QuerySet[Self], state: Health, code: str, reason: str) -> bool:
        values: dict[str, Any] = {"state": state, "state_code": code, "state_reason": reason}
        values |= {"state_since": timezone.now(), **self.fields_with_state(state)}
        if not rows.update(**values):
            return False
        computed = {name for name, value in values.items() if hasattr(value, "resolve_expression")}
        for name in values.keys() - computed:
            setattr(self, name, values[name])
        if computed:
            self.refresh_from_db(fields=computed)
        return True
