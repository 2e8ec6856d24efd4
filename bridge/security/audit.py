"""The audit log. django-auditlog records each change of what staff configure; `log_action` notes an action that changes no such field.

The log holds neither secrets nor what people wrote. Workers write what they find out (states, leases, tokens) by `.update()`, which
sends no signal, because that is no action of a person.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from auditlog.context import auditlog_value, set_extra_data
from auditlog.models import LogEntry
from auditlog.registry import auditlog
from auditlog.signals import pre_log
from django.contrib.auth.models import Group, User
from django.contrib.contenttypes.models import ContentType
from django.utils.translation import gettext, override
from knox.models import AuthToken

from accounts.models import ChannelAccount
from bridge.models import AlertChannel, AlertRule, CannedAnswer, Conversation, Route, WebhookEndpoint
from openclaw.models import Gateway

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from django.db.models import Model, QuerySet
    from django.http import HttpRequest
    from django.http.response import HttpResponseBase
    from django.utils.functional import _StrOrPromise

READING = ("GET", "HEAD", "OPTIONS", "TRACE")
MASK = "•••"


def masked(_value: str) -> str:
    """Return the mark that stands for a secret, so that the log says that it changed and nothing of its value."""
    return MASK


def register_models() -> None:
    """Make django-auditlog record changes of these fields. Called once, when Django is ready."""
    _register(ChannelAccount, "kind name enabled api_base_url retention_days", hidden="credentials")
    _register(Gateway, "name base_url transport timeout_seconds max_in_flight enabled", hidden="token")
    _register(WebhookEndpoint, "name events account enabled", hidden="url secret")
    _register(
        AlertChannel,
        "kind name enabled account emails language quiet_from quiet_until max_per_hour",
        hidden="url secret",
        many={"rules"},
    )
    _register(
        AlertRule,
        "kind name enabled minutes percent least_count codes work_from work_until weekdays_only reminder_hours",
        many={"accounts"},
    )
    _register(Route, " ".join(field.name for field in Route._meta.concrete_fields))
    _register(Conversation, "title mode assignee")
    _register(CannedAnswer, "account shortcut text")
    people = "username first_name last_name email is_active is_staff is_superuser"
    _register(User, people, hidden="password", many={"groups", "user_permissions"})
    _register(Group, "name", many={"permissions"})
    _register(AuthToken, "user expiry")
    pre_log.connect(_is_action, sender=Conversation)


def _register(model: type[Model], fields: str, hidden: str = "", many: Iterable[str] = ()) -> None:
    """fields, hidden: names with spaces between. Of a hidden field the log notes only that it changed."""
    auditlog.register(
        model,
        include_fields=[*fields.split(), *hidden.split()],
        mask_fields=hidden.split(),
        mask_callable="bridge.security.audit.masked",
        m2m_fields=set(many),
    )


def _is_action(action: int, **_signal: Any) -> bool:
    """Whether a signal is an action of staff: a conversation is created because somebody wrote in WeChat, not by them."""
    return bool(action != LogEntry.Action.CREATE)


class Audited:
    """Names the person and the address to the log while a request may change something. The API knows its user later: `set_actor`."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponseBase]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        if request.method in READING:
            return self.get_response(request)
        caller = {"actor": request.user, "remote_addr": request.META.get("REMOTE_ADDR") or None}
        before = auditlog_value.set({})
        try:
            with set_extra_data(caller):
                return self.get_response(request)
        finally:  # the library leaves the name in the thread, for whatever runs there next
            auditlog_value.reset(before)


def set_actor(user: User) -> None:
    """Name the user of a request that is known only after the middleware, because it came with a token."""
    auditlog_value.get({})["actor"] = user


