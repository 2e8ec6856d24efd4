"""How the admin looks: the one module that knows django-unfold. To go back to the stock admin, empty this file's imports."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

from django import forms
from django.contrib.admin.helpers import ACTION_CHECKBOX_NAME
from django.contrib.auth.admin import UserAdmin as _StockUserAdmin
from django.core.exceptions import BadRequest, ValidationError

if TYPE_CHECKING:
    from django.contrib.admin import ModelAdmin
    from django.contrib.auth.forms import AdminPasswordChangeForm, UserChangeForm, UserCreationForm
    from django.db.models import Model
    from django.http import HttpRequest

    Row = TypeVar("Row", bound=Model)
    UserAdmin = _StockUserAdmin[Any]
else:
    from unfold.admin import ModelAdmin as _UnfoldModelAdmin
    from unfold.forms import AdminPasswordChangeForm, UserChangeForm, UserCreationForm

    Row = TypeVar("Row")

    class ModelAdmin(_UnfoldModelAdmin):
        """Unfold's, and `ModelAdmin[Row]` may be written, as in the type stubs."""

        def __class_getitem__(cls, _row: Any) -> Any:
            return cls

        def to_field_allowed(self, request: HttpRequest, to_field: str) -> bool:
            """Every relation here refers to a row's number. Django lets a name pass that is another relation's, and then fails."""
            return to_field in ("pk", self.opts.pk.name)

        def response_action(self, request: HttpRequest, queryset: Any) -> Any:
            """Django looks for the chosen rows by whatever was sent as their keys, and fails where it is none."""
            try:
                for key in request.POST.getlist(ACTION_CHECKBOX_NAME):
                    self.opts.pk.to_python(key)
            except (ValueError, ValidationError):
                raise BadRequest from None
            return super().response_action(request, queryset)

        def changeform_view(
            self,
            request: HttpRequest,
            object_id: str | None = None,
            form_url: str = "",
            extra_context: dict[str, Any] | None = None,
        ) -> Any:
            """Django makes a new row of `_saveasnew` also where no page offers that."""
            if "_saveasnew" in request.POST and not self.save_as:
                raise BadRequest
            return super().changeform_view(request, object_id, form_url, extra_context)

    class UserAdmin(_StockUserAdmin, ModelAdmin):
        """Django's pages for staff in this look."""


from unfold import widgets

__all__ = [
    "AdminPasswordChangeForm",
    "ModelAdmin",
    "Row",
    "UserAdmin",
    "UserChangeForm",
    "UserCreationForm",
    "style",
    "styled",
]

_CLASSES: tuple[tuple[type[forms.Widget], list[str]], ...] = (
    (forms.CheckboxInput, widgets.SWITCH_CLASSES),
    (forms.Textarea, widgets.TEXTAREA_CLASSES),
    (forms.Select, ["b-select", *widgets.SELECT_CLASSES]),
    (forms.FileInput, ["b-file"]),
    (forms.Widget, widgets.INPUT_CLASSES),
)


def style(field: forms.Field) -> None:
    """Give the widget of a plain Django form field the look of the admin's own."""
    if isinstance(field.widget, forms.Textarea) and field.widget.attrs.get("rows") == "10":
        field.widget.attrs["rows"] = 3
    if not field.widget.is_hidden and "class" not in field.widget.attrs:
        field.widget.attrs["class"] = " ".join(
            next(names for kind, names in _CLASSES if isinstance(field.widget, kind))
        )


Form = TypeVar("Form", bound=forms.BaseForm)


def styled(form: Form) -> Form:
    for field in form.fields.values():
        style(field)
    return form
