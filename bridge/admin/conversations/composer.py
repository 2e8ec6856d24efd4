"""What staff write in a conversation: messages with files, of any type that its account sends; notes among staff; and texts kept for it."""

from __future__ import annotations

import json
from datetime import timedelta
from hashlib import sha256
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from django import forms
from django.core.exceptions import PermissionDenied
from django.db import transaction
from django.db.models import F, Q
from django.forms.fields import InvalidJSONInput
from django.utils import timezone
from django.utils.translation import gettext_lazy as _
from django.utils.translation import gettext_noop

from accounts.channels import build_channel
from bridge.admin.base import user_of
from bridge.admin.conversations.uploads import ManyFiles
from bridge.models import CannedAnswer, Conversation, Message
from bridge.people import entries, peers
from bridge.people.entries import LONGEST_NOTE
from bridge.pipeline.outbound import outbox
from bridge.pipeline.outbound.recipients import count_people, recipients_text
from bridge.pipeline.outbound.surplus import find_surplus_fields
from bridge.security import audit
from channels_wechat.contract.messages import Content
from channels_wechat.contract.pasted import without_invisible

if TYPE_CHECKING:
    from django.http import HttpRequest

# So many canned answers are offered in one conversation.
MOST_OFFERED = 200
# A note with the same words by the same colleague within this time is the same one, sent twice.
SAME_NOTE = timedelta(minutes=1)
# Kinds that follow from the chosen file.
FILE_KINDS = frozenset({"image", "voice", "video", "file"})
# A Mini Program's card may have a picture.
KINDS_WITH_FILES = frozenset({"", "miniprogrampage"})
DATA_EXAMPLE = '{"title": "…", "description": "…", "url": "https://…"}'


class JsonField(forms.JSONField):
    """Also refuse what Python's parser cannot read: very deep nesting, and numbers of thousands of digits."""

    def to_python(self, value: Any) -> Any:
        try:
            return super().to_python(value)
        except (ValueError, RecursionError):
            raise forms.ValidationError(self.error_messages["invalid"], code="invalid") from None

    def bound_data(self, data: Any, initial: Any) -> Any:
        try:
            return super().bound_data(data, initial)
        except (ValueError, RecursionError):
            return InvalidJSONInput(data)


def _make_key() -> str:
    return uuid4().hex


