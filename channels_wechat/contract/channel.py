"""The base class of every channel kind: it declares what the platform can do, and does it. No ORM, no settings, no Celery.

A kind subclasses `Channel` and adds bases of `contract.capabilities` for what it can do more. Rendering is pure; `send` makes one
call and raises `ChannelError`.
"""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING, Any, ClassVar

from django import forms

if TYPE_CHECKING:
    from collections.abc import Mapping

    from django.utils.functional import _StrOrPromise

    from channels_wechat.contract.errors import ChannelError
    from channels_wechat.contract.explanations import Explanation
    from channels_wechat.contract.http_client import HttpClient
    from channels_wechat.contract.messages import Ability, Content, Identity, Limit, Outgoing, Payload, Peer, Receipt
    from channels_wechat.contract.tokens import TokenSource


class CredentialsForm(forms.Form):
    """Base of every kind's credentials. `secrets` names the write-only fields: never shown, a blank keeps the stored value.

    sent: those of them that go to the API address, so that another address asks for them anew; None: all. places: fields that say where
    else they go; another value in one of these asks for them anew too. addresses: fields with web addresses that are called, for the
    account's form to ask the guard about.
    """

    secrets: ClassVar[frozenset[str]] = frozenset()
    sent: ClassVar[frozenset[str] | None] = None
    places: ClassVar[frozenset[str]] = frozenset()
    addresses: ClassVar[frozenset[str]] = frozenset()


class Channel:
    """A channel kind bound to one account."""

    kind: ClassVar[str]
    label: ClassVar[_StrOrPromise]
    Credentials: ClassVar[type[CredentialsForm]]
    # Every code that an error of this kind can have: the platform's numbers, the kind's own codes, and those of the HTTP client.
    explanations: ClassVar[Mapping[str, Explanation]]
    default_api_base_url: ClassVar[str] = ""
    abilities: ClassVar[tuple[Ability, ...]] = ()
    # The kinds of peers whose messages this kind receives; the form of a mapping offers no others.
    receives_from: ClassVar[frozenset[str]] = frozenset()
    # The one peer of a kind that can write to no other; an account's conversation with it is called like the account.
    only_peer: ClassVar[Peer | None] = None
    # Whether `send` takes the bytes of pictures (`Outgoing.images`) with the message itself, instead of uploading them first.
    inlines_images: ClassVar[bool] = False
    # An answer in more parts than this is cut, because nobody would read it and it would use up the reply window.
    max_parts: ClassVar[int] = 20
    # Outbound kinds beside "text" that `render` takes.
    content_kinds: ClassVar[tuple[str, ...]] = ()
    # Those of them that take a text beside their data, and the names of data that go with a text.
    kinds_with_text: ClassVar[tuple[str, ...]] = ()
    text_options: ClassVar[tuple[str, ...]] = ()

    # Whether the check of `repeat_window` goes by `Outgoing.key`, so that it drops no text that is meant to be sent twice.
    repeats_by_key: ClassVar[bool] = False

    # Whether the platform forbids such programs, so that an account of the kind is added switched off; staff read why in its form.
    is_risky: ClassVar[bool] = False

    # Whether `test` asks the platform something, so that it proves that the account works.
    test_calls: ClassVar[bool] = True

    # Whether ids of people are the same in upper and lower case.
    ids_in_any_case: ClassVar[bool] = False

    def __init__(self, identity: Identity, http: HttpClient, tokens: TokenSource | None = None) -> None:
        self.identity, self.http, self.tokens = identity, http, tokens

    @classmethod
    def mode_class(cls, credentials: Mapping[str, Any]) -> type[Channel]:
        """Return the class for an account with these credentials: another one where a kind has modes.

        The kind's own class has the form and the id that all its modes share.
        """
        return cls

    @classmethod
    def modes(cls) -> tuple[type[Channel], ...]:
        """Return every class that `mode_class` may return."""
        return (cls,)

    @classmethod
    @abstractmethod
    def external_id(cls, credentials: Mapping[str, Any]) -> str:
        """Return the account's public name on the platform, unique within the kind; never a secret."""

    @classmethod
    def person_id(cls, user_id: str) -> str:
        """Return the form in which an id of a person is stored and compared. Ids of groups are stored unchanged."""
        return user_id

    def admits(self, user_id: str) -> bool:
        """Whether this person may talk to an agent at all; their mapping is asked besides. Pure."""
        return True

    @property
    def limits(self) -> tuple[Limit, ...]:
        return ()

    @property
    def base_url(self) -> str:
        return (self.identity.api_base_url or self.default_api_base_url).rstrip("/")

    @abstractmethod
    def render(self, content: Content) -> list[Payload]:
        """Return the wire messages in order. Pure. Raises ContentRefused."""

    @abstractmethod
    def send(self, outgoing: Outgoing) -> Receipt:
        """Send a message by one call. Raises ChannelError."""

    def cannot_push(self, peer: Peer) -> _StrOrPromise:
        """Return why no proactive message can be sent to this peer; empty where it can."""
        return ""

    def repeat_window(self, peer: Peer, payload: Payload) -> int:
        """Return the seconds for which the platform drops a repetition of this request; 0: it has no such check."""
        return 0

    def instead(self, payload: Payload, error: ChannelError) -> Payload | None:
        """Return a payload to send instead of the one that the platform refused with this error; None where there is none. Pure."""
        return None

    def surface(self, peer: Peer) -> str:
        """Tell the agent, in English, where it is and what can be shown there."""
        return ""

    def test(self) -> list[str]:
        """Test the account, with one call where `test_calls`. Return sentences about what works. Raises ChannelError."""
        return []