def anonymise(rows: QuerySet[Any], *fields: str) -> None:
    """Remove the rows' old names and the values of these fields from the log; it still shows that they changed."""
    kind = ContentType.objects.get_for_model(rows.model)
    for row in rows:
        entries = list(LogEntry.objects.filter(content_type=kind, object_pk=str(row.pk)))
        for entry in entries:
            entry.object_repr = str(row)
            entry.changes = {**entry.changes_dict, **dict.fromkeys(entry.changes_dict.keys() & fields, [MASK, MASK])}
        LogEntry.objects.bulk_update(entries, ["object_repr", "changes"])


def log_action(action: _StrOrPromise, rows: Iterable[Model], **params: Any) -> None:
    """Record an action of the current user. action: a sentence, or a word like "replayed", without what people wrote; params fill it.

    It is stored in English, and shown in the language of whoever reads the log. rows: of one model; several become one entry.
    """
    changed = list(rows)
    if changed:
        done = _in_english(action, params)
        _write(changed[0]._meta.model, _one(changed[0], done) if len(changed) == 1 else _many(changed, done))


def log_download(model: type[Model], list_name: str, query: str) -> int:
    """Record that the current user downloads a list as a file, before its first row is sent. Return the entry's number.

    list_name: the list's address within the admin. query: the filter, without the word that was searched for, as that can be a person's.
    """
    download = {"list": list_name, "filter": query, "rows": None, "is_whole": False}
    fields = {"object_pk": "", "object_repr": "CSV", "additional_data": {"download": download}}
    return int(_write(model, fields, LogEntry.Action.ACCESS).pk)


def finish_download(number: int, rows: int, *, is_whole: bool) -> None:
    """Add to an entry how many rows were sent, and whether that was the whole file."""
    for entry in LogEntry.objects.filter(pk=number):
        entry.additional_data["download"] |= {"rows": rows, "is_whole": is_whole}
        entry.save(update_fields=["additional_data"])


def _write(model: type[Model], fields: dict[str, Any], action: int = LogEntry.Action.UPDATE) -> LogEntry:
    """Store an entry of the current user."""
    caller = auditlog_value.get({})
    actor = caller.get("actor")
    user = actor if actor is not None and actor.is_authenticated else None
    return LogEntry.objects.create(
        content_type=ContentType.objects.get_for_model(model),
        action=action,
        actor=user,
        actor_email=user.email if user else None,
        remote_addr=caller.get("remote_addr"),
        **fields,
    )


def _in_english(action: _StrOrPromise, params: dict[str, Any]) -> dict[str, Any]:
    """Return the action as an entry keeps it: a sentence, and if something fills it also the sentence before that."""
    with override("en"):
        sentence = str(action)
    return {"action": sentence % params, "sentence": sentence, "params": params} if params else {"action": sentence}


def describe_action(entry: LogEntry) -> str:
    """Return an entry's action in the language that is active; empty where it records changed fields."""
    data = entry.additional_data or {}
    if params := data.get("params"):
        return str(gettext(data["sentence"]) % params)
    return gettext(data["action"]) if data.get("action") else ""


def describe_rows(entry: LogEntry) -> str:
    """Return what an entry is about: the name that its row had, or how many rows there were."""
    numbers, model = (entry.additional_data or {}).get("rows"), entry.content_type.model_class()
    return _count(model, len(numbers)) if numbers and model else entry.object_repr


def _count(model: type[Model] | Model, number: int) -> str:
    return f"{number} {model._meta.verbose_name_plural}"


def _one(row: Model, done: dict[str, Any]) -> dict[str, Any]:
    object_id = row.pk if isinstance(row.pk, int) else None
    return {"object_pk": str(row.pk), "object_id": object_id, "object_repr": str(row), "additional_data": done}


def _many(rows: list[Model], done: dict[str, Any]) -> dict[str, Any]:
    """Return the fields of one entry for many rows, with all their numbers: hundreds of entries would hide what a person looks for."""
    with override("en"):
        text = _count(rows[0], len(rows))
    return {
        "object_pk": "",
        "object_repr": text,
        "additional_data": {**done, "rows": sorted(row.pk for row in rows)},
    }
