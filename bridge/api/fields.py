"""Pieces of serializers and filters that several endpoints share."""

from __future__ import annotations

import re
from datetime import UTC
from typing import TYPE_CHECKING, Any, ClassVar

import django_filters
from django import forms
from django.utils.translation import gettext_lazy as _
from django_filters.fields import IsoDateTimeField
from django_filters.rest_framework import FilterSet
from rest_framework import serializers

from accounts.person_ids import match_person
from bridge.api.base import may_read
from bridge.api.pages import MAX_ID, refuse_unknown
from bridge.models.routes import PeerKinds
from bridge.security.permissions import HIDDEN
from bridge.ui import search
from channels_wechat.contract.pasted import without_invisible

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    from django.db.models import Model, QuerySet
    from django.utils.functional import _StrOrPromise

    _Mixin = serializers.Serializer[Any]
    _ModelMixin = serializers.ModelSerializer[Any]
else:
    _Mixin = _ModelMixin = object


WHOLE_NUMBER = re.compile(r"-?[0-9]{1,18}")


class StrictSerializer(_Mixin):
    """The base of serializers of requests: a field that would be ignored or misread is refused by name."""

    def to_internal_value(self, data: Any) -> Any:
        if hasattr(data, "keys"):
            refuse_unknown(data.keys(), set(self.fields))
            refused = {
                name: self._why_refused(name, field, data[name]) for name, field in self.fields.items() if name in data
            }
            if wrong := {name: [why] for name, why in refused.items() if why}:
                raise serializers.ValidationError(wrong)
        return super().to_internal_value(data)

    def _why_refused(self, name: str, field: Any, value: Any) -> _StrOrPromise:
        """Return why the value is refused; empty where the field may check it itself. A read-only field may be sent back unchanged."""
        if not field.read_only:
            return _wrong_type(field, value)
        row = getattr(self, "instance", None)
        if row is not None and super().to_representation(row).get(name) == value:
            return ""
        return _("This field is read-only.")


def _wrong_type(field: Any, value: Any) -> _StrOrPromise:
    """DRF takes 318.9, true and "१" for whole numbers, "off" for false and 5 for a text: another thing than was meant would be stored."""
    if value is None:
        return ""
    if isinstance(field, serializers.IntegerField | serializers.PrimaryKeyRelatedField):
        return "" if value == "" or _is_whole(value) else _("Enter a whole number.")
    if isinstance(field, serializers.BooleanField):
        return "" if isinstance(value, bool) else _("Enter true or false.")
    if isinstance(field, serializers.CharField):
        return "" if isinstance(value, str) else _("Enter a text.")
    return ""


def _is_whole(value: Any) -> bool:
    if isinstance(value, str):
        return bool(WHOLE_NUMBER.fullmatch(value))
    return isinstance(value, int) and not isinstance(value, bool) and abs(value) <= MAX_ID


class ModelValidated(_ModelMixin):
    """Validates by the model's own rules, with the same messages as the admin, and writes only the fields that were sent."""

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        model: Any = self.Meta.model
        row = self.instance or model()
        for name, value in attrs.items():
            setattr(row, name, value)
        row.full_clean()
        return {name: getattr(row, name) for name in attrs}

    def update(self, instance: Any, validated_data: dict[str, Any]) -> Any:
        automatic = [field.name for field in instance._meta.fields if getattr(field, "auto_now", False)]
        instance.save(update_fields=[*validated_data, *automatic])
        return instance


class MaskedContent(_Mixin):
    """For rows with what people wrote: `content` names the fields that are null without the right to read them."""

    content: ClassVar[tuple[str, ...]] = ()

    def to_representation(self, instance: Model) -> dict[str, Any]:
        shown: dict[str, Any] = super().to_representation(instance)
        if not may_read(self.context["request"]):
            shown.update(dict.fromkeys(set(self.content) & set(shown)))
        return shown


class MaskedReason(_Mixin):
    """For accounts and gateways: a platform's or an agent's own words stand in the reason, and may repeat what was written."""

    def to_representation(self, instance: Any) -> dict[str, Any]:
        shown: dict[str, Any] = super().to_representation(instance)
        if shown.get("state_reason") and not may_read(self.context["request"]):
            shown["state_reason"] = str(HIDDEN)
        return shown


