"""The client against a real OpenClaw gateway with a mock model (`pytest -m heavy tests/real`)."""

from __future__ import annotations

import asyncio
import contextlib
import time
import uuid
from typing import TYPE_CHECKING, Any, TypeVar

import aiohttp
import pytest

from channels_wechat.contract.explanations import Action
from channels_wechat.simulator.client import WAIT_SECONDS
from openclaw import http
from openclaw.client import Answer, Attachment, Endpoint, GatewayClient, ProactiveReply, Turn, Usage
from openclaw.device import Device, Signer
from openclaw.errors import Code, GatewayError
from openclaw.session import make_session_key
from openclaw.stub.answers import make_picture
from tests.real.openclaw_lab import OpenClawLab

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator

pytestmark = pytest.mark.heavy
T = TypeVar("T")


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OpenClawLab]:
    with OpenClawLab(tmp_path_factory.mktemp("openclaw")) as running:
        yield running


@contextlib.asynccontextmanager
async def connected(
    lab: OpenClawLab, on_foreign: Callable[[ProactiveReply], None] | None = None
) -> AsyncIterator[GatewayClient]:
    client = GatewayClient(Endpoint(lab.base_url, lab.token), on_foreign)
    try:
        await client.connect()
        yield client
    finally:
        await client.close()


def turn(message: str, agent: str = "main", **more: object) -> Turn:
    """A turn in a session of its own."""
    session = make_session_key(agent, "lab", "group", uuid.uuid4().hex, 0)
    return Turn(session, agent, message, f"{uuid.uuid4()}.1", **({"timeout": 60.0} | more))  # type: ignore[arg-type]


def ask(lab: OpenClawLab, one: Turn, on_partial: Callable[[str], None] = lambda _partial: None) -> Answer:
    async def run() -> Answer:
        async with connected(lab) as client:
            return await client.ask(one, on_partial)

    return asyncio.run(run())


def ask_error(lab: OpenClawLab, one: Turn) -> GatewayError:
    with pytest.raises(GatewayError) as caught:
        ask(lab, one)
    return caught.value


def test_partial_text_before_the_end(lab: OpenClawLab) -> None:
    partials: list[str] = []
    answer = ask(lab, turn("hello !tokens=20 !slow=2"), partials.append)
    assert answer.text == " ".join(f"w{number}" for number in range(20))
    assert len(partials) > 3
    assert all(later.startswith(earlier) for earlier, later in zip(partials, partials[1:], strict=False))


def test_probe_tells_version_agents_and_latency(lab: OpenClawLab) -> None:
    found = http.test_gateway(Endpoint(lab.base_url, lab.token))
    assert (found.version, found.transport) == ("2026.9.6", "websocket")
    assert [agent.id for agent in found.agents] == ["main", "second"]


def test_wrong_token(lab: OpenClawLab) -> None:
    with pytest.raises(GatewayError) as caught:
        http.test_gateway(Endpoint(lab.base_url, "wrong"))
    assert (caught.value.code, caught.value.action) == (Code.BAD_TOKEN, Action.CONFIG)


def test_device_signature_is_what_the_gateway_checks(lab: OpenClawLab) -> None:
    """On loopback a right one changes nothing (no pairing, no device token), a wrong one is refused."""
    assert http.test_gateway(Endpoint(lab.base_url, lab.token, Device.generate())).version == "2026.9.6"

    class Forger(Device):
        def sign(self, signer: Signer, *, nonce: str, signed_at: int, token: str) -> dict[str, object]:
            return super().sign(signer, nonce=nonce, signed_at=signed_at, token="another")

    with pytest.raises(GatewayError) as caught:
        http.test_gateway(Endpoint(lab.base_url, lab.token, Forger.generate()))
    assert (caught.value.code, caught.value.action) == (Code.BAD_TOKEN, Action.CONFIG)


def test_unknown_agent(lab: OpenClawLab) -> None:
    error = ask_error(lab, turn("hello", "ghost"))
    assert (error.code, error.action) == (Code.UNKNOWN_AGENT, Action.PERMANENT)


