"""iLink's API with a bot's token: receiving, sending, the sign that somebody writes, and files."""

import asyncio
import hashlib
import secrets
from contextlib import suppress
from typing import Any
from urllib.parse import urlencode

from aiohttp import web

from channels_wechat.simulator.core.content import media_facts
from channels_wechat.simulator.core.state import JSON
from channels_wechat.simulator.core.uploads import guess
from channels_wechat.simulator.ilink.crypto import decrypt, padded_size, read_key
from channels_wechat.simulator.ilink.door import LOGIN_LOST, Call, Door, Refused
from channels_wechat.simulator.ilink.world import TYPING_SECONDS, Bot, Upload

WINDOW_USED = -2
TEXT, IMAGE, VOICE, FILE, VIDEO = range(1, 6)
NAMES = {TEXT: "text", IMAGE: "image", VOICE: "voice", FILE: "file", VIDEO: "video"}
MEDIA_TYPES = {1: "image", 2: "video", 3: "file", 4: "voice"}
USUAL_NAMES = {"image": "image.png", "voice": "voice.silk", "video": "video.mp4", "file": "file.bin"}
MOST_TEXT, MOST_BYTES = 4000, 100 * 2**20


class IlinkApi:
    def __init__(self, door: Door) -> None:
        self.door, self.ilink, self.world = door, door.ilink, door.world

    def routes(self) -> list[web.RouteDef]:
        posts = {
            "getupdates": self.get_updates,
            "sendmessage": self.send_message,
            "getconfig": self.get_config,
            "sendtyping": self.send_typing,
            "getuploadurl": self.get_upload_url,
            "msg/notifystart": self.notify,
            "msg/notifystop": self.notify,
        }
        return [
            *(web.post(f"/ilink/bot/{path}", self.door.serve_authorised(handle)) for path, handle in posts.items()),
            web.post("/c2c/upload", self.door.serve_public(self.store)),
            web.get("/c2c/download", self.door.serve_public(self.fetch)),
        ]

    # -- receiving --------------------------------------------------------------------------------------------------------

    async def get_updates(self, call: Call) -> JSON:
        """Hold until there is a message behind the cursor, the login is lost, or the time is over."""
        bot, settings = call.bot, self.world.settings
        bot.polls, bot.polled_at = bot.polls + 1, self.world.now()
        first = self.ilink.read_cursor(bot, str(call.body.get("get_updates_buf") or ""))
        with suppress(TimeoutError):
            async with asyncio.timeout(settings.ilink_hold_seconds):
                while len(bot.messages) <= first and not bot.is_lost:
                    bot.news.clear()
                    await bot.news.wait()
        if bot.is_lost:
            raise Refused(LOGIN_LOST, "session timeout")
        fresh = bot.messages[first : first + settings.ilink_page]
        cursor = self.ilink.write_cursor(bot, first + len(fresh))
        return {
            "msgs": fresh,
            "get_updates_buf": cursor,
            "longpolling_timeout_ms": int(settings.ilink_hold_seconds * 1000),
        }

    async def notify(self, call: Call) -> JSON:
        return {}

    # -- sending ----------------------------------------------------------------------------------------------------------

    async def send_message(self, call: Call) -> JSON:
        found = call.body.get("msg")
        message: JSON = found if isinstance(found, dict) else {}
        person, item = str(message.get("to_user_id") or ""), self._item_of(message)
        if person not in self.ilink.people:
            raise Refused(-1, "invalid to_user_id")
        self._take_turn(call.bot, person, str(message.get("context_token") or ""))
        kind = NAMES.get(int(item.get("type") or 0))
        content = item.get(f"{kind}_item")
        if kind is None or not isinstance(content, dict):
            raise Refused(-1, "invalid item")
        number = self.world.next_msgid()
        text, data = (str(content.get("text") or ""), {}) if kind == "text" else ("", self._open_file(kind, content))
        if len(text.encode("utf-16-le")) > 2 * MOST_TEXT:
            self.world.record.violation("text_too_long", number, str(len(text)))
        chat = self.ilink.chat(call.bot, person)
        self.world.add(chat, f"ilink:{call.bot.id}", kind, text=text, data=data, msgid=number, via="ilink/sendmessage")
        return {"errmsg": "", "message_id": int(number)}

    def _item_of(self, message: JSON) -> JSON:
        items = message.get("item_list")
        if not isinstance(items, list) or len(items) != 1 or not isinstance(items[0], dict):
            raise Refused(-1, "one item")
        if message.get("message_type") != 2 or message.get("message_state") != 2 or message.get("from_user_id") != "":
            raise Refused(-1, "invalid message")
        if not message.get("client_id"):
            self.world.record.violation("client_id", "ilink/sendmessage")
        return items[0]

    def _take_turn(self, bot: Bot, person: str, context: str) -> None:
        """Ten messages within a day after the person's last one, each with the newest token that came from them."""
        window = bot.window(person)
        if self.world.now() >= window.until or window.left <= 0:
            raise Refused(WINDOW_USED, "rate limited")
        if context not in window.contexts:
            raise Refused(-1, "invalid context_token")
        if context != window.contexts[-1]:
            self.world.record.violation("old_context_token", "ilink/sendmessage", person)
        window.left -= 1
        window.typing_until = 0.0

    def _open_file(self, kind: str, content: JSON) -> JSON:
        """Decrypt the file as the person's phone does; what it cannot open is shown as nothing."""
        found = content.get("media")
        media: JSON = found if isinstance(found, dict) else {}
        encrypted = self.ilink.files.get(str(media.get("encrypt_query_param")))
        if encrypted is None:
            raise Refused(-1, "invalid media")
        name = str(content.get("file_name") or USUAL_NAMES[kind])
        try:
            data = decrypt(read_key(media.get("aes_key")), encrypted)
        except ValueError:
            self.world.record.violation("cannot_be_decrypted", "ilink/sendmessage", name)
            return {"name": name}
        self._check_sizes(kind, content, len(data), len(encrypted))
        kept = self.world.keep_media(kind, name, data, guess(name), owner="shown")
        return {"media": [media_facts(kept)]}

    def _check_sizes(self, kind: str, content: JSON, size: int, encrypted: int) -> None:
        expected: dict[str, tuple[str, Any]] = {"image": ("mid_size", encrypted), "file": ("len", str(size))}
        name, value = expected.get(kind, ("", None))
        if name and content.get(name) != value:
            self.world.record.violation("size", "ilink/sendmessage", f"{name}: {content.get(name)}, not {value}")

    # -- the sign ---------------------------------------------------------------------------------------------------------

    async def get_config(self, call: Call) -> JSON:
        ticket, person = secrets.token_urlsafe(12), str(call.body.get("ilink_user_id") or "")
        self.ilink.tickets[ticket] = call.bot.id, person
        return {"typing_ticket": ticket}

    async def send_typing(self, call: Call) -> JSON:
        person = str(call.body.get("ilink_user_id") or "")
        if self.ilink.tickets.get(str(call.body.get("typing_ticket"))) != (call.bot.id, person):
            raise Refused(-1, "invalid typing_ticket")
        is_on = call.body.get("status") == 1
        call.bot.window(person).typing_until = self.world.now() + TYPING_SECONDS if is_on else 0.0
        return {}

    # -- files ------------------------------------------------------------------------------------------------------------

    async def get_upload_url(self, call: Call) -> JSON:
        body = call.body
        rawsize = body.get("rawsize")
        if body.get("media_type") not in MEDIA_TYPES or not isinstance(rawsize, int) or not 0 < rawsize <= MOST_BYTES:
            raise Refused(-1, "invalid parameter")
        if len(str(body.get("filekey"))) != 32 or body.get("filesize") != padded_size(rawsize):
            raise Refused(-1, "invalid parameter")
        param = secrets.token_urlsafe(24)
        self.ilink.uploads[param] = Upload(call.bot.id, body)
        query = urlencode({"encrypted_query_param": param, "filekey": str(body["filekey"])})
        return {"upload_full_url": f"{self.world.base_url}/c2c/upload?{query}", "upload_param": param}

    async def store(self, request: web.Request) -> web.StreamResponse:
        """The storage knows no keys: it compares sizes, and what was described with the key that came along."""
        upload = self.ilink.uploads.get(request.query.get("encrypted_query_param", ""))
        if upload is None or upload.facts.get("filekey") != request.query.get("filekey"):
            return web.Response(status=403, text="no such upload")
        encrypted = await request.read()
        if len(encrypted) != upload.facts.get("filesize"):
            return web.Response(status=400, text="another size")
        self._check_description(upload, encrypted)
        param = secrets.token_urlsafe(24)
        self.ilink.files[param] = encrypted
        return web.Response(headers={"x-encrypted-param": param})

    def _check_description(self, upload: Upload, encrypted: bytes) -> None:
        try:
            data = decrypt(bytes.fromhex(str(upload.facts.get("aeskey"))), encrypted)
        except ValueError:
            self.world.record.violation("cannot_be_decrypted", "c2c/upload")
            return
        # The protocol prescribes MD5.
        md5 = hashlib.md5(data, usedforsecurity=False).hexdigest()
        if (len(data), md5) != (upload.facts.get("rawsize"), upload.facts.get("rawfilemd5")):
            self.world.record.violation("another_file", "c2c/upload")

    async def fetch(self, request: web.Request) -> web.StreamResponse:
        encrypted = self.ilink.files.get(request.query.get("encrypted_query_param", ""))
        if encrypted is None:
            return web.Response(status=404, text="no such file")
        return web.Response(body=encrypted, content_type="application/octet-stream")
