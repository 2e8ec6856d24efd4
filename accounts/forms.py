"""The form of an account: its own fields and those of its kind's `Credentials`. Secrets go in and never come out."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from django import forms
from django.utils.text import format_lazy
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from accounts.channels import guard
from accounts.models import ChannelAccount
from channels_wechat import channel_class
from channels_wechat.contract.capabilities import Moderated
from channels_wechat.contract.pasted import as_seen, one_line, without_invisible
from channels_wechat.contract.sentences import SENTENCES, default_of, parameters_of
from channels_wechat.wire.addresses import check_address, leads_elsewhere

if TYPE_CHECKING:
    from channels_wechat.contract.channel import Channel, CredentialsForm

    _AccountForm = forms.ModelForm[ChannelAccount]
else:
    _AccountForm = forms.ModelForm

# The columns that staff and scripts write; all others are written by other processes and stay.
CONFIGURATION = [
    "name",
    "enabled",
    "retention_days",
    "moderation_scope",
    "gateway_share",
    "turns_per_minute",
    "staff_minutes",
    "language",
    "sentences",
    "api_base_url",
    "credentials",
    "external_id",
    "updated_at",
]
STORED = _("stored, leave empty to keep")
# The form's field for a sentence of `channels_wechat.contract.sentences.SENTENCES` is this and the sentence's name.
SENTENCE_PREFIX = "sentence_"
SENTENCE_LENGTH = 500
ENTER_AGAIN = _(
    "The address leads elsewhere than before: enter this again. What is stored goes only where it was entered for."
)


class OneErrorPerField(forms.BaseForm):
    """Shows one error for each field, because later checks of the same field only repeat the first."""

    def add_error(self, field: str | None, error: Any) -> None:
        if field is None and hasattr(error, "error_dict"):
            fresh = {name: found for name, found in error.error_dict.items() if name not in self.errors}
            if not fresh:
                return
            error = forms.ValidationError(fresh)
        elif field in self.errors:
            return
        super().add_error(field, error)


class AccountForm(OneErrorPerField, _AccountForm):
    """Base of the classes that `account_form` makes; `credential_names` are the fields that stand for the kind's own."""

    # The account that has this name or identity already, for a link beside the error.
    collides_with: ChannelAccount | None = None
    kind: ClassVar[str]
    credential_names: ClassVar[tuple[str, ...]] = ()

    class Meta:
        model = ChannelAccount
        fields = (
            "name",
            "enabled",
            "retention_days",
            "moderation_scope",
            "gateway_share",
            "turns_per_minute",
            "staff_minutes",
            "language",
            "api_base_url",
        )
        widgets = {"api_base_url": forms.URLInput()}

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.instance.kind = self.kind
        if self.instance.pk is None and self.channel.is_risky:
            self.initial["enabled"] = False
        for name in ("language", "gateway_share"):
            if name in self.fields:  # whoever may only look is shown fewer
                self.fields[name].required = False
        self._show_sentences()
        stored = self.instance.credentials
        for name in self.credential_names:
            if name not in self.secrets:
                self.initial.setdefault(name, stored.get(name, self.fields[name].initial))
                continue
            if stored.get(name):
                self.fields[name].required = False
                self.fields[name].widget.attrs["placeholder"] = STORED

    def _show_sentences(self) -> None:
        """The stored text of each sentence, and the default of the account's language as its placeholder."""
        for name in SENTENCES:
            field = f"{SENTENCE_PREFIX}{name}"
            if field not in self.fields:
                continue
            self.initial.setdefault(field, self.instance.sentences.get(name, ""))
            default = default_of(name, self.instance.language)
            if default:
                self.fields[field].widget.attrs["placeholder"] = default

    @property
    def channel(self) -> type[Channel]:
        return channel_class(self.kind)

    @property
    def secrets(self) -> frozenset[str]:
        return self.channel.Credentials.secrets

    def clean_name(self) -> str:
        """Refuse a name that looks like another account's, because names distinguish accounts in lists and filters."""
        name = one_line(self.cleaned_data["name"])
        if not name:
            raise forms.ValidationError(self.fields["name"].error_messages["required"], code="required")
        others = ChannelAccount.objects.defer("credentials").exclude(pk=self.instance.pk)
        other = next((each for each in others if as_seen(each.name) == as_seen(name)), None)
        if other:
            self.collides_with = other
            text = _("There is an account with this name already: “%(name)s” (%(kind)s).")
            raise forms.ValidationError(text % {"name": other.name, "kind": other.get_kind_display()})
        return name

    def clean_language(self) -> str:
        """A form that does not name it leaves it as it is."""
        chosen: str = self.cleaned_data["language"]
        return chosen or self.instance.language

    def clean_gateway_share(self) -> int:
        """A form that does not name it leaves it as it is."""
        chosen: int | None = self.cleaned_data["gateway_share"]
        return self.instance.gateway_share if chosen is None else chosen

    def clean_moderation_scope(self) -> str:
        chosen: str = self.cleaned_data["moderation_scope"]
        if chosen and not issubclass(self.channel, Moderated):
            raise forms.ValidationError(_("WeChat has no content check for accounts of this kind."))
        return chosen

    def clean_api_base_url(self) -> str:
        """An address inside our own network, or without https, is refused, unless the settings name it."""
        address = without_invisible(self.cleaned_data["api_base_url"])
        if address:
            check_address(address, guard())
        return address

    def clean(self) -> dict[str, Any]:
        """Validate the kind's fields by the kind's own form, and show its errors at them."""
        cleaned = super().clean() or self.cleaned_data
        self._take_sentences(cleaned)
        self._ask_for_secrets_anew(cleaned)
        given: CredentialsForm = self.channel.Credentials(
            {name: self._entered_or_stored(name) for name in self.credential_names}
        )
        if given.is_valid():
            self._check_addresses(given.cleaned_data)
            self._identify(given.cleaned_data)
        for name, errors in given.errors.items():
            if name not in self.errors:
                self.add_error(name if name in self.fields else None, list(errors))
        return cleaned

    def _take_sentences(self, cleaned: dict[str, Any]) -> None:
        """Store the sentences that are not empty; refuse a {parameter} that the sentence does not have."""
        texts = {name: without_invisible(cleaned.get(f"{SENTENCE_PREFIX}{name}") or "") for name in SENTENCES}
        for name, text in texts.items():
            if error := wrong_parameters(name, text):
                self.add_error(f"{SENTENCE_PREFIX}{name}", error)
        self.instance.sentences = {name: text for name, text in texts.items() if text}

    def _ask_for_secrets_anew(self, cleaned: dict[str, Any]) -> None:
        """Require secrets again when the address changes, because a person who may change it need not know the stored secret."""
        usual = self.channel.default_api_base_url
        before, after = self.instance.api_base_url or usual, cleaned.get("api_base_url") or usual
        if self.instance.pk is None or not (leads_elsewhere(before, after) or self._names_another_place()):
            return
        for name in self.secrets if self.channel.Credentials.sent is None else self.channel.Credentials.sent:
            if self.instance.credentials.get(name) and not self.cleaned_data.get(name):
                self.add_error(name, ENTER_AGAIN)

    def _names_another_place(self) -> bool:
        """Whether a field of the kind's own says otherwise than before where secrets go."""
        stored = self.instance.credentials
        return any(
            str(self.cleaned_data.get(name) or "") != str(stored.get(name) or "")
            for name in self.channel.Credentials.places
        )

    def _entered_or_stored(self, name: str) -> Any:
        value = self.cleaned_data.get(name)
        blank = value is None or value == ""
        return self.instance.credentials.get(name) if blank and name in self.secrets else value

    def _check_addresses(self, credentials: dict[str, Any]) -> None:
        """Refuse what the guard would not let through now; it is asked again before each call."""
        for name in self.channel.Credentials.addresses:
            try:
                check_address(credentials[name], guard())
            except forms.ValidationError as refused:
                self.add_error(name, refused)

    def _identify(self, credentials: dict[str, Any]) -> None:
        identity = self.channel.external_id(credentials)
        others = ChannelAccount.objects.filter(kind=self.kind, external_id=identity).exclude(pk=self.instance.pk)
        if other := others.first():
            self.collides_with = other
            text = _("The account “%(name)s” has this identity already.") % {"name": other.name}
            self.add_error(self._identity_field(), text)
        else:
            self.instance.credentials, self.instance.external_id = credentials, identity

    def _identity_field(self) -> str:
        open_names = [name for name in self.credential_names if name not in self.secrets]
        return (open_names or list(self.credential_names))[0]


