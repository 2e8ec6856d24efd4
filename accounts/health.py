"""The state of an account or a gateway, as far as we know it."""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from django.db import models, transaction
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from channels_wechat.contract.explanations import explain
from channels_wechat.contract.text import clean_json

if TYPE_CHECKING:
    from typing import Self

    from channels_wechat.contract.explanations import Params, Table


class Health(models.TextChoices):
    """The state of an account or a gateway. Only staff end `stopped`."""

    NEW = "new", _("not used yet")
    OK = "ok", _("working")
    FAILING = "failing", _("failing – retrying")
    STOPPED = "stopped", _("stopped – action required")


# A code may come from a platform, so it may be longer than our own codes.
CODE_LENGTH = 64


class HealthMixin(models.Model):
    """A row with a state, its reason, and since when it lasts."""

    state = models.CharField(_("state"), max_length=16, choices=Health.choices, default=Health.NEW, editable=False)
    state_code = models.CharField(max_length=CODE_LENGTH, blank=True, default="", editable=False)
    state_params = models.JSONField(default=dict, blank=True, editable=False)
    state_since = models.DateTimeField(_("since"), default=timezone.now, editable=False)

    class Meta:
        abstract = True

    @property
    def explanations(self) -> Table:
        """The table that explains the codes of its state."""
        raise NotImplementedError

    @property
    def state_reason(self) -> str:
        """Why it is in this state, for staff, in the language that is active now."""
        return explain(self.explanations, self.state_code, self.state_params)

    def set_state(
        self,
        state: Health,
        code: str = "",
        params: Params = MappingProxyType({}),
        rows: models.QuerySet[Self] | None = None,
    ) -> bool:
        """Write the state if it differs; true when it changed. Staff alone bring a stopped row back, by `revive`.

        Another reason of the same state is written too, and the state still lasts since it began.
        rows: this row under a condition; without it, this row as it is.
        """
        code = code[:CODE_LENGTH]
        params = clean_json(dict(params))
        rows = (self._row() if rows is None else rows).exclude(state=state, state_code=code, state_params=params)
        if state != Health.STOPPED:
            rows = rows.exclude(state=Health.STOPPED)
        return self._write_state(rows, state, code, params)

    def revive(self) -> None:
        """Leave `stopped`, because staff changed something."""
        self._write_state(self._row().filter(state=Health.STOPPED), Health.NEW, "", {})

    def fields_with_state(self, state: Health) -> dict[str, Any]:
        """Return the columns that are written with the state; a model adds its own."""
        return {}

    def _row(self) -> models.QuerySet[Self]:
        return type(self)._default_manager.filter(pk=self.pk)

    def _write_state(self, rows: models.QuerySet[Self], state: Health, code: str, params: Params) -> bool:
        if not rows.exists():  # as after nearly every message: it costs no transaction
            return False
        values: dict[str, Any] = {"state": state, "state_code": code, "state_params": params}
        values |= {"state_since": timezone.now(), **self.fields_with_state(state)}
        if not self._store_state(rows, values):
            return False
        computed = {name for name, value in values.items() if hasattr(value, "resolve_expression")}
        for name in values.keys() - computed:
            setattr(self, name, values[name])
        if computed:
            self.refresh_from_db(fields=computed)
        return True

    def _store_state(self, rows: models.QuerySet[Self], values: dict[str, Any]) -> bool:
        """Write the columns and, where the state is another one, the history; false where `rows` does not find this row any more.

        Where the state is the same one, `state_since` in `values` becomes the time at which it began.
        """
        with transaction.atomic():
            before = rows.select_for_update(of=("self",)).values_list("state", "state_since").first()
            if before is None:
                return False
            state, since = before
            is_the_same = state == values["state"]
            if is_the_same:
                values["state_since"] = since
            self._row().update(**values)
            if not is_the_same:
                changes: Any = getattr(self, "state_changes")  # noqa: B009  of the subclasses: `accounts.state_changes.StateChange`
                changes.create(before=state, state=values["state"], code=values["state_code"], at=values["state_since"])
        return True