def test_second_agent_has_its_own_sessions(lab: OpenClawLab) -> None:
    assert ask(lab, turn("hello", "second")).text == "pong: hello"


def test_image_reaches_the_model(lab: OpenClawLab) -> None:
    image = Attachment("image", "a.png", "image/png", make_picture(1))
    ask(lab, turn("what is this", attachments=(image,)))
    assert lab.model.calls[-1].images[0].startswith("data:image/")


def test_files_reach_the_model(lab: OpenClawLab) -> None:
    """The text of a text file, another by its place in the agent's workspace, the system prompt before the message."""
    partials: list[str] = []
    files = (
        Attachment("file", "notes.txt", "text/plain", "the secret word is 芝麻".encode()),
        Attachment("file", "data.bin", "application/octet-stream", bytes(16)),
        Attachment("image", "a.png", "image/png", make_picture(1)),
    )
    one = turn("read this !tokens=10 !slow=1", attachments=files, extra_system_prompt="Be 简短.")
    assert ask(lab, one, partials.append).text.endswith("w8 w9")
    call = lab.model.calls[-1]
    asked = str(call.body["messages"])
    assert [words for words in ("芝麻", "data---", "Be 简短.") if words not in asked] == []
    assert len(call.images) == 1
    assert len(partials) > 3
    error = ask_error(lab, turn("!fail=400", attachments=files[:1]))
    assert (error.code, error.action) == (Code.RUN_FAILED, Action.PERMANENT)


def test_extra_system_prompt_reaches_the_model(lab: OpenClawLab) -> None:
    ask(lab, turn("hello", extra_system_prompt="You are in the group 项目组."))
    assert "You are in the group 项目组." in str(lab.model.calls[-1].body["messages"])


def test_named_address_is_media_and_a_path_is_not(lab: OpenClawLab) -> None:
    by_address = ask(lab, turn("!say=MEDIA:https://files.example/a.png"))
    assert [ref.url for ref in by_address.media] == ["https://files.example/a.png"]
    by_path = ask(lab, turn("!say=MEDIA:./a.png"))
    assert (by_path.text, by_path.media, by_path.missing) == ("", (), ("a.png",))


def test_failing_model_gives_an_error_and_never_a_text(lab: OpenClawLab) -> None:
    error = ask_error(lab, turn("!fail=400"))
    assert (error.code, error.action) == (Code.RUN_FAILED, Action.PERMANENT)


def test_model_that_fails_once_is_asked_again_by_the_gateway(lab: OpenClawLab) -> None:
    """Its second try comes with a sentence of its own for the model, which our model echoes."""
    before = len(lab.model.calls)
    assert ask(lab, turn("hi !once=500")).text.startswith("pong: ")
    assert len(lab.model.calls) >= before + 2


def test_run_over_its_time(lab: OpenClawLab) -> None:
    error = ask_error(lab, turn("!tokens=40 !slow=20", timeout=3.0))
    assert (error.code, error.action) == (Code.TIMEOUT, Action.PERMANENT)


def test_abort(lab: OpenClawLab) -> None:
    one = turn("!tokens=40 !slow=20")

    async def run() -> GatewayError:
        started = asyncio.Event()
        async with connected(lab) as client:
            task = asyncio.create_task(client.ask(one, lambda _partial: started.set()))
            await asyncio.wait_for(started.wait(), WAIT_SECONDS)
            assert await client.abort(one.session_key, one.idempotency_key)
            with pytest.raises(GatewayError) as caught:
                await task
            with pytest.raises(GatewayError, match="run_aborted"):
                await client.recover(one)
            return caught.value

    error = asyncio.run(run())
    assert (error.code, error.action) == (Code.RUN_ABORTED, Action.PERMANENT)


def test_same_key_runs_once(lab: OpenClawLab) -> None:
    one = turn("hello !tokens=5 !slow=1")

    async def run() -> list[Answer]:
        async with connected(lab) as client:
            both = await asyncio.gather(client.ask(one), client.ask(one))
            return [*both, await client.ask(one)]

    before = len(lab.model.calls)
    assert {answer.text for answer in asyncio.run(run())} == {"w0 w1 w2 w3 w4"}
    assert len(lab.model.calls) == before + 1


