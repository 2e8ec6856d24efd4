"""Calls from any process: the way to the service, files, tests, logouts and requests that staff grant."""

from __future__ import annotations

import hashlib
import os
import socket
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import grpc
import pytest

from channels_wechat.contract.errors import ChannelError
from channels_wechat.contract.explanations import Action
from channels_wechat.contract.messages import MediaItem
from channels_wechat.wechaty import endpoint, files
from channels_wechat.wechaty import puppet as calls
from tests.channels.harness import Reply, recorder
from tests.channels.wechaty.accounts import channel
from tests.channels.wechaty.certificates import make_certificates
from tests.support.fake_puppet import TOKEN, TRACE, FakePuppet, fake_puppet

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(calls, "CONNECT_SECONDS", 1.5)
    monkeypatch.setattr(files, "FILE_SECONDS", 3.0)


def refused(work: Callable[[], Any]) -> ChannelError:
    with pytest.raises(ChannelError) as caught:
        work()
    assert TOKEN not in f"{caught.value!r} {caught.value} {caught.value.params} {caught.value.__cause__!r}"
    return caught.value


def item(message: str, kind: Any = "file", name: str = "") -> MediaItem:
    return MediaItem(kind, message, name)


# --- files


@pytest.mark.parametrize(("how", "size"), [("inline", 1000), ("uuid", 3_000_000), ("buffer", 2500), ("url", 40_000)])
def test_a_file_comes_whole_by_each_way(puppet: FakePuppet, how: str, size: int) -> None:
    content = os.urandom(size)
    with recorder() as web:
        web.will(Reply(content, headers=(("Content-Type", "application/pdf"),)))
        message = puppet.share(content, "plan.pdf", how=how, url=f"{web.url}/f")
        found = channel(puppet.address).download(item(message))
    assert (found.name, found.kind, len(found.content)) == ("plan.pdf", "file", size)
    assert hashlib.sha256(found.content).digest() == hashlib.sha256(content).digest()


def test_a_uuid_is_asked_for_at_once_and_never_again(puppet: FakePuppet) -> None:
    """The service ends when it is asked for one that it does not know."""
    message = puppet.share(bytes(50_000), "a.bin", how="uuid")
    for _each in range(2):
        channel(puppet.address).download(item(message))
        puppet.uploads.clear()  # as after a restart
    assert (puppet.calls["MessageFile"], puppet.calls["Download"], puppet.has_died) == (2, 2, False)


def test_headers_of_a_box_go_along_but_none_that_says_where_to(puppet: FakePuppet) -> None:
    told = {"Cookie": "a=b", "Host": "elsewhere", "Content-Length": "7", "X-Bad": "a\r\nX-Worse: b", "X-Number": 7}
    with recorder() as web:
        web.will(Reply(b"bytes"))
        message = puppet.share(b"", "a.bin", how="url", url=f"{web.url}/f", box={"headers": told})
        channel(puppet.address).download(item(message))
    (request,) = web.requests
    assert request.headers["Cookie"] == "a=b"
    assert request.headers["Host"] == f"127.0.0.1:{web.port}"
    assert not {"X-Bad", "X-Worse", "X-Number", "Content-Length"} & set(request.headers)


def test_an_address_in_a_box_is_checked_like_a_strangers(puppet: FakePuppet) -> None:
    for url in ("http://169.254.169.254/latest", "http://10.0.0.1/", "file:///etc/passwd", "http://127.0.0.1:1/"):
        message = puppet.share(b"", "a.bin", how="url", url=url)
        account = channel(puppet.address, allowed=[puppet.address])
        error = refused(lambda account=account, message=message: account.download(item(message)))
        assert error.code in ("address_never", "address_private", "address_invalid")


@pytest.mark.parametrize(
    ("box", "code"),
    [
        ({"type": 3, "qrCode": "x"}, "file_gone"),
        ({"type": 1, "base64": "not base64!"}, "file_gone"),
        ({"type": 7}, "file_gone"),
        ([], "file_gone"),
        ("text", "file_gone"),
    ],
)
def test_a_box_that_cannot_be_read_is_said_to_be_gone(puppet: FakePuppet, box: Any, code: str) -> None:
    message = puppet.say("", type=1)
    puppet.boxes[message] = box
    error = refused(lambda: channel(puppet.address).download(item(message)))
    assert (error.code, error.action) == (code, Action.PERMANENT)


