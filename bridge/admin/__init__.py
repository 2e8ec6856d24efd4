"""The pages for staff. Importing this registers them all."""

import bridge.admin.accounts.pages
import bridge.admin.conversations.canned
import bridge.admin.conversations.contacts
import bridge.admin.conversations.messages
import bridge.admin.conversations.pages
import bridge.admin.deliveries.pages  # noqa: F401
from bridge.admin import alerts, audit, gateways, incidents, replays, routes, staff, tokens, webhooks  # noqa: F401
