"""The client against the stub gateway: two programs that share no protocol code."""

from __future__ import annotations

import asyncio
import contextlib
import time
from typing import TYPE_CHECKING, Any

import pytest

from channels_wechat.contract.explanations import Action
from openclaw.asking import make_agent_params, make_send_params
from openclaw.client import (
    Answer,
    Attachment,
    Endpoint,
    GatewayClient,
    ProactiveReply,
    Turn,
    backoff,
)
from openclaw.device import Device
from openclaw.errors import Code, GatewayError
from openclaw.session import make_session_key
from openclaw.stub import RunningStub
from openclaw.turns import Policy
from openclaw.wire import Wire, make_url

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator

KEY = make_session_key("main", "account", "group", "wrGroup", 0)


@pytest.fixture
def stub() -> Iterator[RunningStub]:
    with RunningStub(tick=0.3) as running:
        yield running


@contextlib.asynccontextmanager
async def connected(
    stub: RunningStub, on_foreign: Callable[[ProactiveReply], None] | None = None
) -> AsyncIterator[GatewayClient]:
    client = GatewayClient(Endpoint(stub.base_url, stub.token), on_foreign)
    try:
        await client.connect()
        yield client
    finally:
        await client.close()


def turn(message: str, key: str = "d1.1", session: str = KEY, timeout: float = 20.0) -> Turn:
    return Turn(session, session.split(":")[1], message, key, timeout=timeout)


async def until(condition: Callable[[], bool], seconds: float = 10.0) -> None:
    limit = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < limit, "the state did not come"
        await asyncio.sleep(0.01)


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


def ask(stub: RunningStub, *turns: Turn) -> list[Answer]:
    async def run() -> list[Answer]:
        async with connected(stub) as client:
            return [await client.ask(one) for one in turns]

    return asyncio.run(run())


def ask_error(stub: RunningStub, one: Turn) -> GatewayError:
    with pytest.raises(GatewayError) as caught:
        ask(stub, one)
    return caught.value


# --- connecting -------------------------------------------------------------------------------------------------------


def test_each_method_is_told_the_turn_s_time_in_its_own_unit() -> None:
    asked = turn("hello", timeout=1800.0)
    assert make_agent_params(asked, Policy())["timeout"] == 1800
    assert make_send_params(asked, Policy())["timeoutMs"] == 1_800_000


FILES = (Attachment("image", "a.png", "image/png", b"\x89PNG"), Attachment("file", "b.txt", "text/plain", b"hello"))
SENT = [
    {"type": "image", "mimeType": "image/png", "fileName": "a.png", "content": "iVBORw=="},
    {"type": "file", "mimeType": "text/plain", "fileName": "b.txt", "content": "aGVsbG8="},
]


def test_a_method_is_told_all_of_a_turn_and_nothing_else() -> None:
    """A gateway refuses parameters that it does not know."""
    asked = Turn(KEY, "main", "look", "k", "be brief", FILES, timeout=0.25)
    assert make_agent_params(asked, Policy()) == {
        "sessionKey": KEY,
        "agentId": "main",
        "message": "look",
        "idempotencyKey": "k",
        "timeout": 1,  # whole seconds, and never none at all
        "extraSystemPrompt": "be brief",
        "attachments": SENT,
    }
    assert make_send_params(asked, Policy()) == {
        "sessionKey": KEY,
        "message": "be brief\n\nlook",
        "idempotencyKey": "k",
        "timeoutMs": 250,
        "attachments": SENT,
    }
    bare = Turn(KEY, "main", "look", "k", timeout=5.0)
    assert set(make_agent_params(bare, Policy())) == {"sessionKey", "agentId", "message", "idempotencyKey", "timeout"}
    assert make_send_params(bare, Policy())["message"] == "look"
    briefed = Turn(KEY, "main", "look", "k", "be brief", timeout=5.0)
    assert make_agent_params(briefed, Policy())["extraSystemPrompt"] == "be brief"


SMALL = Policy(max_payload=80_000, attachment_bytes=3000, image_bytes=2000)