class SendForm(forms.Form):
    text = forms.CharField(
        label=_("Message"), required=False, widget=forms.Textarea(attrs={"rows": 3}), max_length=100_000
    )
    uploads = ManyFiles(label=_("Files"), required=False)
    kind = forms.ChoiceField(label=_("Type"), required=False)
    details = JsonField(
        label=_("Its content, as the platform's document gives it (JSON)"),
        required=False,
        widget=forms.Textarea(attrs={"rows": 6, "spellcheck": "false", "placeholder": DATA_EXAMPLE}),
    )

    # Of the page as it was opened: what is sent from it twice, by a double click or a key that is held down, is one message.
    key = forms.CharField(
        required=False, max_length=64, initial=_make_key, widget=forms.HiddenInput(attrs={"autocomplete": "off"})
    )
    people = forms.CharField(label=_("How many people this goes to"), required=False)

    def __init__(self, conversation: Conversation, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.people_count = count_people(conversation.peer_kind, conversation.peer_id)
        if self.people_count == 1:
            del self.fields["people"]
        else:
            text = _("This goes to %(people)s. Enter %(answer)s to confirm it.")
            self.fields["people"].help_text = text % {
                "people": recipients_text(self.people_count),
                "answer": self.people_count,
            }
            self.fields["people"].required = True
        self.channel = build_channel(conversation.account)
        kinds = self.channel.content_kinds
        choice: Any = self.fields["kind"]
        choice.choices = [("", _("text and files")), *((kind, kind) for kind in kinds if kind not in FILE_KINDS)]

    def clean_people(self) -> str:
        given: str = self.cleaned_data["people"].strip().casefold()
        if given != str(self.people_count):
            raise forms.ValidationError(self.fields["people"].help_text)
        return given

    def clean(self) -> dict[str, Any]:
        cleaned = super().clean() or self.cleaned_data
        if not self.errors and cleaned["kind"] and not isinstance(cleaned["details"], dict):
            self.add_error("details", _("Enter the message as a JSON object, for example: %s") % DATA_EXAMPLE)
        elif (
            not self.errors
            and not cleaned["kind"]
            and not without_invisible(cleaned["text"])
            and not cleaned["uploads"]
        ):
            raise forms.ValidationError(_("Write something, or choose a file."))
        elif not self.errors:
            self._refuse_surplus(cleaned)
        return cleaned

    def _refuse_surplus(self, cleaned: dict[str, Any]) -> None:
        """Refuse fields that the chosen type would ignore, because only the reader would notice that they are missing."""
        wrong: dict[str, Any] = {**find_surplus_fields(self.channel, self.content)}
        if cleaned["details"] and not cleaned["kind"]:
            wrong["kind"] = _("Choose the type of this content.")
        if cleaned["uploads"] and cleaned["kind"] not in KINDS_WITH_FILES:
            wrong["uploads"] = _("Files go with text only.")
        for name, why in wrong.items():
            self.add_error(name, why)

    @property
    def idempotency_key(self) -> str:
        """A page that the browser kept may send something else with its old key, so what is sent is a part of it. Empty: none is given."""
        given = self.cleaned_data
        if not given["key"]:
            return ""
        digest = sha256(json.dumps([given["text"], given["kind"], given["details"]]).encode())
        for file in given["uploads"]:
            digest.update(f"{file.name}:{file.size}".encode())
            for piece in file.chunks():
                digest.update(piece)
        return f"{given['key']}:{digest.hexdigest()}"

    @property
    def content(self) -> Content:
        given = self.cleaned_data
        if given["kind"]:
            return Content(kind=given["kind"], data=given["details"], text=given["text"])
        return Content(text=given["text"])


class NoteForm(forms.Form):
    text = forms.CharField(max_length=LONGEST_NOTE)

    def clean_text(self) -> str:
        text: str = self.cleaned_data["text"]
        if not without_invisible(text):
            raise forms.ValidationError(_("Write something."))
        return text


def list_canned_answers(account_id: int) -> list[CannedAnswer]:
    """Return those of this account and those of all; of one shortcut the account's own."""
    rows = CannedAnswer.objects.filter(Q(account=account_id) | Q(account=None))
    own_last = rows.order_by(F("account").asc(nulls_first=True), "shortcut")[:MOST_OFFERED]
    found = {row.shortcut.casefold(): row for row in own_last}
    return [found[name] for name in sorted(found)]


@transaction.atomic
def add_note(conversation: Conversation, form: NoteForm, request: HttpRequest) -> None:
    """Store a note among staff, once where it comes twice. The audit log says that there is one, and not what it says."""
    peers.lock_peer(conversation.account_id, conversation.peer_kind, conversation.peer_id)
    same = {"kind": entries.Kind.NOTE, "by": user_of(request), "text": form.cleaned_data["text"]}
    if conversation.entries.filter(**same, created_at__gt=timezone.now() - SAME_NOTE).exists():
        return
    entries.add_entry(conversation, **same)
    audit.log_action(gettext_noop("wrote a note"), [conversation])


def send(request: HttpRequest, conversation: Conversation, form: SendForm) -> bool:
    """Store the message, in the caller's transaction. Return whether it is new. Raises PermissionDenied, CannotSend."""
    if form.people_count != 1 and not user_of(request).has_perm("bridge.send_to_many"):
        raise PermissionDenied
    place = conversation.account, conversation.peer_kind, conversation.peer_id
    sender: dict[str, Any] = {"source": Message.Source.STAFF, "client": f"staff:{request.user.pk}"}
    peers.lock_peer(conversation.account_id, *place[1:])
    key = form.idempotency_key
    if key and Message.objects.filter(**sender, account=place[0], direction="out", idempotency_key=key).exists():
        return False
    outbox.send_within(
        *place,
        form.content,
        **sender,
        key=key,
        files=form.cleaned_data["uploads"],
        several=form.people_count != 1,
    )
    return True
