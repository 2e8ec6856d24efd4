"""Lost connections: what the client finds out about a turn whose answer it never got."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

import pytest

from channels_wechat.contract.explanations import Action
from openclaw.client import Answer, Endpoint, GatewayClient, ProactiveReply, Turn
from openclaw.errors import Code, GatewayError
from openclaw.stub import RunningStub
from tests.openclaw.stub_client import KEY, ask, connected, turn, until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


@pytest.fixture
def stub() -> Iterator[RunningStub]:
    with RunningStub(tick=0.3) as running:
        yield running


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
