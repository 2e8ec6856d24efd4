"""Connecting to the stub gateway: the handshake, devices, and every refusal."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from channels_wechat.contract.explanations import Action
from openclaw.client import Endpoint, GatewayClient
from openclaw.device import Device
from openclaw.errors import Code, GatewayError
from openclaw.stub import RunningStub
from openclaw.wire import Wire, make_url
from tests.openclaw.stub_client import ask, turn, until

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def stub() -> Iterator[RunningStub]:
    with RunningStub(tick=0.3) as running:
        yield running


def connect_error(stub: RunningStub, token: str | None = None, base_url: str | None = None) -> GatewayError:
    async def run() -> None:
        client = GatewayClient(Endpoint(base_url or stub.base_url, stub.token if token is None else token))
        try:
            await client.connect()
        finally:
            await client.close()

    with pytest.raises(GatewayError) as caught:
        asyncio.run(run())
    return caught.value


def test_hello_and_agents(stub: RunningStub) -> None:
    async def run() -> None:
        client = GatewayClient(Endpoint(f" {stub.base_url}/ \n", stub.token, Device.generate()))
        hello = await client.connect()
        assert (hello.protocol, hello.version, hello.boot_id) == (4, "stub-1", stub.boot_id)
        assert [agent.id for agent in await client.list_agents()] == ["main", "support"]
        await client.close()
        assert client.closed.is_set()

    asyncio.run(run())


@pytest.mark.parametrize("device_token", ["", "given-at-the-pairing"])
def test_a_paired_device_signs_the_shared_token_where_it_has_one(stub: RunningStub, device_token: str) -> None:
    async def run() -> None:
        client = GatewayClient(Endpoint(stub.base_url, stub.token, Device.generate(), device_token=device_token))
        await client.connect()
        await client.close()

    asyncio.run(run())


def test_wrong_token_is_a_matter_for_staff(stub: RunningStub) -> None:
    error = connect_error(stub, token="wrong")
    assert (error.code, error.action) == (Code.BAD_TOKEN, Action.CONFIG)
    assert "wrong" not in str(error)
    asyncio.run(until(lambda: stub.connections == 0))


def test_lock_out_tells_how_long(stub: RunningStub) -> None:
    stub.faults.locked_out = True
    error = connect_error(stub)
    assert (error.code, error.action, error.retry_after) == (Code.LOCKED_OUT, Action.WAIT, 300.0)


@pytest.mark.parametrize("protocol", [2, 5])
def test_protocol_mismatch(stub: RunningStub, protocol: int) -> None:
    stub.faults.protocol = protocol
    error = connect_error(stub)
    assert (error.code, error.action) == (Code.PROTOCOL_MISMATCH, Action.CONFIG)


def test_protocol_3_is_spoken_too(stub: RunningStub) -> None:
    stub.faults.protocol = 3
    assert ask(stub, turn("hello"))[0].text == "收到：hello"


def test_pairing_names_the_request(stub: RunningStub) -> None:
    stub.faults.pairing = True
    error = connect_error(stub)
    assert (error.code, error.action, error.request_id) == (Code.PAIRING_REQUIRED, Action.CONFIG, "req-1")


def test_connection_without_rights_is_refused(stub: RunningStub) -> None:
    stub.faults.no_scopes = True
    assert connect_error(stub).code is Code.MISSING_SCOPE
    asyncio.run(until(lambda: stub.connections == 0))


def test_starting_gateway_is_waited_for(stub: RunningStub) -> None:
    stub.faults.starting = True
    error = connect_error(stub)
    assert (error.code, error.action, error.retry_after) == (Code.STARTING, Action.WAIT, 0.5)


def test_draining_gateway_is_waited_for(stub: RunningStub) -> None:
    stub.faults.draining = True
    error = connect_error(stub)
    assert (error.code, error.action, error.retry_after) == (Code.DRAINING, Action.WAIT, 1.0)


def test_nothing_at_the_address(stub: RunningStub) -> None:
    error = connect_error(stub, base_url="http://127.0.0.1:1")
    assert (error.code, error.action) == (Code.UNREACHABLE, Action.RETRY)
    assert error.detail == "the connection was refused: no program listens on this port"


@pytest.mark.parametrize(
    "url",
    [
        *("", "127.0.0.1:18789", "ftp://host", "http://", "http://a:99999"),
        *("http://u:p@host", "http://u@host", "http://host/?a=b", "http://host/#a"),
    ],
)
def test_unusable_address(stub: RunningStub, url: str) -> None:
    error = connect_error(stub, base_url=url or " ")
    assert (error.code, error.action) == (Code.BAD_URL, Action.CONFIG)


@pytest.mark.parametrize(
    ("base_url", "http", "ws"),
    [
        (" http://host:1/ ", "http://host:1", "ws://host:1"),
        ("https://host/path/", "https://host/path", "wss://host/path"),
        ("ws://host", "http://host", "ws://host"),
        ("wss://host:443", "https://host:443", "wss://host:443"),
    ],
)
def test_an_address_keeps_its_tls_under_each_scheme(base_url: str, http: str, ws: str) -> None:
    assert (make_url(base_url, "http"), make_url(base_url, "ws")) == (http, ws)


def test_a_device_that_was_paired_signs_its_own_token_where_it_has_no_other() -> None:
    class Signs(Device):
        def sign(self, *_signer: Any, token: str, **_more: Any) -> dict[str, object]:
            return {"token": token}

    async def run(endpoint: Endpoint) -> Any:
        return Wire(endpoint, lambda _event, _payload: None)._connect_params({"nonce": "n", "ts": 1})

    device = Signs(Device.generate().pem)
    params = asyncio.run(run(Endpoint("http://host", "", device, "given")))
    assert (params["device"], params["auth"]) == ({"token": "given"}, {"deviceToken": "given"})
    params = asyncio.run(run(Endpoint("http://host", "shared", device, "given")))
    assert (params["device"], params["auth"]) == ({"token": "shared"}, {"token": "shared", "deviceToken": "given"})
    assert asyncio.run(run(Endpoint("http://host", "shared"))) == {
        "minProtocol": 3,
        "maxProtocol": 4,
        "client": {
            "id": "gateway-client",
            "version": "0.1.0",
            "platform": "linux",
            "mode": "backend",
            "displayName": "wechat-openclaw-bridge",
        },
        "role": "operator",
        "scopes": ["operator.read", "operator.write"],
        "caps": [],
        "auth": {"token": "shared"},
    }


def test_other_server_is_not_a_gateway(stub: RunningStub) -> None:
    error = connect_error(stub, base_url=stub.base_url + "/health")
    assert (error.code, error.action) == (Code.NOT_A_GATEWAY, Action.CONFIG)
