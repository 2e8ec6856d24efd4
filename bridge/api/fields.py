"""Pieces of serializers that several endpoints share."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from rest_framework import serializers

from bridge.api.base import may_read
from bridge.api.pages import refuse_unknown

if TYPE_CHECKING:
    from django.db.models import Model

    _Mixin = serializers.Serializer[Any]
else:
    _Mixin = object


class Given(_Mixin):
    """For what is sent to us: an unknown name is refused, for a misspelt one would be passed over silently."""

    def to_internal_value(self, data: Any) -> Any:
        if hasattr(data, "keys"):
            refuse_unknown(data.keys(), set(self.fields))
        return super().to_internal_value(data)


class Withheld(_Mixin):
    """For rows with what people wrote: `content` names the fields that are null without the right to read them."""

    content: ClassVar[tuple[str, ...]] = ()

    def to_representation(self, instance: Model) -> dict[str, Any]:
        shown: dict[str, Any] = super().to_representation(instance)
        if not may_read(self.context["request"]):
            shown.update(dict.fromkeys(set(self.content) & set(shown)))
        return shown


class PeerSerializer(Given, serializers.Serializer[Any]):
    """A group or a person, by the platform's id."""

    kind = serializers.ChoiceField(["direct", "group"])
    id = serializers.CharField(max_length=200)
