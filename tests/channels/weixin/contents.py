"""Contents that the tests of this room render."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from channels_wechat.contract.errors import ContentRefused
from channels_wechat.contract.messages import Content, File
from tests.channels.weixin.accounts import mini_program, official_account

if TYPE_CHECKING:
    from channels_wechat.contract.channel import Channel


OFFICIAL_ACCOUNT, MINI_PROGRAM = official_account(), mini_program()
PNG = File("image", "图.png", "image/png", 100, "7")


def refusal(kind: Channel, content: Content) -> tuple[str, str]:
    with pytest.raises(ContentRefused) as caught:
        kind.render(content)
    assert str(caught.value).endswith(".")
    return caught.value.field, str(caught.value)


CARD = {"title": "t", "pagepath": "pages/index?foo=bar", "thumb_media_id": "th"}


def without(data: dict[str, Any], name: str) -> dict[str, Any]:
    return {key: value for key, value in data.items() if key != name}
