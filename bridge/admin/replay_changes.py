"""The form on the page of a plan: what a run changes before it queues, by the kind of the replay."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django import forms
from django.utils.translation import gettext_lazy as _

from bridge.admin.unfold import styled
from bridge.models import ReplayKind, Route
from bridge.operations.obstacles import Obstacle
from bridge.operations.replays import changes
from bridge.security.permissions import may_write
from openclaw.models import Gateway

if TYPE_CHECKING:
    from django.contrib.auth.models import User

    from bridge.models import ReplayRun

# What people in WeChat would read: only for those who may read messages and send some.
CONTENT = ("text", "before")


class ChangesForm(forms.Form):
    route = forms.IntegerField(
        label=_("Another mapping (number)"),
        required=False,
        min_value=1,
        help_text=_("It answers all of them, whoever wrote; what triggers it does not count."),
    )
    gateway = forms.ModelChoiceField(Gateway.objects.order_by("name"), label=_("Another gateway"), required=False)
    agent = forms.CharField(label=_("Another agent"), max_length=64, required=False, help_text=_("Its id."))
    before = forms.CharField(
        label=_("A sentence before it"), max_length=2000, required=False, widget=forms.Textarea(attrs={"rows": 2})
    )
    text = forms.CharField(
        label=_("Another text"),
        max_length=100_000,
        required=False,
        widget=forms.Textarea(attrs={"rows": 5}),
        help_text=_("Sent in place of the stored text, which stays in the transcript."),
    )

    def __init__(self, run: ReplayRun, user: User, data: Any = None) -> None:
        super().__init__(data, initial=dict(run.changes))
        self.run = run
        names = changes.OF_QUESTIONS if run.kind == ReplayKind.ASK else changes.OF_ANSWERS
        for name in [*self.fields]:
            is_hidden = name in CONTENT and not may_write(user)
            if name not in names or is_hidden or (name == "text" and run.total != 1):
                del self.fields[name]
        if "text" in self.fields and "text" not in run.changes:
            self.initial["text"] = self._stored_text()

    def _stored_text(self) -> str:
        item = self.run.items.select_related("delivery__message").first()
        message = item.delivery.message if item else None
        return message.text if message else ""

    def clean_route(self) -> int | None:
        number: int | None = self.cleaned_data["route"]
        if number and not Route.objects.filter(pk=number).exists():
            raise forms.ValidationError(_("There is no mapping with this number."))
        if number and changes.is_of_other_account(number, self.run.filter.get("account")):
            raise forms.ValidationError(Obstacle.OTHER_ACCOUNT.label)
        return number

    def changed_values(self) -> dict[str, Any]:
        """Return the changes of the run: what was entered, and what this user was not shown."""
        kept = {name: value for name, value in self.run.changes.items() if name not in self.fields}
        given = {name: getattr(value, "pk", value) for name, value in self.cleaned_data.items() if value}
        if given.get("text") == self._stored_text():
            del given["text"]
        return kept | given


def build_form(run: ReplayRun, user: User, data: Any = None) -> ChangesForm:
    return styled(ChangesForm(run, user, data))