def test_a_file_has_a_limit_of_bytes_and_of_time(puppet: FakePuppet, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "MAX_DOWNLOAD", 100_000)
    message = puppet.share(bytes(200_000), "a.bin", how="uuid")
    assert refused(lambda: channel(puppet.address).download(item(message))).code == "file_too_large"
    monkeypatch.setattr(files, "FILE_SECONDS", 0.3)
    puppet.fail("Download", None)
    error = refused(lambda: channel(puppet.address).download(item(puppet.share(bytes(50_000), "b.bin", how="uuid"))))
    assert (error.code, error.action) == ("timeout", Action.RETRY)


def test_a_message_that_the_puppet_forgot_has_no_file(puppet: FakePuppet) -> None:
    error = refused(lambda: channel(puppet.address).download(item("unknown")))
    assert (error.code, error.action, error.detail) == ("puppet_failed", Action.RETRY, "Error: unknown")


# --- what staff do


def test_a_test_names_the_version(puppet: FakePuppet) -> None:
    assert "1.19.9" in channel(puppet.address).test()[0]
    assert puppet.calls == {"Version": 1}


def test_a_logout_is_one_call(puppet: FakePuppet) -> None:
    channel(puppet.address).log_out()
    assert (puppet.me, puppet.calls) == ("", {"Logout": 1})


def test_a_request_is_accepted_by_one_call(puppet: FakePuppet) -> None:
    invitation, friendship = puppet.invite(), puppet.befriend()
    account = channel(puppet.address)
    account.accept_request("group", invitation)
    account.accept_request("friend", friendship)
    assert puppet.accepted == [invitation, friendship]


def test_a_request_whose_answer_is_lost_may_have_been_accepted(puppet: FakePuppet) -> None:
    puppet.fail("RoomInvitationAccept", grpc.StatusCode.UNAVAILABLE, "Socket closed", after=True)
    invitation = puppet.invite()
    error = refused(lambda: channel(puppet.address).accept_request("group", invitation))
    assert (error.action, puppet.accepted) == (Action.UNKNOWN, [invitation])
    puppet.fail("FriendshipAccept", grpc.StatusCode.UNKNOWN, f"Error: gone{TRACE}")
    error = refused(lambda: channel(puppet.address).accept_request("friend", "x"))
    assert (error.code, error.action, error.detail) == ("puppet_failed", Action.UNKNOWN, "Error: gone")


def test_where_nobody_listens_nothing_was_asked() -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{closed.getsockname()[1]}"
        error = refused(lambda: channel(address).accept_request("group", "x"))
    assert (error.code, error.action) == ("service_away", Action.RETRY)


def test_a_wrong_token_is_named(puppet: FakePuppet) -> None:
    error = refused(lambda: channel(puppet.address, token="insecure_wrong").test())
    assert (error.code, error.action, error.detail) == ("token_refused", Action.CONFIG, "")


# --- the way to the service


def target(**fields: Any) -> endpoint.Target:
    account = channel(**fields)
    return endpoint.find_target(account.identity.credentials, account.base_url, account.http)


def test_the_channel_goes_to_the_checked_address_alone() -> None:
    found = target(endpoint="localhost:8788")
    options = dict(found.options)
    assert found.address in ("ipv4:127.0.0.1:8788", "ipv6:[::1]:8788")
    assert options["grpc.default_authority"] == "localhost:8788"
    assert (options["grpc.enable_http_proxy"], options["grpc.enable_retries"], found.tls) == (0, 0, None)


def test_no_proxy_of_the_environment_gets_the_token(puppet: FakePuppet, monkeypatch: pytest.MonkeyPatch) -> None:
    with recorder() as proxy:
        monkeypatch.setenv("grpc_proxy", proxy.url)
        monkeypatch.setenv("http_proxy", proxy.url)
        assert channel(puppet.address).test()
        assert proxy.requests == []


@pytest.mark.parametrize(
    ("place", "allowed", "code"),
    [
        ("127.0.0.1:8788", [], "address_private"),
        ("169.254.169.254:80", ["127.0.0.1:*"], "address_never"),
        ("[::ffff:10.0.0.1]:80", ["127.0.0.1:*"], "address_private"),
        ("8.8.8.8:8788", ["127.0.0.1:*"], "address_plain_http"),
    ],
)
def test_an_address_that_may_not_be_called_is_not(place: str, allowed: list[str], code: str) -> None:
    assert refused(lambda: target(endpoint=place, allowed=allowed)).code == code


