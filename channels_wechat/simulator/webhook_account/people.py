"""People write through a gateway, come and go: each is a transcript entry and a signed post."""

import base64
import json
from datetime import UTC, datetime

from channels_wechat.simulator.core.callbacks import Callbacks, Item
from channels_wechat.simulator.core.content import media_facts
from channels_wechat.simulator.core.record import Delivery
from channels_wechat.simulator.core.state import JSON, Media
from channels_wechat.simulator.core.uploads import guess, read_bytes
from channels_wechat.simulator.webhook_account.gateways import Gateway, GatewayWorld

FILES = {"image": "image.png", "voice": "voice.mp3", "video": "video.mp4", "file": "file.bin"}
INLINE_BYTES = 64 * 1024  # larger files are posted by their address


def chat_of(gateway: Gateway, peer_id: str) -> str:
    return f"{gateway.id}:{peer_id}"


class GatewayPeople:
    def __init__(self, own: GatewayWorld, callbacks: Callbacks) -> None:
        self.own, self.world, self._callbacks = own, own.world, callbacks

    def say(self, spec: JSON) -> JSON:
        """A message of `from` (called `name`), with `chat` in a group (called `title`). Returns {"id", "chat", "entry"}."""
        gateway, kind = self.own.gateway(spec.get("own")), str(spec.get("kind", "text"))
        sender, text = str(spec["from"]), str(spec.get("text", ""))
        media = self._media(kind, spec) if kind in FILES else None
        conversation = self._conversation(spec)
        event: JSON = {"type": "message", "id": str(spec.get("id") or self.world.next_msgid())}
        event |= {"conversation": conversation, "sender": {"id": sender, "name": spec.get("name")}, "text": text}
        event |= {name: spec[name] for name in ("addressed", "mentions", "reply_to", "own_words") if name in spec}
        event["own"] = bool(event.pop("own_words", False))
        event["sent_at"] = datetime.fromtimestamp(self.world.now(), UTC).isoformat()
        event["files"] = [self._file(media)] if media else []
        data = {"media": [media_facts(media)]} if media else {}
        chat = chat_of(gateway, conversation["id"])
        entry = self.world.add(chat, sender, kind, text=text, data=data, msgid=event["id"], via="member")
        self._post(gateway, chat, event, spec)
        return {"id": event["id"], "chat": chat, "entry": entry.seq}

    def event(self, spec: JSON) -> JSON:
        """An event of any type (`event`) with `fields`; or `raw`: the whole body, for what a gateway should not post."""
        gateway = self.own.gateway(spec.get("own"))
        event: JSON = {"type": str(spec.get("event", "")), "id": self.world.next_msgid()}
        event |= {"conversation": self._conversation(spec)} if "raw" not in spec else {}
        event |= spec.get("raw") or spec.get("fields") or {}
        chat = chat_of(gateway, str(spec.get("chat") or spec.get("from") or ""))
        self._post(gateway, chat, event, spec)
        return {"id": event["id"], "chat": chat}

    @staticmethod
    def _conversation(spec: JSON) -> JSON:
        if spec.get("chat"):
            return {"kind": "group", "id": str(spec["chat"]), "title": spec.get("title")}
        return {"kind": "direct", "id": str(spec["from"]), "title": spec.get("name")}

    def _media(self, kind: str, spec: JSON) -> Media:
        name = str(spec.get("file_name") or FILES[kind])
        return self.world.keep_media(kind, name, read_bytes(spec), str(spec.get("mime") or guess(name)), owner="shown")

    def _file(self, media: Media) -> JSON:
        where = {"url": f"{self.world.base_url}/media/pic/{media.id}"}
        if len(media.data) <= INLINE_BYTES:
            where = {"content": base64.b64encode(media.data).decode()}
        return {**where, "name": media.name, "mime": media.mime, "kind": media.kind}

    def _post(self, gateway: Gateway, chat: str, event: JSON, spec: JSON) -> None:
        settings = self.world.settings
        item = Item(
            Delivery(event["id"], gateway.id, chat, event["type"]),
            gateway,
            json.dumps(event, ensure_ascii=False).encode(),
            copies=int(spec.get("copies", settings.copies)),
            persistent=bool(spec.get("persistent", settings.persistent)),
            tries=int(spec.get("tries", settings.callback_tries)),
        )
        self._callbacks.enqueue(item)