def account_form(kind: str) -> type[AccountForm]:
    """The form class for one kind. Raises KeyError for a kind that is not registered."""
    credentials = channel_class(kind).Credentials
    fields = {name: _stand_in(field, name in credentials.secrets) for name, field in credentials().fields.items()}
    sentences = {f"{SENTENCE_PREFIX}{name}": _sentence_field(name) for name in SENTENCES}
    marks = {"kind": kind, "credential_names": tuple(fields), "__module__": __name__}
    return type("AccountForm", (AccountForm,), {**marks, **fields, **sentences})


def _sentence_field(name: str) -> forms.Field:
    names = ", ".join(f"{{{each}}}" for each in sorted(parameters_of(name)))
    hint = format_lazy(_("May use {names}."), names=names) if names else ""
    widget = forms.Textarea({"rows": 2})
    label = SENTENCES[name].label
    return forms.CharField(label=label, help_text=hint, required=False, max_length=SENTENCE_LENGTH, widget=widget)


def wrong_parameters(name: str, text: str) -> str:
    """Why this text cannot be filled in where the sentence is sent; empty if it can."""
    allowed = parameters_of(name)
    if not text or not allowed:
        return ""
    try:
        text.format(**dict.fromkeys(allowed, ""))
    except (KeyError, IndexError, ValueError, AttributeError, TypeError):
        names = ", ".join(f"{{{each}}}" for each in sorted(allowed))
        return gettext("Only %(names)s may stand in braces here.") % {"names": names}
    return ""


def _stand_in(field: forms.Field, secret: bool) -> forms.Field:
    """Shows a field of the kind's form without judging it: the kind's form does that, with stored secrets filled in."""
    hidden = {**field.widget.attrs, "autocomplete": "new-password", "spellcheck": "false"}
    widget = forms.PasswordInput(hidden) if secret else field.widget
    shown = {"label": field.label, "help_text": field.help_text, "initial": field.initial}
    return forms.Field(required=field.required, widget=widget, **shown)
