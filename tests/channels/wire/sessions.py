"""Sessions on a recorder."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from channels_wechat.contract.errors import ChannelError

if TYPE_CHECKING:
    from channels_wechat.wire.http import Http

LOCAL = ["127.0.0.1:*"]


def failure(http: Http, method: str, url: str, **options) -> ChannelError:
    with pytest.raises(ChannelError) as caught:
        http.request(method, url, **options)
    return caught.value
