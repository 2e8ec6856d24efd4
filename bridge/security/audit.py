"""Who changed what. django-auditlog notes each change of what staff configure; `record` notes a deed that changes no such field.

The log holds neither secrets nor what people wrote. What workers find out (states, leases, tokens) is written by `.update()`, which
sends no signal: it costs nothing here and is no deed of anybody.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from auditlog.context import auditlog_value, set_extra_data
from auditlog.models import LogEntry
from auditlog.registry import auditlog
from auditlog.signals import pre_log
from django.contrib.auth.models import Group, User
from django.contrib.contenttypes.models import ContentType
from knox.models import AuthToken

from accounts.models import ChannelAccount
from bridge.models import Conversation, Route, WebhookEndpoint
from openclaw.models import Gateway

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from django.db.models import Model, QuerySet
    from django.http import HttpRequest
    from django.http.response import HttpResponseBase

READING = ("GET", "HEAD", "OPTIONS", "TRACE")
MASK = "•••"


def masked(_value: str) -> str:
    """That a secret changed is noted, and nothing of it."""
    return MASK


def register_models() -> None:
    """Once, when Django is ready: these models' changes are noted, in these fields."""
    _register(ChannelAccount, "kind name enabled api_base_url retention_days", hidden="credentials")
    _register(Gateway, "name base_url transport timeout_seconds max_in_flight enabled", hidden="token")
    _register(WebhookEndpoint, "name events account enabled", hidden="url secret")
    _register(Route, " ".join(field.name for field in Route._meta.concrete_fields))
    _register(Conversation, "title mode")
    people = "username first_name last_name email is_active is_staff is_superuser"
    _register(User, people, hidden="password", many={"groups", "user_permissions"})
    _register(Group, "name", many={"permissions"})
    _register(AuthToken, "user expiry")
    pre_log.connect(_is_action, sender=Conversation)


def _register(model: type[Model], fields: str, hidden: str = "", many: Iterable[str] = ()) -> None:
    """fields, hidden: names with spaces between; of the hidden ones only that they changed is noted."""
    auditlog.register(
        model,
        include_fields=[*fields.split(), *hidden.split()],
        mask_fields=hidden.split(),
        mask_callable="bridge.security.audit.masked",
        m2m_fields=set(many),
    )


def _is_action(action: int, **_signal: Any) -> bool:
    """A conversation begins because somebody wrote in WeChat."""
    return bool(action != LogEntry.Action.CREATE)


class Audited:
    """Names the person and the address to the log while a request may change something. The API knows its user later: `act_as`."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponseBase]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        if request.method in READING:
            return self.get_response(request)
        who = {"actor": request.user, "remote_addr": request.META.get("REMOTE_ADDR") or None}
        before = auditlog_value.set({})
        try:
            with set_extra_data(who):
                return self.get_response(request)
        finally:  # the library leaves the name in the thread, for whatever runs there next
            auditlog_value.reset(before)


def set_actor(user: User) -> None:
    """For a request whose user is known only after the middleware: by a token."""
    auditlog_value.get({})["actor"] = user


def anonymise(rows: QuerySet[Any], *fields: str) -> None:
    """What is noted of these rows keeps neither their old names nor the values of these fields, only that they changed."""
    kind = ContentType.objects.get_for_model(rows.model)
    for row in rows:
        entries = list(LogEntry.objects.filter(content_type=kind, object_pk=str(row.pk)))
        for entry in entries:
            entry.object_repr = str(row)
            entry.changes = {**entry.changes_dict, **dict.fromkeys(entry.changes_dict.keys() & fields, [MASK, MASK])}
        LogEntry.objects.bulk_update(entries, ["object_repr", "changes"])


def log_action(deed: str, rows: Iterable[Model]) -> None:
    """deed: a sentence, or a word like "replayed"; without what people wrote. rows: of one model; several become one entry."""
    done = list(rows)
    if not done:
        return
    who = auditlog_value.get({})
    actor = who.get("actor")
    known = actor if actor is not None and actor.is_authenticated else None
    LogEntry.objects.create(
        content_type=ContentType.objects.get_for_model(done[0]),
        action=LogEntry.Action.UPDATE,
        actor=known,
        actor_email=known.email if known else None,
        remote_addr=who.get("remote_addr"),
        **(_one(done[0], deed) if len(done) == 1 else _many(done, deed)),
    )


def _one(row: Model, deed: str) -> dict[str, Any]:
    object_id = row.pk if isinstance(row.pk, int) else None
    return {
        "object_pk": str(row.pk),
        "object_id": object_id,
        "object_repr": str(row),
        "additional_data": {"deed": deed},
    }


def _many(rows: list[Model], deed: str) -> dict[str, Any]:
    """Three hundred lines would hide what a person looks for: the one line holds all their numbers."""
    text = f"{len(rows)} {rows[0]._meta.verbose_name_plural}"
    return {
        "object_pk": "",
        "object_repr": text,
        "additional_data": {"deed": deed, "rows": sorted(row.pk for row in rows)},
    }
