"""Shows the sign "is typing" while an agent thinks, for channels that are `Typing`. A failure of it changes nothing else."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from typing import TYPE_CHECKING

from accounts import capabilities
from accounts.channels import cached_by_id
from bridge.people import peers
from bridge.pipeline.replies.paths import path_for
from bridge.runtime.db.threads import in_io_thread
from channels_wechat import can
from channels_wechat.contract.capabilities import Typing
from channels_wechat.contract.errors import ChannelError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from bridge.models import Delivery, Message

log = logging.getLogger(__name__)
# The platform shows the sign for about this time.
SIGN_SECONDS = 15.0


@contextlib.asynccontextmanager
async def show_typing(delivery: Delivery) -> AsyncIterator[None]:
    """Show the sign while the turn runs: when it begins, and once more when the first sign has ended."""
    message = delivery.message if delivery.account and can(delivery.account.kind, Typing) else None
    showing = asyncio.create_task(_show_repeatedly(message)) if message else None
    try:
        yield
    finally:
        if showing:
            showing.cancel()


async def _show_repeatedly(message: Message) -> None:
    await in_io_thread(_show_once, message)
    await asyncio.sleep(SIGN_SECONDS)
    await in_io_thread(_show_once, message)


def _show_once(message: Message) -> None:
    try:
        account, channel = cached_by_id(message.account_id)
        granted = path_for(channel, account.pk).sends_messages and capabilities.is_allowed(
            account.pk, capabilities.TYPING
        )
        if account.may_send and isinstance(channel, Typing) and granted:
            channel.show_typing(peers.peer_of(message.peer_kind, message.peer_id, message.reply_address))
    except ChannelError as error:
        capabilities.store_refusal(account, error)
        log.info("the sign “is typing” was not shown: %s", error.code)
    except Exception:  # whatever it is, the turn goes on
        log.warning("the sign “is typing” was not shown", exc_info=True)
