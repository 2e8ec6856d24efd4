"""Paths of the API, version 1."""

from __future__ import annotations

from csp.decorators import csp_update
from django.contrib.admin.views.decorators import staff_member_required
from django.urls import path, re_path
from django.views.decorators.csrf import csrf_exempt
from drf_spectacular.views import SpectacularJSONAPIView, SpectacularSwaggerSplitView
from rest_framework.routers import SimpleRouter

from bridge.api.accounts import Accounts
from bridge.api.alerts import AlertChannels, AlertRules, Alerts
from bridge.api.attachments import Attachments
from bridge.api.canned_answers import CannedAnswers
from bridge.api.contact_requests import ContactRequests
from bridge.api.contacts import Contacts
from bridge.api.conversations import Conversations
from bridge.api.customer_messages import CustomerMessages
from bridge.api.deliveries import Deliveries
from bridge.api.errors import not_found
from bridge.api.fallbacks import Fallbacks
from bridge.api.gateways import Gateways
from bridge.api.incidents import Incidents
from bridge.api.messages import Messages
from bridge.api.replays import Replays
from bridge.api.routes import Routes
from bridge.api.stats import Stats
from bridge.api.webhooks import Webhooks

router = SimpleRouter()
router.register("accounts", Accounts, "account")
router.register("gateways", Gateways, "gateway")
router.register("routes", Routes, "route")
router.register("conversations", Conversations, "conversation")
router.register("contacts", Contacts, "contact")
router.register("fallbacks", Fallbacks, "fallback")
router.register("canned-answers", CannedAnswers, "canned_answer")
router.register("messages", Messages, "message")
router.register("customer-messages", CustomerMessages, "customer_message")
router.register("contact-requests", ContactRequests, "contact_request")
router.register("attachments", Attachments, "attachment")
router.register("deliveries", Deliveries, "delivery")
router.register("incidents", Incidents, "incident")
router.register("replays", Replays, "replay")
router.register("alert-channels", AlertChannels, "alert_channel")
router.register("alert-rules", AlertRules, "alert_rule")
router.register("alerts", Alerts, "alert")
router.register("webhooks", Webhooks, "webhook")

# Its icons are drawn by addresses in the style sheet; everything else follows the policy of all pages.
docs = csp_update({"img-src": ["data:"]})(SpectacularSwaggerSplitView.as_view(url_name="schema"))

urlpatterns = [
    *router.urls,
    path("stats/", Stats.as_view({"get": "retrieve"}), name="stats"),
    path("stats/reports/", Stats.as_view({"get": "report"}), name="stats-reports"),
    path("schema/", SpectacularJSONAPIView.as_view(), name="schema"),
    path("docs/", staff_member_required(docs), name="docs"),
    re_path("", csrf_exempt(not_found)),
]