def test_lost_connection_leaves_the_run_going(lab: OpenClawLab) -> None:
    one = turn("hello !tokens=20 !slow=4")
    foreign: list[ProactiveReply] = []

    async def run() -> Answer | None:
        started = asyncio.Event()
        async with connected(lab) as client:
            task = asyncio.create_task(client.ask(one, lambda _partial: started.set()))
            await asyncio.wait_for(started.wait(), WAIT_SECONDS)
        with pytest.raises(GatewayError) as caught:
            await task
        assert (caught.value.code, caught.value.action) == (Code.CONNECTION_LOST, Action.UNKNOWN)
        async with connected(lab, foreign.append) as client:
            return await client.recover(one)

    answer = asyncio.run(run())
    assert answer
    assert answer.text.endswith("w18 w19")
    assert foreign == []


def test_http_fallback(lab: OpenClawLab) -> None:
    endpoint, partials = Endpoint(lab.base_url, lab.token), []

    async def run(one: Turn) -> Answer:
        async with aiohttp.ClientSession() as session:
            return await http.ask_http(session, endpoint, one, partials.append)

    image = Attachment("image", "a.png", "image/png", make_picture(1))
    one = turn("hello !tokens=20 !slow=1", extra_system_prompt="Be 简短.", attachments=(image,))
    assert asyncio.run(run(one)).text.endswith("w18 w19")
    assert len(partials) > 3
    assert lab.model.calls[-1].images
    assert "Be 简短." in str(lab.model.calls[-1].body["messages"])
    assert asyncio.run(run(turn("!say=MEDIA:./a.png"))).text == ""
    with pytest.raises(GatewayError) as caught:
        asyncio.run(run(turn("!fail=400")))
    assert (caught.value.code, caught.value.action) == (Code.RUN_FAILED, Action.PERMANENT)
    with pytest.raises(GatewayError) as caught:
        asyncio.run(run(turn("hello", "ghost")))
    assert caught.value.code is Code.UNKNOWN_AGENT


async def reconnected(lab: OpenClawLab, foreign: list[ProactiveReply]) -> GatewayClient:
    """Connect to a gateway that may still be starting, as the owner of a connection does."""
    limit = time.monotonic() + WAIT_SECONDS
    while True:
        client = GatewayClient(Endpoint(lab.base_url, lab.token), foreign.append)
        try:
            await client.connect()
            return client
        except GatewayError as error:
            if error.action not in (Action.RETRY, Action.WAIT) or time.monotonic() > limit:
                raise
            await asyncio.sleep(error.retry_after or 0.5)


def test_killed_in_mid_turn_answers_once(lab: OpenClawLab) -> None:
    """The running turn is resumed and recovered; the one queued behind it is lost and safe to ask again."""
    running, foreign = turn("!tokens=20 !slow=5"), list[ProactiveReply]()
    queued = Turn(running.session_key, "main", "queued", f"{uuid.uuid4()}.1")
    finished = turn("hello")

    async def run() -> tuple[Answer | None, Answer | None, Answer | None, Answer]:
        started = asyncio.Event()
        async with connected(lab) as client:
            await client.ask(finished)
            tasks = [asyncio.create_task(client.ask(running, lambda _partial: started.set()))]
            await asyncio.wait_for(started.wait(), WAIT_SECONDS)
            tasks.append(asyncio.create_task(client.ask(queued)))
            await asyncio.sleep(0.5)
            await asyncio.to_thread(lab.kill)
            lost = await asyncio.gather(*tasks, return_exceptions=True)
        assert [error.action for error in lost if isinstance(error, GatewayError)] == [Action.UNKNOWN] * 2
        await asyncio.to_thread(lab.start)
        client = await reconnected(lab, foreign)
        recovered = await asyncio.gather(*(client.recover(one) for one in (finished, running, queued)))
        again = Turn(queued.session_key, "main", queued.message, queued.idempotency_key.replace(".1", ".2"))
        answer = await client.ask(again)
        await client.close()
        return (*recovered, answer)

    was_finished, was_running, was_queued, again = asyncio.run(run())
    assert was_finished
    assert was_finished.text == "pong: hello"
    assert was_running
    assert was_running.text.endswith("w18 w19")
    assert was_queued is None
    assert again.text == "pong: queued"
    assert [reply.resumes for reply in foreign] in ([], [running.idempotency_key])


