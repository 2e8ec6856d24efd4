"""The pages for staff. Importing this registers them all."""

from bridge.admin import (  # noqa: F401
    accounts,
    audit,
    contacts,
    conversations,
    deliveries,
    gateways,
    incidents,
    messages,
    routes,
    staff,
    tokens,
    webhooks,
)
