"""Waiting for what people write: one request after the other, each held by the platform for half a minute (getupdates, facts 8).

An event loop waits, so that an account costs no thread. What was received is stored before its cursor is: a kill between them repeats
messages, which are recognised by their keys.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import aiohttp

from channels_wechat.contract.connection import NOT_STORED
from channels_wechat.contract.errors import ChannelError
from channels_wechat.contract.http_client import Response
from channels_wechat.contract.inbound_fields import word
from channels_wechat.ilink.api import address_of, headers_of_post, read_answer, with_base_info
from channels_wechat.ilink.errors import ILINK, LOGIN_LOST_SECONDS
from channels_wechat.ilink.parsing import read_messages
from channels_wechat.wire.api_answers import whole
from channels_wechat.wire.http import encode_json

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from channels_wechat.contract.connection import Session
    from channels_wechat.contract.messages import Inbound

# The platform holds a question so long, unless it says otherwise; then no answer is an answer.
HOLD_SECONDS = 35.0
LONGEST_HOLD_SECONDS = 120.0
# A login that is not taken is refused at once: one that is held for this time is taken.
FIRST_SECONDS = 5.0
# Between two questions that were answered at once with nothing.
PAUSE_SECONDS = 1.0
CONNECT_SECONDS = 15.0
NOTIFY_SECONDS = 3.0
FULL_SECONDS = 1.0
BODY_BYTES = 16 * 2**20
# At most so many messages are stored in one statement.
BATCH = 50


class Polling:
    """One account's waiting, as long as its connection is open. token: of the bot; bot_id: whose cursor it is."""

    def __init__(self, http: aiohttp.ClientSession, session: Session, base_url: str, bot_id: str, token: str) -> None:
        self.http, self.session = http, session
        self.base_url, self.bot_id, self._token = base_url, bot_id, token

    async def serve(self, user_id: str) -> None:
        """Wait and receive for ever. user_id: whose bot this is. Raises ChannelError."""
        await self._notify("msg/notifystart")
        try:
            seconds, is_open = FIRST_SECONDS, False
            while True:
                started = asyncio.get_running_loop().time()
                answer = await self._wait(seconds)
                self.session.note_frame()
                if not is_open:
                    await self.session.open()
                    await self.session.show_identity(self.bot_id, user_id)
                    is_open = True
                seconds = _hold_of(answer, HOLD_SECONDS)
                if not await self._take(answer):
                    await asyncio.sleep(max(0.0, started + PAUSE_SECONDS - asyncio.get_running_loop().time()))
        finally:
            await self._notify("msg/notifystop")

    async def _take(self, answer: Mapping[str, Any]) -> bool:
        """Store messages, then the cursor behind them. Return whether there may be more at once: with a cursor that stands still
        the platform would give the same ones again."""
        messages = read_messages(dict(answer))
        for start in range(0, len(messages), BATCH):
            await self._store(messages[start : start + BATCH])
        cursor = word(answer, "get_updates_buf")
        if not cursor or cursor == self._cursor:
            return False
        await self.session.store_cursor(f"{self.bot_id} {cursor}")
        return bool(messages)

    async def _store(self, messages: Sequence[Inbound]) -> None:
        """Store them as soon as there is room."""
        while True:
            try:
                return await self.session.receive(*messages)
            except ChannelError as error:
                if error.code != NOT_STORED:
                    raise
                await asyncio.sleep(FULL_SECONDS)

    @property
    def _cursor(self) -> str:
        """Up to where this bot's messages were received; another bot of the same person begins anew."""
        bot_id, _blank, cursor = self.session.cursor.partition(" ")
        return cursor if bot_id == self.bot_id else ""

    # --- requests

    async def _wait(self, seconds: float) -> dict[str, Any]:
        """Return the next answer; an empty one where none came in this time. Raises ChannelError."""
        try:
            return await self._post("getupdates", {"get_updates_buf": self._cursor}, seconds)
        except aiohttp.SocketTimeoutError:
            return {}
        except (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError) as error:
            raise ILINK.error("connect", detail=type(error).__name__) from error
        except (aiohttp.InvalidURL, aiohttp.NonHttpUrlClientError) as error:
            raise ILINK.error("address_invalid") from error
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            raise ILINK.error("reset", detail=type(error).__name__) from error

    async def _notify(self, path: str) -> None:
        """Tell the platform that we begin or end; whatever comes of it changes nothing."""
        with suppress(ChannelError, aiohttp.ClientError, OSError, TimeoutError):
            async with asyncio.timeout(NOTIFY_SECONDS):
                await self._post(path, {}, NOTIFY_SECONDS)

    async def _post(self, path: str, body: Mapping[str, Any], seconds: float) -> dict[str, Any]:
        """seconds: without a byte of the answer. Raises ChannelError, and aiohttp's own errors."""
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_SECONDS, sock_read=seconds)
        async with self.http.post(
            address_of(self.base_url, path),
            data=encode_json(with_base_info(body)),
            headers=headers_of_post(self._token),
            timeout=timeout,
        ) as response:
            content = await _read_bounded(response)
            answer = Response(response.status, response.headers, content)
            return read_answer(answer, self._token, lost_seconds=LOGIN_LOST_SECONDS)


async def _read_bounded(response: aiohttp.ClientResponse) -> bytes:
    """Raises ChannelError `too_large`."""
    parts, size = [], 0
    async for part in response.content.iter_any():
        parts.append(part)
        size += len(part)
        if size > BODY_BYTES:
            raise ILINK.error("too_large", detail=f"> {BODY_BYTES} bytes")
    return b"".join(parts)


def _hold_of(answer: Mapping[str, Any], usual: float) -> float:
    """Return for how many seconds the platform holds the next question: what it says, within bounds, else as usual."""
    told = whole(answer.get("longpolling_timeout_ms")) / 1000
    return min(max(told, PAUSE_SECONDS), LONGEST_HOLD_SECONDS) if told > 0 else usual
