"""The rows of the pipeline."""

from bridge.models.alerts import AlertChannel, AlertDelivery, AlertMessage, AlertRule, ChannelKind, RuleKind
from bridge.models.contact_requests import ContactRequest
from bridge.models.customer_messages import CustomerMessage, CustomerMessageState
from bridge.models.deliveries import Attempt, Carrier, Delivery, Outcome, Reason, State, Target
from bridge.models.directory import CustomerGroup, Department, DirectoryChange, DirectoryRead
from bridge.models.fallbacks import FallbackSender
from bridge.models.figures import ConversationFigures, CountedPeriod, DayFigures, HourFigures
from bridge.models.inbox import CannedAnswer, ConversationEntry
from bridge.models.incidents import Incident, Severity
from bridge.models.messages import Attachment, AttachmentState, Message
from bridge.models.replays import Outlook, ReplayItem, ReplayKind, ReplayResult, ReplayRun, ReplayState
from bridge.models.routes import ERASED, Contact, Conversation, Route, SessionEpoch
from bridge.models.saved_filters import SavedFilter
from bridge.models.staff import StaffLanguage
from bridge.models.webhooks import Event, WebhookEndpoint

__all__ = [
    "ERASED",
    "AlertChannel",
    "AlertDelivery",
    "AlertMessage",
    "AlertRule",
    "Attachment",
    "AttachmentState",
    "Attempt",
    "CannedAnswer",
    "ChannelKind",
    "Contact",
    "ContactRequest",
    "Conversation",
    "ConversationEntry",
    "ConversationFigures",
    "CountedPeriod",
    "CustomerGroup",
    "CustomerMessage",
    "CustomerMessageState",
    "DayFigures",
    "Delivery",
    "Department",
    "DirectoryChange",
    "DirectoryRead",
    "Event",
    "FallbackSender",
    "HourFigures",
    "Incident",
    "Message",
    "Outcome",
    "Outlook",
    "Reason",
    "ReplayItem",
    "ReplayKind",
    "ReplayResult",
    "ReplayRun",
    "ReplayState",
    "Route",
    "RuleKind",
    "SavedFilter",
    "SessionEpoch",
    "Severity",
    "StaffLanguage",
    "State",
    "Target",
    "WebhookEndpoint",
    "Carrier",
]
