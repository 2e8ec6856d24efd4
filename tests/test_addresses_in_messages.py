"""Addresses that a stranger can name go by a list of their own: what staff allowed for a gateway or an account is closed to them."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

import pytest

from accounts.channels import channel_for, http
from bridge import asking, media
from bridge.models import AttachmentState
from channels_wechat.errors import Action, ChannelError
from channels_wechat.messages import Content, MediaItem, Peer
from openclaw.turns import MediaRef
from tests import factories
from tests.channels.harness import Recorder, Reply, recorder

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from django.core.files.base import ContentFile
    from pytest_django.fixtures import SettingsWrapper

pytestmark = pytest.mark.django_db
PNG = b"\x89PNG\r\n\x1a\n" + bytes(64)


@pytest.fixture
def internal() -> Iterator[Recorder]:
    """A service on the inner network, which staff named for a gateway or an account."""
    with recorder() as server:
        server.will(*[Reply(PNG, headers=(("Content-Type", "image/png"),))] * 4)
        yield server


@pytest.fixture
def lists(settings: SettingsWrapper) -> Iterator[Callable[[str, str], None]]:
    """Sets the list for staff and the one for messages, and reads them anew."""

    def use(staff: str, messages: str) -> None:
        settings.ALLOWED_PRIVATE_HOSTS, settings.ALLOWED_PRIVATE_MEDIA_HOSTS = staff.split(), messages.split()
        http.cache_clear()

    yield use
    http.cache_clear()


def agent_media(server: Recorder) -> ContentFile[bytes]:
    """`MEDIA:` in an agent's answer."""
    return asking.fetch_media(MediaRef(url=f"{server.url}/readyz"))


def picture_address(server: Recorder) -> Any:
    """PicUrl of an account that may not fetch by id, or whose id is dead: the sweep's own way to a file."""
    item = factories.hear(
        factories.official(server.url), media=(factories.picture(f"{server.url}/p.png"),)
    ).attachments.get()
    for claimed in media.claim(10):
        media.fetch(claimed)
    item.refresh_from_db()
    if item.state != AttachmentState.READY:
        code = "address" if "ALLOWED_PRIVATE_MEDIA_HOSTS" in item.error else "other"
        raise ChannelError(code, Action.CONFIG, item.error)
    return item


def bot_file(server: Recorder) -> Any:
    """The address of a file in an AI bot's callback."""
    channel: Any = channel_for(factories.bot(server.url))
    return channel.download(MediaItem("file", f"{server.url}/file"))


def response_url(server: Recorder) -> Any:
    """Where an AI bot's late answer goes, as its callback said."""
    channel: Any = channel_for(factories.bot(server.url))
    address = f"{server.url}/cgi-bin/aibot/response?response_code=abc"
    return channel.send(Peer("direct", "zhangsan", address), channel.render(Content("hello"))[0])


WAYS = [agent_media, picture_address, bot_file, response_url]


@pytest.mark.parametrize("messages", ["", "127.0.0.1", "127.0.0.1:{other}"])
@pytest.mark.parametrize("way", WAYS)
def test_what_staff_allowed_is_closed_to_addresses_in_messages(
    internal: Recorder, lists: Callable[[str, str], None], way: Callable[[Recorder], Any], messages: str
) -> None:
    lists(f"127.0.0.1:{internal.port} 127.0.0.1:* 127.0.0.0/8:*", messages.format(other=internal.port + 1))
    with pytest.raises(ChannelError) as caught:
        way(internal)
    assert caught.value.code == "address"
    assert internal.requests == []


@pytest.mark.parametrize("way", WAYS)
def test_the_second_list_opens_a_host_and_port(
    internal: Recorder, lists: Callable[[str, str], None], way: Callable[[Recorder], Any]
) -> None:
    lists("", f"127.0.0.1:{internal.port}")
    with contextlib.suppress(ChannelError):  # a picture is no answer of WeCom's
        way(internal)
    assert len(internal.requests) == 1
