"""Every endpoint: a request that succeeds, and the least role that may make it. Roles include those before them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from bridge.models import AlertRule, Contact, ReplayRun
from tests.support.factories import APP_FIELDS, CORP

if TYPE_CHECKING:
    from tests.support.factories import World

BOT = {"bot_id": "AIBOT9", "bot_name": "Robot", "corp_id": CORP}
KEY = {"Idempotency-Key": "matrix"}


@dataclass(frozen=True)
class Call:
    """path: with the ids of `World` filled in by `at`; least: the first role that may."""

    method: str
    path: str
    least: str
    status: int
    body: Any = None
    headers: dict[str, str] = field(default_factory=dict)

    def at(self, world: World) -> str:
        return "/api/v1" + self.path.format(
            account=world.bot.pk,
            conversation=world.person.pk,
            gateway=world.gateway.pk,
            route=world.route.pk,
            message=world.question.pk,
            attachment=world.picture.pk,
            delivery=world.dead.pk,
            webhook=world.webhook.pk,
            fallback=world.fallback.pk,
            contact=Contact.objects.values_list("pk", flat=True).first(),
            contact_request=world.contact_request.pk,
            customer_message=world.customer_message.pk,
            canned=world.canned.pk,
            incident=world.incident.pk,
            replay=ReplayRun.objects.values_list("pk", flat=True).first(),
            alert=world.alert.pk,
            alert_channel=world.alert.channel_id,
            alert_rule=AlertRule.objects.values_list("pk", flat=True).first(),
        )

    def filled(self, world: World) -> Any:
        """The body, with ids for the names that stand for them."""
        ids = {
            "<app>": world.app.pk, "<bot>": world.bot.pk, "<gateway>": world.gateway.pk, "<person>": world.person.pk,
        }  # fmt: skip

        def fill(value: Any) -> Any:
            if isinstance(value, dict):
                return {name: fill(below) for name, below in value.items()}
            return ids.get(value, value) if isinstance(value, str) else value

        return fill(self.body)


ROUTE = {"account": "<app>", "peer_kind": "direct", "peer_id": "lisi", "gateway": "<gateway>", "agent_id": "main"}
QUESTION = {"account": "<bot>", "peer": {"kind": "group", "id": "wrGROUP"}, "text": "hello"}
FALLBACK = {"conversation": "<person>", "position": 1, "account": "<app>", "peer_kind": "direct", "peer_id": "lisi"}
CUSTOMER_MESSAGE = {
    "account": "<app>", "peer_kind": "direct", "sender": "zhangsan", "recipients": ["wmX"], "text": "hello",
}  # fmt: skip
CALLS = [
    Call("GET", "/accounts/", "Viewers", 200),
    Call(
        "POST",
        "/accounts/",
        "Admins",
        201,
        {"kind": "wecom_app", "name": "New", "credentials": {**APP_FIELDS, "agent_id": 7}},
    ),
    Call("GET", "/accounts/{account}/", "Viewers", 200),
    Call("PATCH", "/accounts/{account}/", "Admins", 200, {"enabled": False, "credentials": BOT}),
    Call("DELETE", "/accounts/{account}/", "Admins", 409),
    Call("GET", "/accounts/{account}/templates/", "Operators", 422),
    Call("GET", "/accounts/{account}/limits/", "Viewers", 200),
    Call("POST", "/accounts/{account}/stop-sending/", "Admins", 200),
    Call("POST", "/accounts/{account}/allow-sending/", "Admins", 200),
    Call("GET", "/gateways/", "Viewers", 200),
    Call("POST", "/gateways/", "Admins", 201, {"name": "Second", "base_url": "http://127.0.0.1:9", "token": "secret"}),
    Call("GET", "/gateways/{gateway}/", "Viewers", 200),
    Call("GET", "/gateways/{gateway}/turns/", "Viewers", 200),
    Call("PATCH", "/gateways/{gateway}/", "Admins", 200, {"enabled": False}),
    Call("DELETE", "/gateways/{gateway}/", "Admins", 409),
    Call("GET", "/routes/", "Viewers", 200),
    Call("POST", "/routes/", "Admins", 201, ROUTE),
    Call("POST", "/routes/resolve/", "Viewers", 200, QUESTION),
    Call("GET", "/routes/{route}/", "Viewers", 200),
    Call("PATCH", "/routes/{route}/", "Admins", 200, {"enabled": False}),
    Call("DELETE", "/routes/{route}/", "Admins", 204),
    Call("GET", "/fallbacks/", "Viewers", 200),
    Call("POST", "/fallbacks/", "Operators", 201, FALLBACK),
    Call("GET", "/fallbacks/{fallback}/", "Viewers", 200),
    Call("PATCH", "/fallbacks/{fallback}/", "Operators", 200, {"on_quota": False}),
    Call("DELETE", "/fallbacks/{fallback}/", "Operators", 204),
    Call("GET", "/conversations/", "Viewers", 200),
    Call("GET", "/conversations/{conversation}/", "Viewers", 200),
    Call("PATCH", "/conversations/{conversation}/", "Operators", 200, {"title": "Sales", "mode": "paused"}),
    Call("POST", "/conversations/{conversation}/new-session/", "Operators", 200),
    Call("POST", "/conversations/{conversation}/take-over/", "Operators", 200),
    Call("POST", "/conversations/{conversation}/assign/", "Operators", 200, {"assignee": None}),
    Call("POST", "/conversations/{conversation}/hand-back/", "Operators", 200, {"ask": "last"}),
    Call("GET", "/conversations/{conversation}/notes/", "Operators", 200),
    Call("POST", "/conversations/{conversation}/notes/", "Operators", 201, {"text": "call them"}),
    Call("GET", "/canned-answers/", "Operators", 200),
    Call("POST", "/canned-answers/", "Operators", 201, {"shortcut": "bye", "text": "Goodbye"}),
    Call("GET", "/canned-answers/{canned}/", "Operators", 200),
    Call("PATCH", "/canned-answers/{canned}/", "Operators", 200, {"text": "Hi"}),
    Call("DELETE", "/canned-answers/{canned}/", "Operators", 204),
    Call("POST", "/conversations/{conversation}/move/", "Admins", 200, {"account": "<bot>", "peer_id": "lisi"}),
    Call("GET", "/messages/", "Viewers", 200),
    Call("POST", "/messages/", "Operators", 201, {"conversation": "<person>", "content": {"text": "hello"}}, KEY),
    Call("GET", "/messages/{message}/", "Viewers", 200),
    Call("GET", "/customer-messages/", "Admins", 200),
    Call("GET", "/customer-messages/{customer_message}/", "Admins", 200),
    Call("POST", "/customer-messages/", "Admins", 422, CUSTOMER_MESSAGE, KEY),
    Call("GET", "/contacts/", "Viewers", 200),
    Call("GET", "/contacts/{contact}/", "Viewers", 200),
    Call("GET", "/contact-requests/", "Viewers", 200),
    Call("GET", "/contact-requests/{contact_request}/", "Viewers", 200),
    Call("POST", "/contact-requests/{contact_request}/accept/", "Operators", 422),
    Call("POST", "/contact-requests/{contact_request}/dismiss/", "Operators", 200),
    Call("GET", "/attachments/", "Viewers", 200),
    Call("GET", "/attachments/{attachment}/", "Viewers", 200),
    Call("GET", "/attachments/{attachment}/content/", "Operators", 200),
    Call("GET", "/deliveries/", "Viewers", 200),
    Call("POST", "/deliveries/replay/", "Operators", 200, {"filter": {"state": "dead"}}),
    Call("GET", "/deliveries/{delivery}/", "Viewers", 200),
    Call("POST", "/deliveries/{delivery}/replay/", "Operators", 200),
    Call("POST", "/deliveries/{delivery}/release/", "Operators", 422),
    Call("POST", "/deliveries/{delivery}/dismiss/", "Operators", 200),
    Call("GET", "/incidents/", "Viewers", 200),
    Call("GET", "/incidents/{incident}/", "Viewers", 200),
    Call("POST", "/incidents/{incident}/acknowledge/", "Operators", 200),
    Call("POST", "/incidents/{incident}/mute/", "Operators", 200, {"how_long": "8h"}),
    Call("POST", "/incidents/{incident}/assign/", "Operators", 200, {"owner": None}),
    Call("GET", "/replays/", "Viewers", 200),
    Call("POST", "/replays/", "Operators", 201, {"kind": "again", "filter": {"code": "81013"}}, KEY),
    Call("GET", "/replays/{replay}/", "Viewers", 200),
    Call("GET", "/replays/{replay}/items/", "Viewers", 200),
    Call("POST", "/replays/{replay}/run/", "Operators", 200, {"rate": 50}),
    Call("POST", "/replays/{replay}/pause/", "Operators", 409),
    Call("POST", "/replays/{replay}/resume/", "Operators", 409),
    Call("POST", "/replays/{replay}/cancel/", "Operators", 200),
    Call("POST", "/replays/{replay}/undo/", "Operators", 409),
    Call("POST", "/replays/{replay}/look-again/", "Operators", 200),
    Call("GET", "/alert-channels/", "Viewers", 200),
    Call("GET", "/alert-channels/{alert_channel}/", "Viewers", 200),
    Call("GET", "/alert-rules/", "Viewers", 200),
    Call("GET", "/alert-rules/{alert_rule}/", "Viewers", 200),
    Call("GET", "/alerts/", "Viewers", 200),
    Call("GET", "/alerts/{alert}/", "Viewers", 200),
    Call("GET", "/webhooks/", "Viewers", 200),
    Call(
        "POST",
        "/webhooks/",
        "Admins",
        201,
        {"name": "New", "url": "https://example.com/x", "events": ["account.state"]},
    ),
    Call("GET", "/webhooks/{webhook}/", "Viewers", 200),
    Call("PATCH", "/webhooks/{webhook}/", "Admins", 200, {"enabled": False}),
    Call("DELETE", "/webhooks/{webhook}/", "Admins", 204),
    Call("POST", "/webhooks/{webhook}/rotate-secret/", "Admins", 200, {"overlap_hours": 1}),
    Call("POST", "/webhooks/{webhook}/test/", "Admins", 202),
    Call("GET", "/stats/", "Viewers", 200),
    Call("GET", "/stats/reports/", "Viewers", 200),
]