@pytest.mark.parametrize(
    ("image", "file", "words", "fits"),
    [
        (2000, 3000, 0, True),
        (2001, 0, 0, False),
        (0, 3001, 0, False),
        # 80 000 bytes, of which the frame itself takes up to 65 536, and each file a third more than it has
        (1000, 3000, 9131, True),
        (1000, 3000, 9132, False),
    ],
)
@pytest.mark.parametrize("params", [make_agent_params, make_send_params])
def test_what_the_gateway_would_end_the_connection_over_is_not_sent(
    params: Callable[[Turn, Policy], Any], image: int, file: int, words: int, fits: bool
) -> None:
    files = (Attachment("image", "a", "image/png", bytes(image)), Attachment("file", "b", "text/plain", bytes(file)))
    asked = Turn(KEY, "main", "é" * (words // 2) + "x" * (words % 2), "k", attachments=files)
    if fits:
        assert params(asked, SMALL)
        return
    with pytest.raises(GatewayError) as caught:
        params(asked, SMALL)
    assert (caught.value.code, caught.value.action) == (Code.TOO_LARGE, Action.PERMANENT)


def test_hello_and_agents(stub: RunningStub) -> None:
    async def run() -> None:
        client = GatewayClient(Endpoint(f" {stub.base_url}/ \n", stub.token, Device.generate()))
        hello = await client.connect()
        assert (hello.protocol, hello.version, hello.boot_id) == (4, "stub-1", stub.boot_id)
        assert [agent.id for agent in await client.agents()] == ["main", "support"]
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


# --- turns ------------------------------------------------------------------------------------------------------------


def test_partial_texts_grow_to_the_answer(stub: RunningStub) -> None:
    partials: list[str] = []

    async def run() -> Answer:
        async with connected(stub) as client:
            return await client.ask(turn("!tokens=8 !slow=0.2"), partials.append)

    answer = asyncio.run(run())
    assert answer == Answer("w0 w1 w2 w3 w4 w5 w6 w7", run_id="d1.1")
    assert len(partials) == 8
    assert all(later.startswith(earlier) for earlier, later in zip(partials, partials[1:], strict=False))
    assert partials[-1] == answer.text


def test_partials_are_those_of_the_own_run(stub: RunningStub) -> None:
    seen: dict[str, list[str]] = {"a": [], "b": []}
    other = make_session_key("support", "account", "group", "other", 0)

    async def run() -> None:
        async with connected(stub) as client:
            await asyncio.gather(
                client.ask(turn("!say=aaa aaa aaa", "a"), seen["a"].append),
                client.ask(turn("!say=bbb bbb bbb", "b", other), seen["b"].append),
            )

    asyncio.run(run())
    assert set("".join(seen["a"])) == {"a", " "}
    assert set("".join(seen["b"])) == {"b", " "}


def test_silent_agent_gives_an_empty_answer_and_no_partial(stub: RunningStub) -> None:
    partials: list[str] = []

    async def run() -> Answer:
        async with connected(stub) as client:
            return await client.ask(turn("!noreply"), partials.append)

    assert asyncio.run(run()).text == ""
    assert partials == []


def test_turns_of_a_session_run_one_after_the_other(stub: RunningStub) -> None:
    async def run() -> list[Answer]:
        async with connected(stub) as client:
            return await asyncio.gather(
                client.ask(turn("!say=first !slow=0.2", "1")),
                client.ask(turn("second", "2")),
                client.ask(turn("third", "3")),
            )

    assert [answer.text for answer in asyncio.run(run())] == ["first !slow=0.2", "收到：second", "收到：third"]
    assert [run["key"] for run in stub.record] == ["1", "2", "3"]


def test_same_key_runs_once(stub: RunningStub) -> None:
    first, second = ask(stub, turn("hello"), turn("hello"))
    assert first == second
    assert [(run["key"], run["count"]) for run in stub.record] == [("d1.1", 1)]


def test_same_key_in_flight_waits_for_the_run(stub: RunningStub) -> None:
    async def run() -> list[Answer]:
        async with connected(stub) as client:
            one = turn("!tokens=5 !slow=0.3")
            return await asyncio.gather(client.ask(one), client.ask(one))

    first, second = asyncio.run(run())
    assert first.text == second.text == "w0 w1 w2 w3 w4"
    assert stub.record[0]["count"] == 1


def test_attachments_reach_the_agent(stub: RunningStub) -> None:
    image = Attachment("image", "a.png", "image/png", b"\x89PNG")
    with_image = Turn(KEY, "main", "look", "k", attachments=(image,))
    assert ask(stub, with_image)[0].text == "收到：look（看到 1 张图）"


def test_files_reach_the_agent(stub: RunningStub) -> None:
    partials: list[str] = []
    files = (Attachment("file", "a.pdf", "application/pdf", b"%PDF"), Attachment("image", "b.png", "image/png", b"P"))
    one = Turn(KEY, "main", "张三: look", "k", "in the group 项目组", files)

    async def run() -> list[Answer]:
        async with connected(stub) as client:
            busy = asyncio.create_task(client.ask(turn("!tokens=3 !slow=0.5", "0")))
            await until(lambda: len(stub.record) == 1)
            answer = await client.ask(one, partials.append)
            return [await busy, answer, await client.ask(one)]

    busy, answer, again = asyncio.run(run())
    assert busy.text == "w0 w1 w2"
    assert answer == again == Answer("收到，张三：look（看到 1 张图）（收到文件 a.pdf）", run_id="k")
    assert partials[-1] == answer.text
    assert [(run["message"], run["count"]) for run in stub.record[1:]] == [("in the group 项目组\n\n张三: look", 1)]


def test_failed_turn_with_a_file(stub: RunningStub) -> None:
    file = Attachment("file", "a.pdf", "application/pdf", b"%PDF")
    error = ask_error(stub, Turn(KEY, "main", "!fail=400", "k", attachments=(file,)))
    assert (error.code, error.action) == (Code.RUN_FAILED, Action.PERMANENT)


def test_too_large_attachment_is_refused_before_it_ends_the_connection(stub: RunningStub) -> None:
    big = Attachment("image", "a.png", "image/png", bytes(7_000_000))
    assert ask_error(stub, Turn(KEY, "main", "look", "k", attachments=(big,))).code is Code.TOO_LARGE
    files = tuple(Attachment("file", f"{n}.bin", "application/pdf", bytes(11_000_000)) for n in range(2))
    error = ask_error(stub, Turn(KEY, "main", "look", "k", attachments=files))
    assert (error.code, error.action) == (Code.TOO_LARGE, Action.PERMANENT)
    assert stub.record == []


def test_media_by_address(stub: RunningStub) -> None:
    (answer,) = ask(stub, turn("!image", "1"))
    assert [ref.url for ref in answer.media] == [f"{stub.base_url}/_stub/image/1.png"]


@pytest.mark.parametrize("kind", ["artifact", "link"])
def test_media_by_artifact(stub: RunningStub, kind: str) -> None:
    async def run() -> tuple[Answer, bytes]:
        async with connected(stub) as client:
            answer = await client.ask(turn(f"!image={kind}"))
            return answer, await client.download(KEY, answer.media[0].artifact_id)

    answer, content = asyncio.run(run())
    assert (answer.media[0].mime, answer.media[0].url) == ("image/png", "")
    assert content.startswith(b"\x89PNG")


def test_lost_artifact_is_named(stub: RunningStub) -> None:
    async def run() -> None:
        async with connected(stub) as client:
            await client.download(KEY, "gone")

    with pytest.raises(GatewayError) as caught:
        asyncio.run(run())
    assert (caught.value.code, caught.value.action) == (Code.MEDIA_GONE, Action.PERMANENT)


def test_unknown_agent(stub: RunningStub) -> None:
    error = ask_error(stub, turn("hello", session=make_session_key("ghost", "account", "group", "wr", 0)))
    assert (error.code, error.action) == (Code.UNKNOWN_AGENT, Action.PERMANENT)
    assert stub.record == []


@pytest.mark.parametrize(("message", "action"), [("!fail", Action.RETRY), ("!fail=400", Action.PERMANENT)])
def test_failed_run(stub: RunningStub, message: str, action: Action) -> None:
    error = ask_error(stub, turn(message))
    assert (error.code, error.action) == (Code.RUN_FAILED, action)


def test_refused_turn_may_be_asked_again(stub: RunningStub) -> None:
    stub.faults.overloaded = 1
    error = ask_error(stub, turn("hello"))
    assert (error.code, error.action) == (Code.UNAVAILABLE, Action.RETRY)
    assert ask(stub, turn("hello"))[0].text == "收到：hello"


def test_invalid_request(stub: RunningStub) -> None:
    assert ask_error(stub, turn("")).code is Code.INVALID_REQUEST


def test_aborted_turn(stub: RunningStub) -> None:
    async def run() -> GatewayError:
        async with connected(stub) as client:
            task = asyncio.create_task(client.ask(turn("!tokens=50 !slow=30")))
            await until(lambda: len(stub.record) == 1)
            assert await client.abort(KEY, "d1.1")
            assert not await client.abort(KEY, "d1.1")
            with pytest.raises(GatewayError) as caught:
                await task
            with pytest.raises(GatewayError, match="run_aborted"):
                await client.recover(turn("!tokens=50 !slow=30"))
            return caught.value

    error = asyncio.run(run())
    assert (error.code, error.action) == (Code.RUN_ABORTED, Action.PERMANENT)


def test_run_over_its_limit_is_stopped(stub: RunningStub) -> None:
    async def run() -> GatewayError:
        client = GatewayClient(Endpoint(stub.base_url, stub.token), grace=0.1)
        await client.connect()
        with pytest.raises(GatewayError) as caught:
            await client.ask(turn("!tokens=50 !slow=30", timeout=0.2))
        await client.close()
        return caught.value

    error = asyncio.run(run())
    assert (error.code, error.action) == (Code.TIMEOUT, Action.PERMANENT)
    assert ask(stub, turn("next", "2"))[0].text == "收到：next"


def test_many_turns_at_once(stub: RunningStub) -> None:
    async def run() -> list[Answer]:
        async with connected(stub) as client:
            keys = [make_session_key("main", "account", "group", str(number), 0) for number in range(200)]
            turns = [turn("hello !slow=0.5", f"k{n}", key) for n, key in enumerate(keys)]
            return await asyncio.gather(*(client.ask(one) for one in turns))

    assert len(asyncio.run(run())) == 200
    assert {run["count"] for run in stub.record} == {1}


def test_callback_that_fails_ends_no_connection(stub: RunningStub, caplog: pytest.LogCaptureFixture) -> None:
    def broken(_partial: str) -> None:
        raise ValueError("a fault of the caller")

    async def run() -> Answer:
        async with connected(stub) as client:
            return await client.ask(turn("hello"), broken)

    assert asyncio.run(run()).text == "收到：hello"
    assert "a callback for the event chat failed" in caplog.text


# --- the agent speaks first -------------------------------------------------------------------------------------------


def test_message_nobody_asked_for_is_handed_over(stub: RunningStub) -> None:
    async def run() -> tuple[list[ProactiveReply], str]:
        replies: list[ProactiveReply] = []
        async with connected(stub, replies.append) as client:
            await client.ask(turn("hello"))
            await asyncio.to_thread(stub.say, "agent:main:main", "elsewhere")
            await asyncio.to_thread(stub.say, KEY, "NO_REPLY")
            run_id = await asyncio.to_thread(stub.say, KEY, "it is time")
            await until(lambda: bool(replies))
            return replies, run_id

    replies, run_id = asyncio.run(run())
    assert [(reply.session_key, reply.run_id, reply.answer.text, reply.resumes) for reply in replies] == [
        (KEY, run_id, "it is time", "")
    ]


def test_one_reply_for_a_run_whose_event_comes_twice(stub: RunningStub) -> None:
    once = stub._gateway.broadcast

    def twice(event: str, payload: dict[str, Any]) -> None:
        once(event, payload)
        once(event, payload)

    stub._gateway.broadcast = twice

    async def run() -> list[str]:
        replies: list[ProactiveReply] = []
        async with connected(stub, replies.append) as client:
            await asyncio.to_thread(stub.say, KEY, "it is time")
            await asyncio.to_thread(stub.say, KEY, "still")
            await until(lambda: {reply.answer.text for reply in replies} == {"it is time", "still"})
            await client.agents()  # whatever was on its way before this answer has come
            return [reply.answer.text for reply in replies]

    assert sorted(asyncio.run(run())) == ["it is time", "still"]


# --- lost connections -------------------------------------------------------------------------------------------------


def test_lost_connection_leaves_the_outcome_open(stub: RunningStub) -> None:
    async def run() -> list[GatewayError]:
        async with connected(stub) as client:
            tasks = [
                asyncio.create_task(client.ask(turn("!tokens=9 !slow=9", str(n), KEY[:-1] + str(n)))) for n in range(3)
            ]
            await until(lambda: len(stub.record) == 3)
            await asyncio.to_thread(stub.disconnect)
            await asyncio.wait_for(client.closed.wait(), 10)
            results = await asyncio.gather(*tasks, return_exceptions=True)
            with pytest.raises(GatewayError) as caught:
                await client.ask(turn("too late", "9"))
            assert (caught.value.action, caught.value.retry_after) == (Action.WAIT, 1.0)
            with pytest.raises(GatewayError) as caught:
                await client.recover(turn("lost", "8"))
            assert caught.value.action is Action.UNKNOWN, "what became of that turn is not known by this"
            return [result for result in results if isinstance(result, GatewayError)]

    errors = asyncio.run(run())
    assert [(error.code, error.action) for error in errors] == [(Code.CONNECTION_LOST, Action.UNKNOWN)] * 3


def test_shutdown_is_told_and_the_outcome_open(stub: RunningStub) -> None:
    async def run() -> tuple[GatewayError, GatewayError]:
        async with connected(stub) as client:
            task = asyncio.create_task(client.ask(turn("!tokens=9 !slow=9")))
            await until(lambda: len(stub.record) == 1)
            await asyncio.to_thread(stub.drain, 4000)
            await asyncio.wait_for(client.closed.wait(), 10)
            with pytest.raises(GatewayError) as caught:
                await task
            return caught.value, client.lost

    error, lost = asyncio.run(run())
    assert (error.code, error.action, error.retry_after) == (Code.DRAINING, Action.UNKNOWN, 4.0)
    assert lost.retry_after == 4.0


def test_silence_of_two_ticks_ends_the_connection(stub: RunningStub) -> None:
    async def run() -> GatewayError:
        async with connected(stub) as client:
            task = asyncio.create_task(client.ask(turn("hello")))
            stub.faults.silent = True
            await asyncio.wait_for(client.closed.wait(), 20)
            with pytest.raises(GatewayError) as caught:
                await task
            return caught.value

    stub.faults.silent = True
    assert asyncio.run(run()).code is Code.CONNECTION_LOST


def recover_after(
    stub: RunningStub, one: Turn, event: Callable[[], None]
) -> tuple[Answer | None, list[ProactiveReply]]:
    """Ask, let `event` happen while the agent speaks, connect again and recover."""
    replies: list[ProactiveReply] = []

    async def run() -> Answer | None:
        async with connected(stub) as client:
            task = asyncio.create_task(client.ask(one))
            await until(lambda: len(stub.record) == 1)
            await asyncio.to_thread(event)
            with pytest.raises(GatewayError) as caught:
                await task
            assert caught.value.action is Action.UNKNOWN
        async with connected(stub, replies.append) as client:
            return await client.recover(one)

    return asyncio.run(run()), replies


def test_recover_on_the_same_boot_waits_for_the_run(stub: RunningStub) -> None:
    answer, replies = recover_after(stub, turn("!tokens=10 !slow=1.5"), stub.disconnect)
    assert answer
    assert answer.text.endswith("w8 w9")
    assert replies == []
    assert [(run["key"], run["count"]) for run in stub.record] == [("d1.1", 1)]


def test_recover_after_a_restart_takes_the_resumed_answer(stub: RunningStub) -> None:
    answer, replies = recover_after(stub, turn("!tokens=10 !slow=1"), stub.restart)
    assert answer
    assert answer.text.endswith("w8 w9")
    assert all(reply.resumes == "d1.1" for reply in replies)
    assert [run["resumes"] for run in stub.record] == ["", "d1.1"]


def test_recover_after_a_restart_without_resuming_says_ask_again(stub: RunningStub) -> None:
    stub.faults.resume = False
    assert recover_after(stub, turn("!tokens=10 !slow=3"), stub.restart)[0] is None


def test_recover_after_a_loss_of_history_says_ask_again(stub: RunningStub) -> None:
    assert recover_after(stub, turn("!tokens=10 !slow=3"), lambda: stub.restart(history=False))[0] is None


def test_recover_finds_the_answer_of_a_run_that_ended_meanwhile(stub: RunningStub) -> None:
    one = turn("hello")
    (answer,) = ask(stub, one)

    async def run() -> tuple[Answer | None, Answer | None]:
        async with connected(stub) as client:
            same_boot = await client.recover(one)
        await asyncio.to_thread(stub.restart)
        async with connected(stub) as client:
            return same_boot, await client.recover(one)

    assert asyncio.run(run()) == (answer, answer)


def test_recover_of_a_turn_that_never_arrived_says_ask_again(stub: RunningStub) -> None:
    async def run() -> Answer | None:
        async with connected(stub) as client:
            return await client.recover(turn("hello"))

    assert asyncio.run(run()) is None


def test_recover_of_a_queued_turn_waits_on_the_same_boot_and_gives_up_after_a_restart(stub: RunningStub) -> None:
    stub.faults.resume = False

    async def run() -> tuple[Answer | None, Answer | None]:
        async with connected(stub) as client:
            first = asyncio.create_task(client.ask(turn("!tokens=5 !slow=1", "1")))
            await until(lambda: len(stub.record) == 1)
            second = asyncio.create_task(client.ask(turn("queued", "2")))
            await asyncio.sleep(0.2)
            await asyncio.to_thread(stub.disconnect)
            await asyncio.gather(first, second, return_exceptions=True)
        async with connected(stub) as client:
            waited = await client.recover(turn("queued", "2"))
            third = asyncio.create_task(client.ask(turn("!tokens=5 !slow=5", "3")))
            await until(lambda: len(stub.record) == 3)
            fourth = asyncio.create_task(client.ask(turn("queued", "4")))
            await asyncio.sleep(0.2)
            await asyncio.to_thread(stub.restart)
            await asyncio.gather(third, fourth, return_exceptions=True)
        async with connected(stub) as client:
            return waited, await client.recover(turn("queued", "4"))

    waited, lost = asyncio.run(run())
    assert waited
    assert waited.text == "收到：queued"
    assert lost is None


def test_recover_of_a_failed_run_tells_the_failure(stub: RunningStub) -> None:
    async def run() -> None:
        async with connected(stub) as client:
            with contextlib.suppress(GatewayError):
                await client.ask(turn("!fail"))
            await client.recover(turn("!fail"))

    with pytest.raises(GatewayError) as caught:
        asyncio.run(run())
    # Known to have failed: no riddle.
    assert (caught.value.code, caught.value.action) == (
        Code.RUN_FAILED,
        Action.RETRY,
    )


def test_wait_for_an_unknown_run_stays_open(stub: RunningStub) -> None:
    async def run() -> None:
        async with connected(stub) as client:
            await client.wait("unknown", 0.1)

    with pytest.raises(GatewayError) as caught:
        asyncio.run(run())
    assert (caught.value.code, caught.value.action) == (Code.TIMEOUT, Action.UNKNOWN)


def test_wait_for_a_run_of_this_boot(stub: RunningStub) -> None:
    async def run() -> str:
        async with connected(stub) as client:
            task = asyncio.create_task(client.ask(turn("!tokens=3 !slow=0.3")))
            await until(lambda: len(stub.record) == 1)
            waited = await client.wait("d1.1", 10.0)
            await task
            return waited.text

    assert asyncio.run(run()) == "w0 w1 w2"


def test_recover_gives_up_on_a_run_that_outlasts_the_turn(stub: RunningStub) -> None:
    async def run() -> None:
        async with connected(stub) as asking:
            task = asyncio.create_task(asking.ask(turn("!tokens=50 !slow=30")))
            await until(lambda: len(stub.record) == 1)
            client = GatewayClient(Endpoint(stub.base_url, stub.token), grace=0.5)
            await client.connect()
            try:
                await client.recover(turn("!tokens=50 !slow=30", timeout=0.5))
            finally:
                await client.close()
                task.cancel()

    with pytest.raises(GatewayError) as caught:
        asyncio.run(run())
    assert (caught.value.code, caught.value.action) == (Code.TIMEOUT, Action.UNKNOWN)


def test_backoff_grows_to_thirty_seconds_with_jitter() -> None:
    waits = [[backoff(attempt) for _ in range(50)] for attempt in range(12)]
    assert all(1.0 <= wait <= 30.0 for row in waits for wait in row)
    assert max(waits[0]) < min(waits[3])
    assert min(waits[11]) > 20.0
    assert len(set(waits[5])) > 1