@pytest.mark.parametrize(
    ("token", "name"),
    [
        ("insecure_uuid", "insecure"),
        ("puppet_WorkPro_hex", "puppet_workpro"),
        ("bare", "127.0.0.1"),
    ],
)
def test_the_name_in_the_certificate_stands_in_the_token(token: str, name: str) -> None:
    found = target(endpoint="127.0.0.1:1", token=token, tls="on")
    assert dict(found.options)["grpc.ssl_target_name_override"] == name
    assert dict(target(endpoint="127.0.0.1:1", tls="on", server_name="own.example").options)[
        "grpc.ssl_target_name_override"
    ] == ("own.example")


@contextmanager
def tls_service() -> Iterator[tuple[FakePuppet, str]]:
    made = make_certificates("puppet.example")
    with fake_puppet(tls=(made.key, made.certificate)) as service:
        yield service, made.authority.decode()


def test_tls_with_an_authority_and_a_name_of_ones_own() -> None:
    with tls_service() as (service, ca):
        right = {"tls": "on", "ca": ca, "server_name": "puppet.example"}
        assert channel(service.address, **right).test()
        for wrong in ({"server_name": "other.example"}, {"ca": ""}, {"tls": "off"}):
            error = refused(lambda wrong=wrong: channel(service.address, **{**right, **wrong}).test())
            assert (error.code in ("tls_failed", "service_away"), error.action) == (True, Action.RETRY)
        assert service.calls == {"Version": 1}


def test_tls_to_a_service_without_is_named_as_such(puppet: FakePuppet) -> None:
    assert refused(lambda: channel(puppet.address, tls="on").test()).code == "tls_failed"


# --- the directory


def found_by(reply: Reply, **fields: Any) -> tuple[Any, Any]:
    """What the directory's answer leads to, and what it was asked."""
    with recorder() as directory:
        directory.will(reply)
        try:
            found: Any = target(endpoint="", api_base_url=directory.url, **fields)
        except ChannelError as error:
            found = error
    assert TOKEN not in f"{found!r} {getattr(found, 'params', '')}"
    return found, directory.requests


@pytest.mark.parametrize("name", ["host", "ip"])
def test_the_directory_is_asked_for_the_token(name: str) -> None:
    found, (request,) = found_by(Reply(f'{{"{name}": "127.0.0.1", "port": 8788}}'.encode()))
    assert found.address == "ipv4:127.0.0.1:8788"
    assert (request.method, request.path) == ("GET", f"/v0/hosties/{TOKEN}")


@pytest.mark.parametrize(
    ("reply", "code", "action"),
    [
        (Reply(b'{"host": "0.0.0.0", "port": 0}'), "directory_offline", Action.WAIT),
        (Reply(b"{}"), "directory_offline", Action.WAIT),
        (Reply(f'{{"error": "{TOKEN}"}}'.encode(), 404), "directory_unknown", Action.CONFIG),
        (Reply(TOKEN.encode(), 502), "http_502", Action.RETRY),
        (Reply(TOKEN.encode(), 302, (("Location", "http://127.0.0.1:1/"),)), "http_302", Action.CONFIG),
        (Reply(b"nonsense"), "directory_unreadable", Action.RETRY),
        (Reply(b'{"host": "127.0.0.1/x@y", "port": 1}'), "directory_unreadable", Action.RETRY),
        (Reply(b'{"host": "127.0.0.1", "port": "x"}'), "directory_unreadable", Action.RETRY),
        (Reply(b'{"host": "169.254.169.254", "port": 80}'), "address_never", Action.CONFIG),
        (Reply(b'{"host": "10.1.2.3", "port": 80}'), "address_private", Action.CONFIG),
        (Reply(fault="reset"), "reset", Action.RETRY),
    ],
)
def test_what_the_directory_says_is_not_trusted(reply: Reply, code: str, action: Action) -> None:
    error, _requests = found_by(reply)
    assert isinstance(error, ChannelError), error
    assert (error.code, error.action) == (code, action)


def test_no_thread_is_left_behind(puppet: FakePuppet) -> None:
    channel(puppet.address).test()
    before = threading.active_count()
    for _each in range(5):
        channel(puppet.address).test()
    assert threading.active_count() <= before + 1
