"""A problem as it is found: the columns of its incident."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

from accounts.models import ChannelAccount
from bridge.explanations.incidents import severity_of
from bridge.models import WebhookEndpoint
from openclaw.models import Gateway

if TYPE_CHECKING:
    from datetime import datetime


@dataclass(frozen=True, slots=True)
class Problem:
    """cause: the identity of what is wrong; code, params: of `bridge.explanations.incidents`; all others as the columns of `Incident`.

    opens: whether an incident is opened for it; else it only keeps the one that is open.
    """

    cause: str
    code: str
    params: dict[str, Any] = field(default_factory=dict)
    account_id: int | None = None
    gateway_id: int | None = None
    endpoint_id: int | None = None
    conversation_id: int | None = None
    reason: str = ""
    error_code: str = ""
    count: int = 0
    first_seen_at: datetime | None = None
    last_seen_at: datetime | None = None
    opens: bool = True

    def as_columns(self) -> dict[str, Any]:
        """Return the columns of its incident that follow from the problem."""
        values = asdict(self)
        params = values.pop("params")
        del values["opens"]
        return {**values, "code_params": params, "severity": severity_of(self.code)}


@dataclass(frozen=True, slots=True)
class Unknown:
    """A look could not say whether these causes are there, so their incidents stay as they are. causes: how they begin."""

    causes: str


@dataclass(slots=True)
class Names:
    """Names of what problems are about, by id; of accounts also the kind. Read once for all problems."""

    accounts: dict[int, str]
    kinds: dict[int, str]
    gateways: dict[int, str]
    endpoints: dict[int, str]

    @classmethod
    def load(cls) -> Names:
        accounts = list(ChannelAccount.objects.order_by().values_list("pk", "name", "kind"))
        return cls(
            accounts={pk: name for pk, name, _kind in accounts},
            kinds={pk: kind for pk, _name, kind in accounts},
            gateways=dict(Gateway.objects.order_by().values_list("pk", "name")),
            endpoints=dict(WebhookEndpoint.objects.order_by().values_list("pk", "name")),
        )
