"""Turns of the client against the stub gateway: two programs that share no protocol code."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from channels_wechat.contract.explanations import Action
from openclaw.client import Answer, Attachment, Endpoint, GatewayClient, ProactiveReply, Turn
from openclaw.errors import Code, GatewayError
from openclaw.session import make_session_key
from openclaw.stub import RunningStub
from tests.openclaw.stub_client import KEY, ask, connected, turn, until

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def stub() -> Iterator[RunningStub]:
    with RunningStub(tick=0.3) as running:
        yield running


def ask_error(stub: RunningStub, one: Turn) -> GatewayError:
    with pytest.raises(GatewayError) as caught:
        ask(stub, one)
    return caught.value


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
            await client.list_agents()  # whatever was on its way before this answer has come
            return [reply.answer.text for reply in replies]

    assert sorted(asyncio.run(run())) == ["it is time", "still"]
