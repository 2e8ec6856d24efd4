"""FileBoxes: how a puppet service takes files and hands them out (facts: wechaty.md 7)."""

import base64
import binascii
import json
import uuid
from dataclasses import dataclass

from channels_wechat.simulator.core.recent import Recent
from channels_wechat.simulator.core.state import JSON, Media, World
from channels_wechat.simulator.wechaty.errors import PuppetError
from channels_wechat.simulator.wechaty.world import Message

KEEP = 1000
INLINE_BYTES = 20 * 1024  # a larger one gets a uuid
CHUNK_BYTES = 64 * 1024
BASE64, URL, QR_CODE, UUID, STREAM = 1, 2, 3, 7, 6
UNSERIALISABLE = (
    "FileBox.toJSON() can only work on limited FileBoxType(s). See: <https://github.com/huan/file-box/issues/25>"
)


@dataclass(frozen=True)
class Received:
    """A file that a client sends. `box`: the type of its FileBox; `url`: where only an address came."""

    name: str
    data: bytes
    box: int
    url: str = ""


class Files:
    """The files of one service: those it gave a uuid, and those that were uploaded to it."""

    def __init__(self, world: World) -> None:
        self.world = world
        self._by_uuid: Recent[str, bytes] = Recent(KEEP)

    def keep(self, data: bytes) -> str:
        name = str(uuid.uuid4())
        self._by_uuid[name] = data
        return name

    def find(self, name: str) -> bytes | None:
        """A uuid can be read more than once."""
        return self._by_uuid.get(name)

    def media_of(self, message: Message) -> Media:
        media = self.world.media.get(message.media)
        if media is None:
            raise PuppetError("no filebox cache")
        return media

    def box_of(self, message: Message) -> str:
        """The FileBox of a message, as JSON."""
        media = self.media_of(message)
        is_small = len(media.data) <= INLINE_BYTES
        if message.box == "buffer" and is_small:
            raise PuppetError(UNSERIALISABLE)
        box: JSON = {"metadata": {}, "name": media.name, "size": len(media.data)}
        if message.box == "url":
            box |= {"size": -1, "type": URL, "url": f"{self.world.base_url}/media/pic/{media.id}"}
        elif message.box == "base64" or (is_small and message.box != "uuid"):
            box |= {"base64": base64.b64encode(media.data).decode(), "type": BASE64}
        else:
            box |= {"type": UUID, "uuid": self.keep(media.data)}
        return json.dumps(box | {"boxType": box["type"]})

    def read_box(self, text: str) -> Received:
        """The file that a client's FileBox stands for."""
        try:
            box = json.loads(text)
            kind, name = int(box.get("type") or box["boxType"]), str(box["name"])
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise PuppetError("Unexpected token in JSON at position 0", "SyntaxError") from error
        if kind == BASE64:
            return Received(name, decode(box), kind)
        if kind == UUID:
            data = self.find(str(box.get("uuid")))
            if data is None:
                raise PuppetError("load() fail: the file does not exist")
            return Received(name, data, kind)
        if kind == URL and str(box.get("url", "")).startswith(("http://", "https://")):
            return Received(name, b"", kind, str(box["url"]))
        raise PuppetError(f"unknown filebox json object{{type}}: {text[:100]}")


def decode(box: JSON) -> bytes:
    try:
        return base64.b64decode(str(box["base64"]), validate=True)
    except (KeyError, binascii.Error, ValueError) as error:
        raise PuppetError("no base64 in the file box") from error


def chunks(data: bytes) -> list[bytes]:
    return [data[at : at + CHUNK_BYTES] for at in range(0, len(data), CHUNK_BYTES)]