class PeerSerializer(StrictSerializer, serializers.Serializer[Any]):
    """A group or a person, by the platform's id."""

    kind = serializers.ChoiceField(PeerKinds.choices)
    id = serializers.CharField(max_length=200)

    def validate_id(self, value: str) -> str:
        """Refuse an id with an invisible character, because it would start a second conversation with the same person."""
        if not value.isprintable() or without_invisible(value) != value:
            raise serializers.ValidationError(_("There is an invisible character in it: copy it again."))
        return value


class PeerColumns(serializers.Serializer[Any]):
    """The peer that a row's own columns name."""

    kind = serializers.ChoiceField(PeerKinds.choices, source="peer_kind")
    id = serializers.CharField(source="peer_id")


class Filters(FilterSet):
    """Base of every list's filters. Each stands on an index, for lists hold a million rows."""


class MomentField(IsoDateTimeField):
    """ISO 8601, within the years 1 to 9999 of UTC."""

    def to_python(self, value: Any) -> datetime | None:
        found: datetime | None = super().to_python(value)
        try:
            return found and found.astimezone(UTC)
        except OverflowError:
            raise forms.ValidationError(self.error_messages["invalid"], code="invalid") from None


class MomentFilter(django_filters.IsoDateTimeFilter):
    field_class = MomentField


class BeforeFilter(MomentFilter):
    """A filter of rows that were created before a time."""

    def filter(self, qs: QuerySet[Any], value: datetime | None) -> QuerySet[Any]:
        return search.before(qs, value) if value else qs


class SearchFilter(django_filters.CharFilter):
    """What the search of the admin's list finds, among the rows that the filters before it leave.

    find: a function of `bridge.ui.search`: rows, term and whether texts may be searched → its result.
    """

    def __init__(self, find: Callable[..., search.SearchResult], what: str) -> None:
        text = f"By {what}. At most the newest {search.MAX_FOUND}; one character, or two letters, only among the newest messages."
        super().__init__(max_length=200, label=text)
        self.find = find

    def filter(self, qs: QuerySet[Any], value: str) -> QuerySet[Any]:
        """Search in texts only for users who may read them, because a search would reveal their content."""
        if not value:
            return qs
        request: Any = getattr(self, "parent").request  # noqa: B009 - the filter set gives itself to its filters
        return qs.filter(pk__in=self.find(qs, value, in_text=may_read(request)).ids)


class WholeNumberField(forms.IntegerField):
    """ASCII digits; Django takes 318.0 and "१" too."""

    def to_python(self, value: Any) -> int | None:
        if value not in self.empty_values and not WHOLE_NUMBER.fullmatch(str(value).strip()):
            raise forms.ValidationError(self.error_messages["invalid"], code="invalid")
        return super().to_python(value)


class TrueFalseField(forms.Field):
    """Django takes whatever it does not know for no answer, and the list would not be filtered."""

    words: ClassVar = {"true": True, "false": False, "1": True, "0": False}

    def to_python(self, value: Any) -> bool | None:
        if value in self.empty_values:
            return None
        if str(value).strip().lower() not in self.words:
            raise forms.ValidationError(_("Enter true or false."), code="invalid")
        return bool(self.words[str(value).strip().lower()])


class TrueFalseFilter(django_filters.BooleanFilter):
    """`true` or `false`."""

    field_class = TrueFalseField

    def __init__(self, **options: Any) -> None:
        super().__init__(widget=forms.TextInput, **options)


class PersonFilter(django_filters.CharFilter):
    """An id of a person or group, as the platform names it in any of its forms."""

    def filter(self, qs: QuerySet[Any], value: str) -> QuerySet[Any]:
        return qs.filter(match_person(self.field_name, value)) if value else qs


class IdFilter(django_filters.Filter):
    """A row's number."""

    field_class = WholeNumberField

    def __init__(self, **options: Any) -> None:
        super().__init__(min_value=1, max_value=MAX_ID, **options)
