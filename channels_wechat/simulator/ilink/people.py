"""People write to their bot: text, files, voice with or without a transcript, quotes, and anything else as it is."""

import secrets

from channels_wechat.simulator.core.content import media_facts
from channels_wechat.simulator.core.errors import ControlError
from channels_wechat.simulator.core.state import JSON
from channels_wechat.simulator.core.uploads import guess, read_bytes
from channels_wechat.simulator.ilink.api import FILE, IMAGE, TEXT, USUAL_NAMES, VIDEO, VOICE
from channels_wechat.simulator.ilink.crypto import encrypt, write_key
from channels_wechat.simulator.ilink.world import Bot, IlinkWorld

NUMBERS = {"image": IMAGE, "voice": VOICE, "file": FILE, "video": VIDEO}


class IlinkPeople:
    def __init__(self, ilink: IlinkWorld) -> None:
        self.ilink, self.world = ilink, ilink.world

    def say(self, spec: JSON) -> JSON:
        """`ilink`: whose bot; `from`: who writes, its owner where nobody is named. Kinds: text, image, voice (text: its transcript),
        file, video with data (base64). quote: {text} or {id}, as newer phones tell it."""
        bot = self.ilink.bot(spec.get("ilink"))
        person = self.ilink.person(spec.get("from") or bot.owner).id
        kind = str(spec.get("kind") or "text")
        data: JSON = {}
        if kind == "text":
            item: JSON = {"type": TEXT, "text_item": {"text": str(spec.get("text") or "")}}
        elif kind in NUMBERS:
            item, data = self._file(kind, spec)
        else:
            raise ControlError(f"kind must be text, {', '.join(NUMBERS)}")
        if quote := spec.get("quote"):
            item["ref_msg"] = _quote(quote)
            data["quote"] = str(quote.get("text") or quote.get("id"))
        message = self._message(bot, person, [item])
        chat = self.ilink.chat(bot, person)
        text = str(spec.get("text") or "")
        entry = self.world.add(chat, person, kind, text=text, data=data, msgid=str(message["message_id"]), via="member")
        bot.add(message)
        return {"id": entry.msgid, "chat": chat, "entry": entry.seq}

    def raw(self, spec: JSON) -> JSON:
        """A message with any fields over the usual ones."""
        bot = self.ilink.bot(spec.get("ilink"))
        message = self._message(bot, bot.owner, []) | dict(spec.get("message") or {})
        bot.add(message)
        return {"id": str(message["message_id"])}

    def _message(self, bot: Bot, person: str, items: list[JSON]) -> JSON:
        settings, window, now = self.world.settings, bot.window(person), self.world.now()
        context = secrets.token_urlsafe(24)
        window.contexts.append(context)
        window.left, window.until = settings.ilink_messages, now + settings.ilink_window_seconds
        return {
            "seq": len(bot.messages) + 1,
            "message_id": int(self.world.next_msgid()),
            "from_user_id": person,
            "to_user_id": bot.id,
            "client_id": secrets.token_hex(8),
            "create_time_ms": int(now * 1000),
            "session_id": f"{person}#{bot.id}",
            "message_type": 1,
            "message_state": 2,
            "item_list": items,
            "context_token": context,
        }

    def _file(self, kind: str, spec: JSON) -> tuple[JSON, JSON]:
        """The item, and what the chat shows. A picture bears its key in hex too, other files in base64 of hex."""
        name, content, key = str(spec.get("name") or USUAL_NAMES[kind]), read_bytes(spec), secrets.token_bytes(16)
        param, mime = secrets.token_urlsafe(24), str(spec.get("mime") or guess(name))
        self.ilink.files[param] = encrypt(key, content)
        address = f"{self.world.base_url}/c2c/download?encrypted_query_param={param}"
        media = {"encrypt_query_param": param, "aes_key": write_key(key, as_hex=kind != "image"), "encrypt_type": 1}
        media["full_url"] = address
        facts: dict[str, JSON] = {
            "image": {"aeskey": key.hex(), "mid_size": len(self.ilink.files[param])},
            "voice": {"encode_type": 6, "sample_rate": 24000, "playtime": 2000, "text": str(spec.get("text") or "")},
            "file": {"file_name": name, "len": str(len(content))},
            "video": {"video_size": len(self.ilink.files[param]), "play_length": 3},
        }
        kept = self.world.keep_media(kind, name, content, mime, owner="shown")
        return {"type": NUMBERS[kind], f"{kind}_item": {"media": media, **facts[kind]}}, {"media": [media_facts(kept)]}


def _quote(quote: JSON) -> JSON:
    if quote.get("id"):
        return {"svr_id": int(quote["id"])}
    return {"message_item": {"type": TEXT, "text_item": {"text": str(quote.get("text") or "")}}}