def test_orderly_restart_is_announced(lab: OpenClawLab) -> None:
    async def run() -> GatewayError:
        async with connected(lab) as client:
            await asyncio.to_thread(lab.stop)
            await asyncio.wait_for(client.closed.wait(), WAIT_SECONDS)
            return client.lost

    error = asyncio.run(run())
    lab.start()
    assert error.code in (Code.DRAINING, Code.CONNECTION_LOST)
    assert ask(lab, turn("hello")).text == "pong: hello"


def test_no_reply_is_silence_and_nothing_is_a_failure(lab: OpenClawLab) -> None:
    partials: list[str] = []
    assert ask(lab, turn("!silent"), partials.append).text == ""
    assert partials == []
    error = ask_error(lab, turn("!empty"))
    assert (error.code, error.action) == (Code.RUN_FAILED, Action.RETRY)


def test_a_long_answer_is_recovered_whole(lab: OpenClawLab) -> None:
    one = turn("!long=12000")

    async def run() -> tuple[Answer, Answer | None]:
        async with connected(lab) as client:
            asked = await client.ask(one)
        async with connected(lab) as client:
            return asked, await client.recover(one)

    asked, recovered = asyncio.run(run())
    assert recovered
    assert (len(asked.text), recovered.text, recovered.is_cut) == (12000, asked.text, False)


def test_what_a_turn_took_comes_after_its_answer(lab: OpenClawLab) -> None:
    used: list[Usage] = []

    async def run() -> None:
        async with connected(lab) as client:
            await client.ask(turn("hello"), on_usage=used.append)
            limit = time.monotonic() + 20
            while not used and time.monotonic() < limit:
                await asyncio.sleep(0.01)

    asyncio.run(run())
    (usage,) = used
    assert (usage.model, usage.input, usage.output, usage.cache_read) == ("mock/mock-1", 600, 5, 400)
    assert usage.cost == pytest.approx(0.000665)


def test_a_turn_is_settled_at_the_gateways_own_end(lab: OpenClawLab, capsys: pytest.CaptureFixture[str]) -> None:
    """What we add over lifecycle `end`, in the same turns; the response, which nobody waits for, comes later."""
    ends: list[float] = []
    settled: list[float] = []

    class Watched(GatewayClient):
        def _handle_event(self, name: str, payload: dict[str, Any]) -> None:
            if name == "agent" and payload.get("data", {}).get("executionSettled"):
                ends.append(time.monotonic())
            super()._handle_event(name, payload)

    async def run() -> None:
        client = Watched(Endpoint(lab.base_url, lab.token))
        await client.connect()
        session = make_session_key("main", "lab", "group", uuid.uuid4().hex, 0)
        for number in range(21):
            await client.ask(Turn(session, "main", "hi", f"{uuid.uuid4()}.{number}", timeout=60.0))
            settled.append(time.monotonic())
        await client.close()

    asyncio.run(run())
    added = sorted((late - end) * 1000 for end, late in zip(ends[1:], settled[1:], strict=True))
    with capsys.disabled():
        print(f"\n  added over the gateway's own end: p50 {added[10]:.1f} ms, p95 {added[18]:.1f} ms")
    assert added[10] <= 20


def test_a_gateway_is_warm_after_the_warm_up(lab: OpenClawLab, capsys: pytest.CaptureFixture[str]) -> None:
    lab.restart()
    before = len(lab.model.calls)

    async def run() -> float:
        client = GatewayClient(Endpoint(lab.base_url, lab.token))
        hello = await client.connect()
        await client.warm_up("main", hello.boot_id)
        await asyncio.sleep(10)
        assert len(lab.model.calls) == before
        began = time.monotonic()
        assert (await client.ask(turn("first"))).text == "pong: first"
        took = time.monotonic() - began
        await client.close()
        return took

    took = asyncio.run(run())
    with capsys.disabled():
        print(f"\n  first turn after a start and the warm-up: {took:.2f} s")
