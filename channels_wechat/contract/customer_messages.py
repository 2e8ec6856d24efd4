"""Messages to customers or their groups, which a member of the company has to confirm before any of them goes out."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar

from channels_wechat.contract.channel import Channel

if TYPE_CHECKING:
    from collections.abc import Mapping

    from channels_wechat.contract.messages import PeerKind, Upload


@dataclass(frozen=True, slots=True)
class CustomerMessage:
    """peer_kind: of the recipients, customers or groups; sender: the member who is asked to confirm it, and in whose name it goes out.

    attachments: in the platform's own form.
    """

    peer_kind: PeerKind
    sender: str
    recipients: tuple[str, ...]
    text: str = ""
    attachments: tuple[Mapping[str, Any], ...] = ()


@dataclass(frozen=True, slots=True)
class CreatedMessage:
    """What the platform made of it. left_out: recipients whom it will not go to."""

    remote_id: str
    left_out: tuple[str, ...] = ()
    response: Mapping[str, Any] = field(default_factory=dict)


class CustomerMessages(Channel):
    """The platform asks a member to send a message to customers; nothing goes out until they confirm it in their client."""

    most_attachments: ClassVar[int]

    @abstractmethod
    def check_customer_message(self, message: CustomerMessage, files: int = 0) -> None:
        """Raise ContentRefused where it can never be created. files: the number of attachments that are still to be uploaded. Pure."""

    @abstractmethod
    def upload_attachment(self, file: Upload) -> Mapping[str, Any]:
        """Upload a file. Return it as an attachment. Raises ChannelError."""

    @abstractmethod
    def create_customer_message(self, message: CustomerMessage) -> CreatedMessage:
        """Ask the member to confirm it, by one call. Raises ChannelError."""
