"""`/contacts/`: the people that the accounts know."""

from __future__ import annotations

import django_filters
from rest_framework import mixins, serializers

from bridge.api.base import ApiView
from bridge.api.fields import Filters, IdFilter, PersonFilter, SearchFilter, TrueFalseFilter
from bridge.models import Contact
from bridge.ui import search as finders


class ContactSerializer(serializers.ModelSerializer[Contact]):
    """A person as one account knows them."""

    follows = serializers.BooleanField(
        source="subscribed", allow_null=True, help_text="Null where the platform has no followers."
    )

    class Meta:
        model = Contact
        fields = (
            "id", "account", "external_id", "name", "kind", "department", "remark", "follows", "left_at", "created_at",
        )  # fmt: skip
        read_only_fields = fields


class ContactFilters(Filters):
    account = IdFilter(field_name="account_id")
    external_id = PersonFilter(field_name="external_id", max_length=200)
    kind = django_filters.ChoiceFilter(choices=Contact.Kind.choices)
    follows = TrueFalseFilter(field_name="subscribed")
    search = SearchFilter(
        finders.contacts, "name, platform id, or number, platform id or error code of a message of theirs"
    )


class Contacts(mixins.ListModelMixin, mixins.RetrieveModelMixin, ApiView):
    queryset = Contact.objects.all()
    serializer_class = ContactSerializer
    filterset_class = ContactFilters
    required_permissions = {"list": "bridge.view_contact", "retrieve": "bridge.view_contact"}
