"""What the API tells of the long connection of an account or a gateway."""

from __future__ import annotations

from rest_framework import serializers

from accounts.models import Connection
from channels_wechat.contract.connection import ConnectionState, describe_state


class ConnectionSerializer(serializers.ModelSerializer[Connection]):
    """A long connection, which one connector at a time holds."""

    state = serializers.ChoiceField(
        [(state, describe_state(state)) for state in ConnectionState], source="current_state", read_only=True
    )
    is_held = serializers.BooleanField(read_only=True, help_text="Whether a connector holds it now.")

    own_id = serializers.CharField(
        read_only=True,
        help_text="As whom an account is logged in that somebody logs in; empty: nobody, or it needs no login.",
    )
    own_name = serializers.CharField(read_only=True, help_text="The name of that person; empty where it is not known.")

    class Meta:
        model = Connection
        fields = ("state", "code", "state_since", "own_id", "own_name", "is_held", "held_since", "last_frame_at")
        read_only_fields = fields
