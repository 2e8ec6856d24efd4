"""Addresses that a stranger can name go by a list of their own: what staff allowed for a gateway or an account is closed to them."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Any

import pytest
from django.core.files.base import ContentFile

from accounts.channels import build_channel, http
from bridge.media import storage
from bridge.models import AttachmentState
from bridge.pipeline.agent import turn
from channels_wechat.contract.errors import ChannelError
from channels_wechat.contract.messages import Content, MediaItem, Outgoing, Peer
from channels_wechat.wire.errors import WIRE
from openclaw.turns import Answer, MediaRef
from tests.channels.harness import Recorder, Reply, recorder
from tests.support import factories

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

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
    return turn.fetch_file_from_address(MediaRef(url=f"{server.url}/readyz"))


def picture_address(server: Recorder) -> Any:
    """PicUrl of an account that may not fetch by id, or whose id is dead: the sweep's own way to a file."""
    item = factories.hear(
        factories.official(server.url), media=(factories.picture(f"{server.url}/p.png"),)
    ).attachments.get()
    for claimed in storage.claim_files(10):
        storage.fetch_file(claimed)
    item.refresh_from_db()
    if item.state != AttachmentState.READY:
        raise WIRE.error("address_private" if "ALLOWED_PRIVATE_MEDIA_HOSTS" in item.error else "html")
    return item


def bot_file(server: Recorder) -> Any:
    """The address of a file in an AI bot's callback."""
    channel: Any = build_channel(factories.bot(server.url))
    return channel.download(MediaItem("file", f"{server.url}/file"))


def response_url(server: Recorder) -> Any:
    """Where an AI bot's late answer goes, as its callback said."""
    channel: Any = build_channel(factories.bot(server.url))
    address = f"{server.url}/cgi-bin/aibot/response?response_code=abc"
    return channel.send(Outgoing(Peer("direct", "zhangsan", address), channel.render(Content("hello"))[0]))


def test_a_page_in_the_place_of_an_agents_file_is_no_file(
    internal: Recorder, lists: Callable[[str, str], None]
) -> None:
    lists("", f"127.0.0.1:{internal.port}")
    internal.replies.clear()
    internal.will(
        Reply(b"<title>not here</title>", 404), Reply(b"busy", 503), Reply(b"", 302, (("Location", "http://[bad]/"),))
    )
    codes = []
    for _file in range(3):
        with pytest.raises(ChannelError) as caught:
            agent_media(internal)
        codes.append(caught.value.code)
    assert codes == ["http_404", "http_503", "address_invalid"]


@pytest.mark.parametrize(
    "location", ["http://[::1", "http://[bad]/", "//[", "http://[::ffff:1.2.3.4.5]/", "http://\x00/", "http://a:b/"]
)
def test_a_redirect_to_what_is_no_address_is_refused(internal: Recorder, location: str) -> None:
    internal.replies.clear()
    internal.will(Reply(b"", 302, (("Location", location),)))
    with pytest.raises(ChannelError) as caught:
        http().request("GET", f"{internal.url}/f", follow=3, from_message=True)
    assert caught.value.code == "address_invalid"


def test_an_answer_has_so_many_files_and_bytes_at_most(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    async def fetch(ref: MediaRef) -> ContentFile[bytes]:
        asked.append(ref.name)
        if ref.name == "gone":
            raise WIRE.error("http_404")
        return ContentFile(bytes(60))

    many = Answer("see", tuple(MediaRef(url=f"https://x/{number}", name=str(number)) for number in range(300)))
    files, missing = asyncio.run(turn.fetch_files(many, fetch))
    assert (len(files), len(missing), len(asked)) == (turn.MAX_FILES, 300 - turn.MAX_FILES, turn.MAX_FILES)
    monkeypatch.setattr(turn, "MAX_FILE_BYTES", 100)
    files, missing = asyncio.run(turn.fetch_files(Answer("see", many.media[:5]), fetch))
    assert (len(files), missing) == (2, ["2", "3", "4"])
    gone = Answer("see", (MediaRef(url="https://x/gone", name="gone"), many.media[0]))
    files, missing = asyncio.run(turn.fetch_files(gone, fetch))
    assert (len(files), missing) == (1, ["gone"])


def test_a_file_s_name_and_type_are_read_from_its_address_and_its_server(
    internal: Recorder, lists: Callable[[str, str], None]
) -> None:
    lists("", f"127.0.0.1:{internal.port}")
    internal.replies.clear()
    internal.will(*[Reply(b"a,b\n1,2\n", headers=(("Content-Type", "text/csv; charset=utf-8"),))] * 2)
    address = f"{internal.url}/files/report.csv?token=secret"
    found = [turn.fetch_file_from_address(MediaRef(url=address, name=name)) for name in ("", "sums")]
    assert [(file.name, file.content_type) for file in found] == [  # type: ignore[attr-defined]
        ("report.csv", "text/csv"),
        ("sums.csv", "text/csv"),
    ]


WAYS = [agent_media, picture_address, bot_file, response_url]


@pytest.mark.parametrize("messages", ["", "127.0.0.1", "127.0.0.1:{other}"])
@pytest.mark.parametrize("way", WAYS)
def test_what_staff_allowed_is_closed_to_addresses_in_messages(
    internal: Recorder, lists: Callable[[str, str], None], way: Callable[[Recorder], Any], messages: str
) -> None:
    lists(f"127.0.0.1:{internal.port} 127.0.0.1:* 127.0.0.0/8:*", messages.format(other=internal.port + 1))
    with pytest.raises(ChannelError) as caught:
        way(internal)
    assert caught.value.code == "address_private"
    assert internal.requests == []


@pytest.mark.parametrize("way", WAYS)
def test_the_second_list_opens_a_host_and_port(
    internal: Recorder, lists: Callable[[str, str], None], way: Callable[[Recorder], Any]
) -> None:
    lists("", f"127.0.0.1:{internal.port}")
    with contextlib.suppress(ChannelError):  # a picture is no answer of WeCom's
        way(internal)
    assert len(internal.requests) == 1
