"""Files of a self-built app and of customer service: uploaded for three days, fetched by their media id (pages 90253 and 90254)."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, ClassVar

from channels_wechat.contract.capabilities import Downloads, Uploads
from channels_wechat.contract.filetypes import UNKNOWN, recognise, with_suffix
from channels_wechat.contract.messages import Upload
from channels_wechat.wecom.api import WeComApi
from channels_wechat.wecom.errors import WECOM
from channels_wechat.wecom.files import media_type
from channels_wechat.wire.http import file_name

if TYPE_CHECKING:
    from channels_wechat.contract.errors import Explanations
    from channels_wechat.contract.messages import MediaItem


class WeComMedia(Uploads, Downloads):
    error_table: ClassVar[Explanations] = WECOM

    @cached_property
    def _api(self) -> WeComApi:
        return WeComApi(self.http, self.base_url, self.tokens, self.error_table)

    def upload(self, file: Upload) -> str:
        kind = media_type(file.kind, file.name, file.mime, len(file.content))
        name, mime = with_suffix(file.name or kind, file.mime), file.mime or UNKNOWN
        fields = {"media": (name, file.content, mime)}
        answer = self._api.call("POST", "cgi-bin/media/upload", query={"type": kind}, fields=fields, harmless=True)
        return str(answer.get("media_id", ""))

    def download(self, item: MediaItem) -> Upload:
        answer = self._api.download(item.handle)
        name = file_name(answer.headers.get("Content-Disposition", "")) or item.name
        mime = recognise(answer.body, name, answer.headers.get("Content-Type", "") or item.mime).mime
        return Upload(item.kind, name, mime, answer.body)
