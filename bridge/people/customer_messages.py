"""Has a member asked to send a message to customers: stored first, then one call, so that nothing is asked twice silently."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from django.db import IntegrityError, transaction
from django.utils.translation import gettext_lazy as _

from accounts import limits
from accounts.channels import build_channel
from accounts.health import CODE_LENGTH
from accounts.person_ids import person_id
from bridge.models import CustomerMessage, CustomerMessageState
from channels_wechat.contract.customer_messages import CustomerMessages
from channels_wechat.contract.directory import Directory
from channels_wechat.contract.errors import ChannelError, ContentRefused
from channels_wechat.contract.explanations import Action
from channels_wechat.contract.text import clean_json, sendable

if TYPE_CHECKING:
    from collections.abc import Sequence

    from accounts.models import ChannelAccount
    from channels_wechat.contract.customer_messages import CustomerMessage as Wanted
    from channels_wechat.contract.messages import Upload


class CannotCreate(Exception):
    """Nothing was stored or asked. field: what of the message is wrong, empty where it is the account."""

    def __init__(self, text: str, field: str = "") -> None:
        super().__init__(text)
        self.field = field


class KeyReused(Exception):
    """The key stands for another message."""


def create(
    account: ChannelAccount, wanted: Wanted, *, client: str, key: str, files: Sequence[Upload] = ()
) -> tuple[CustomerMessage, bool]:
    """Store the message and hand it to the platform. Return its row, and whether it is new. Raises CannotCreate, KeyReused."""
    channel = build_channel(account)
    if not isinstance(channel, CustomerMessages) or not account.usable:
        raise CannotCreate(str(_("This account cannot send messages to customers now.")))
    if account.sending_stopped_at:
        raise CannotCreate(str(_("Staff have stopped all sending of this account: see its page.")))
    wanted = _clean(account, wanted)
    try:
        channel.check_customer_message(wanted, len(files))
    except ContentRefused as refused:
        raise CannotCreate(str(refused), refused.field) from refused
    request_hash = _fingerprint(account, wanted, files)
    if stored := _find(client, key, request_hash):
        return stored, False
    if limits.count_call(_limits_of(channel), str(account.key), ""):
        raise CannotCreate(str(_("The platform's limit for calls is reached: try again in a minute.")))
    row, new = _store(account, wanted, client, key, request_hash)
    if new:
        _hand_over(row, channel, wanted, files)
    return row, new


def _clean(account: ChannelAccount, wanted: Wanted) -> Wanted:
    recipients = tuple(dict.fromkeys(person_id(account, wanted.peer_kind, one) for one in wanted.recipients))
    sender = person_id(account, "direct", wanted.sender.strip())
    attachments = tuple(clean_json([dict(one) for one in wanted.attachments]))
    return replace(wanted, sender=sender, recipients=recipients, text=sendable(wanted.text), attachments=attachments)


def _limits_of(channel: CustomerMessages) -> Any:
    return channel.directory_limits if isinstance(channel, Directory) else ()


def _fingerprint(account: ChannelAccount, wanted: Wanted, files: Sequence[Upload]) -> str:
    said = [account.pk, wanted.peer_kind, wanted.sender, wanted.recipients, wanted.text, wanted.attachments]
    attached = [[file.name, hashlib.sha256(file.content).hexdigest()] for file in files]
    return hashlib.sha256(json.dumps([said, attached], sort_keys=True).encode()).hexdigest()


def _find(client: str, key: str, request_hash: str) -> CustomerMessage | None:
    stored = CustomerMessage.objects.select_related("account").filter(client=client, key=key).first()
    if stored and stored.request_hash != request_hash:
        raise KeyReused
    return stored


def _store(
    account: ChannelAccount, wanted: Wanted, client: str, key: str, request_hash: str
) -> tuple[CustomerMessage, bool]:
    row = CustomerMessage(
        account=account,
        client=client,
        key=key,
        request_hash=request_hash,
        peer_kind=wanted.peer_kind,
        sender=wanted.sender,
        recipients=list(wanted.recipients),
        text=wanted.text,
        attachments=list(wanted.attachments),
    )
    try:
        with transaction.atomic():
            row.save(force_insert=True)
    except IntegrityError:
        if stored := _find(client, key, request_hash):
            return stored, False
        raise
    return row, True


def _hand_over(row: CustomerMessage, channel: CustomerMessages, wanted: Wanted, files: Sequence[Upload]) -> None:
    """Upload the files, then ask by one call. Where no answer came it is not known whether the platform has it; it is not repeated."""
    asked = False
    try:
        uploaded = [channel.upload_attachment(file) for file in files]
        wanted = replace(wanted, attachments=(*wanted.attachments, *uploaded))
        asked = True
        created = channel.create_customer_message(wanted)
    except ChannelError as error:
        unknown = asked and error.action == Action.UNKNOWN
        row.state = CustomerMessageState.UNCERTAIN if unknown else CustomerMessageState.REFUSED
        row.code, row.code_params = error.code[:CODE_LENGTH], clean_json(dict(error.params))
    else:
        row.state, row.remote_id = CustomerMessageState.CREATED, created.remote_id[:200]
        row.left_out = list(created.left_out)
    row.attachments = list(row.attachments) + [{"msgtype": "file", "name": file.name} for file in files]
    row.save(update_fields=["state", "remote_id", "left_out", "code", "code_params", "attachments"])
