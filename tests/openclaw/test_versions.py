"""The client against turns recorded with the real gateways 2026.9.6, 2026.8.2 and 2026.7.35."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any

import pytest

from channels_wechat.contract.explanations import Action
from openclaw.client import Answer, Endpoint, GatewayClient, MediaRef, Turn, Usage
from openclaw.errors import Code, GatewayError
from openclaw.reading import read_wait
from openclaw.transcript import read_transcript
from tests.openclaw.recorded import VERSIONS, Recorded, load

if TYPE_CHECKING:
    from aiohttp import web

KEY = "77.0"
SESSION = "agent:main:wechat:group:" + "0" * 40
NEWEST = "2026.9.6"


def turn(message: str = "hi", timeout: float = 20.0) -> Turn:
    return Turn(SESSION, "main", message, KEY, timeout=timeout)


def ask(gateway: Recorded, one: Turn | None = None) -> tuple[Answer, list[Usage], list[str]]:
    """The answer, what it took, and the partial texts; the usage is waited for."""

    async def run() -> tuple[Answer, list[Usage], list[str]]:
        used: list[Usage] = []
        partials: list[str] = []
        async with gateway.serving() as base_url:
            client = GatewayClient(Endpoint(base_url, "t"))
            await client.connect()
            try:
                answer = await client.ask(one or turn(), partials.append, used.append)
                limit = time.monotonic() + 5
                while not used and time.monotonic() < limit:
                    await asyncio.sleep(0.01)
            finally:
                await client.close()
        return answer, used, partials

    return asyncio.run(run())


def ask_error(gateway: Recorded) -> GatewayError:
    with pytest.raises(GatewayError) as caught:
        ask(gateway)
    return caught.value


def recover(gateway: Recorded, one: Turn | None = None) -> Answer | None:
    async def run() -> Answer | None:
        async with gateway.serving() as base_url:
            client = GatewayClient(Endpoint(base_url, "t"))
            await client.connect()
            try:
                return await client.recover(one or turn())
            finally:
                await client.close()

    return asyncio.run(run())


@pytest.mark.parametrize("version", VERSIONS)
def test_answer_comes_with_what_it_took(version: str) -> None:
    answer, used, partials = ask(Recorded(version, "ok"))
    assert answer == Answer("pong: hi", run_id=KEY)
    cost = None if version == "2026.7.35" else 0.000665
    (usage,) = used
    assert usage == Usage("mock/mock-1", 600, 5, 400, 0, cost=usage.cost)
    assert usage.cost == (pytest.approx(cost) if cost else None)
    assert partials[-1] == "pong: hi"


@pytest.mark.parametrize("version", VERSIONS)
def test_no_reply_is_silence(version: str) -> None:
    answer, used, partials = ask(Recorded(version, "silent"))
    assert answer == Answer("", run_id=KEY)
    assert partials == []
    assert len(used) == 1


@pytest.mark.parametrize("version", VERSIONS)
def test_nothing_at_all_is_a_failure_and_no_silence(version: str) -> None:
    error = ask_error(Recorded(version, "empty"))
    assert (error.code, error.action) == (Code.RUN_FAILED, Action.RETRY)


@pytest.mark.parametrize("version", VERSIONS)
def test_an_aborted_run_is_aborted(version: str) -> None:
    error = ask_error(Recorded(version, "aborted"))
    assert (error.code, error.action) == (Code.RUN_ABORTED, Action.PERMANENT)


@pytest.mark.parametrize("version", VERSIONS)
def test_a_run_over_its_time_is_no_abort(version: str) -> None:
    error = ask_error(Recorded(version, "timeout"))
    assert (error.code, error.action) == (Code.TIMEOUT, Action.PERMANENT)


@pytest.mark.parametrize("version", VERSIONS)
def test_a_failing_model_is_a_failure(version: str) -> None:
    assert ask_error(Recorded(version, "failed")).code is Code.RUN_FAILED


@pytest.mark.parametrize(
    ("name", "code"), [("locked", Code.RUN_NOT_STARTED), ("locked_late", Code.RUN_FAILED)], ids=["before", "after"]
)
def test_a_gateway_whose_own_database_is_locked_has_asked_no_model_where_it_did_not_start_the_run(
    name: str, code: Code
) -> None:
    """Its words are the same where it was locked when the model had answered, and then another run would cost as much again."""
    error = ask_error(Recorded(NEWEST, name))
    assert (error.code, error.action) == (code, Action.RETRY)


def test_a_lost_turn_that_a_locked_database_kept_from_starting_is_asked_anew_and_not_looked_up_for_ever() -> None:
    with pytest.raises(GatewayError) as caught:
        recover(Recorded(NEWEST, "ok", wait="locked"))
    assert (caught.value.code, caught.value.action) == (Code.RUN_NOT_STARTED, Action.RETRY)


@pytest.mark.parametrize("version", VERSIONS)
def test_a_named_file_is_media(version: str) -> None:
    answer = _answer_only(Recorded(version, "media"))
    assert answer.media == (MediaRef(url="https://files.example/a.png", name="a.png"),)


def _answer_only(gateway: Recorded) -> Answer:
    async def run() -> Answer:
        async with gateway.serving() as base_url:
            client = GatewayClient(Endpoint(base_url, "t"))
            await client.connect()
            try:
                return await client.ask(turn())
            finally:
                await client.close()

    return asyncio.run(run())


# --- when a turn is settled -------------------------------------------------------------------------------------------


def test_newest_gateway_settles_at_its_end_and_not_at_the_response() -> None:
    gateway = Recorded(NEWEST, "ok", leave_out=1)  # the response never comes
    assert _answer_only(gateway) == Answer("pong: hi", run_id=KEY)


def test_silence_is_settled_at_the_end_too() -> None:
    assert _answer_only(Recorded(NEWEST, "silent", leave_out=1)) == Answer("", run_id=KEY)


def test_usage_that_comes_after_the_answer_is_still_told() -> None:
    gateway = Recorded(NEWEST, "ok")
    gateway.pause_before_response = 0.5
    _answer, used, _partials = ask(gateway)
    assert len(used) == 1


@pytest.mark.parametrize(
    ("version", "name", "left_out"),
    [
        (NEWEST, "ok", 2),  # end, but no chat final
        (NEWEST, "ok", 4),  # finishing, no end: the gateway may start the run anew
        (NEWEST, "media", 1),  # a file, which only the response names for certain
        ("2026.8.2", "ok", 1),  # an older gateway, whose end settles nothing
        ("2026.7.35", "ok", 1),
    ],
)
def test_nothing_else_settles_a_turn(version: str, name: str, left_out: int) -> None:
    gateway = Recorded(version, name, leave_out=left_out)

    async def run() -> None:
        async with gateway.serving() as base_url:
            client = GatewayClient(Endpoint(base_url, "t"))
            await client.connect()
            try:
                with pytest.raises(TimeoutError):
                    async with asyncio.timeout(0.5):
                        await client.ask(turn())
            finally:
                await client.close()

    asyncio.run(run())


URL = "https://files.example/a.png"


@pytest.mark.parametrize(
    ("stream", "change"),
    [
        ("lifecycle", {"terminalReceipt": {"successfulToolNames": ["read"]}}),
        ("lifecycle", {"terminalReceipt": {}}),  # it does not say what was used
        ("lifecycle", {"executionSettled": False}),
        ("lifecycle", {"executionSettled": None}),
        ("lifecycle", {"aborted": True}),
        ("lifecycle", {"stopReason": "aborted"}),
        ("lifecycle", {"phase": "error"}),
        ("lifecycle", {"terminalReply": {"disposition": "empty"}}),
        ("lifecycle", {"terminalReply": {}}),
        ("assistant", {"mediaUrls": [URL]}),
        ("assistant", {"mediaUrl": URL}),
    ],
)
def test_a_run_that_is_not_plainly_over_waits_for_its_response(stream: str, change: dict[str, Any]) -> None:
    gateway = Recorded(NEWEST, "ok", leave_out=1)
    for frame in gateway.frames:
        data = frame["payload"].get("data") or {}
        if frame["payload"].get("stream") == stream and data.get("phase", "end") == "end":
            data.update(change)

    async def run() -> None:
        async with gateway.serving() as base_url:
            client = GatewayClient(Endpoint(base_url, "t"))
            await client.connect()
            try:
                with pytest.raises(TimeoutError):
                    async with asyncio.timeout(0.4):
                        await client.ask(turn())
            finally:
                await client.close()

    asyncio.run(run())


# --- a lost turn ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("version", VERSIONS)
def test_a_lost_turn_is_recovered_whole(version: str) -> None:
    """12 000 characters: `agent.wait` cuts at 4095, and the transcript at 8000 unless it is asked for more."""
    gateway = Recorded(version, "ok", wait="long", history="long")
    answer = recover(gateway, Turn(SESSION, "main", "!long=12000", "fix-long"))
    assert answer
    (asked,) = [frame["params"] for frame in gateway.asked if frame["method"] == "chat.history"]
    assert asked["maxChars"] >= 100_000
    # The fixture was asked for without it.
    assert (len(answer.text), answer.is_cut) == (8000, True)
    assert answer.text.endswith("0123456789")


@pytest.mark.parametrize("version", VERSIONS[:2])
def test_an_answer_that_only_the_wait_knows_is_said_to_be_cut(version: str) -> None:
    answer = read_wait(load(version, "wait__long"))
    assert answer
    assert answer.is_cut
    short = read_wait(load(version, "wait__ok"))
    assert short == Answer("pong: hi", run_id="fix-ok")


@pytest.mark.parametrize("version", VERSIONS[:2])
def test_a_lost_silence_is_silence_and_nothing_is_not(version: str) -> None:
    silent = recover(Recorded(version, "ok", wait="silent"))
    assert silent == Answer("", run_id="fix-silent")
    with pytest.raises(GatewayError) as caught:
        recover(Recorded(version, "ok", wait="empty"))
    assert caught.value.code is Code.RUN_FAILED


@pytest.mark.parametrize("version", VERSIONS)
def test_a_lost_turn_that_was_aborted_is_aborted(version: str) -> None:
    gateway = Recorded(version, "ok", wait="aborted", history="aborted")
    with pytest.raises(GatewayError) as caught:
        recover(gateway, Turn(SESSION, "main", "!tokens=40 !slow=20", "fix-aborted"))
    assert caught.value.code is Code.RUN_ABORTED


def test_oldest_gateway_gives_the_answer_of_its_sessions_last_run() -> None:
    """No terminalReply, no run ids: the run's end and the session's are one moment."""
    answer = recover(Recorded("2026.7.35", "ok", wait="ok", history="ok"))
    assert answer
    assert (answer.text, answer.media) == ("pong: hi", ())


@pytest.mark.parametrize("name", ["ok", "silent"])
def test_what_the_oldest_gateway_does_not_say_is_unknown_and_never_empty(name: str) -> None:
    with pytest.raises(GatewayError) as caught:
        recover(Recorded("2026.7.35", "ok", wait=name))
    assert (caught.value.code, caught.value.action) == (Code.ANSWER_UNKNOWN, Action.PERMANENT)


def test_oldest_gateway_after_a_restart() -> None:
    """It does not know the run any more: what its transcript has is not asked again, what it has not may be."""
    history = load("2026.7.35", "history__ok")
    assert read_transcript(history).was_asked("hi")

    class Restarted(Recorded):
        async def _answer(self, socket: Any, frame: dict[str, Any]) -> None:
            if frame["method"] == "agent.wait":
                payload = {"runId": KEY, "status": "timeout"}
                await socket.send_json({"type": "res", "id": frame["id"], "ok": True, "payload": payload})
                return
            await super()._answer(socket, frame)

    with pytest.raises(GatewayError) as caught:
        recover(Restarted("2026.7.35", "ok", history="ok"))
    assert caught.value.code is Code.ANSWER_UNKNOWN
    assert recover(Restarted("2026.7.35", "ok", history="ok"), turn("another question")) is None


def test_file_turn_of_the_oldest_gateway_is_found_by_the_key_of_its_question() -> None:
    answer = read_transcript(load("2026.7.35", "history__file")).find_outcome("fix-file")
    assert answer
    assert answer.text.startswith("pong:")


# --- a time-out of ours -----------------------------------------------------------------------------------------------


class RefusesToAbort(Recorded):
    async def _answer(self, socket: web.WebSocketResponse, frame: dict[str, Any]) -> None:
        if frame["method"] != "chat.abort":
            await super()._answer(socket, frame)
            return
        self.asked.append(frame)
        error = {"code": "INVALID_REQUEST", "message": "unauthorized"}
        await socket.send_json({"type": "res", "id": frame["id"], "ok": False, "error": error})


@pytest.mark.parametrize("kind", [Recorded, RefusesToAbort])  # `aborted: false`, and an error
def test_a_turn_of_ours_that_could_not_be_aborted_is_unknown(kind: type[Recorded]) -> None:
    gateway = kind(NEWEST, "ok", leave_out=4)

    async def run() -> None:
        async with gateway.serving() as base_url:
            client = GatewayClient(Endpoint(base_url, "t"), grace=0.1)
            await client.connect()
            try:
                await client.ask(turn(timeout=0.2))
            finally:
                await client.close()

    with pytest.raises(GatewayError) as caught:
        asyncio.run(run())
    assert (caught.value.code, caught.value.action) == (Code.TIMEOUT, Action.UNKNOWN)
    aborts = [frame["params"] for frame in gateway.asked if frame["method"] == "chat.abort"]
    assert aborts == [{"sessionKey": SESSION, "runId": KEY}]
