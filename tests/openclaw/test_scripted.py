"""The client against a gateway that says, method by method, what it is told to say."""

from __future__ import annotations

import asyncio
import base64
from typing import TYPE_CHECKING, Any, TypeVar

import pytest

from channels_wechat.contract.explanations import Action
from openclaw import client as clients
from openclaw.client import HISTORY_LIMIT, LOOKS_AFTER_END, Answer, Attachment, Endpoint, GatewayClient, Turn, Usage
from openclaw.errors import Code, GatewayError
from openclaw.http import test_gateway as probe
from tests.openclaw.recorded import VERSIONS, Recorded, Scripted, load
from tests.openclaw.scripted import ANSWER, BUSY, KEY, SESSION, said, talk

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from aiohttp import web

    Found = TypeVar("Found")


FILE = Attachment("file", "a.txt", "text/plain", b"hello")
QUESTION = {"role": "user", "content": "hi", "idempotencyKey": f"{KEY}:user"}
NOT_ENDED = {"runId": KEY, "status": "timeout"}
ENDED = {"runId": KEY, "status": "ok", "endedAt": 1}


def turn(*files: Attachment, timeout: float = 20.0) -> Turn:
    return Turn(SESSION, "main", "hi", KEY, attachments=files, timeout=timeout)


def failure(gateway: Recorded, work: Callable[[GatewayClient], Awaitable[Any]], grace: float = 30.0) -> GatewayError:
    with pytest.raises(GatewayError) as caught:
        talk(gateway, work, grace=grace)
    return caught.value


# --- the time of a turn -----------------------------------------------------------------------------------------------


def test_a_gateway_has_a_grace_to_report_the_end_of_a_run() -> None:
    late = Recorded("2026.8.2", "ok")
    late.pause_before_response = 1.0
    assert talk(late, lambda client: client.ask(turn(timeout=0.2))).text == "pong: hi"


def test_a_gateway_may_take_longer_to_accept_a_turn_than_to_answer_a_question(monkeypatch: pytest.MonkeyPatch) -> None:
    """One that has just started does; a turn that it runs a minute later is not broken off."""
    monkeypatch.setattr(clients, "CALL_TIMEOUT", 0.2)
    late = Recorded("2026.9.6", "ok")
    late.pause_before_acceptance = 1.0
    assert talk(late, lambda client: client.ask(turn())).text == "pong: hi"


class AcceptsForEver(Scripted):
    async def _answer(self, socket: web.WebSocketResponse, frame: dict[str, Any]) -> None:
        if frame["method"] == "agent":
            self.accepting = asyncio.create_task(self._accept_for_ever(socket, frame["id"]))
        else:
            await super()._answer(socket, frame)

    async def _accept_for_ever(self, socket: web.WebSocketResponse, number: str) -> None:
        while not socket.closed:
            accepted = {"runId": KEY, "status": "accepted"}
            await socket.send_json({"type": "res", "id": number, "ok": True, "payload": accepted})
            await asyncio.sleep(0.05)


def test_a_run_that_is_accepted_again_and_again_has_no_longer_time() -> None:
    gateway = AcceptsForEver({"chat.abort": [{"aborted": False}]})
    error = failure(gateway, lambda client: client.ask(turn(timeout=0.3)), grace=0.1)
    assert (error.code, error.action) == (Code.TIMEOUT, Action.UNKNOWN)


STARTED = {"runId": KEY, "status": "started"}


@pytest.mark.parametrize(("sent", "waited"), [([STARTED], []), ([STARTED], [NOT_ENDED]), ([], [])])
def test_a_turn_with_a_file_that_outlasts_its_time_is_ended(
    sent: list[dict[str, Any]], waited: list[dict[str, Any]]
) -> None:
    """Whether the gateway says that the run goes on, or nothing, or does not even accept it."""
    gateway = Scripted(
        {
            "chat.history": [{"messages": []}],
            "chat.send": sent,
            "agent.wait": waited,
            "chat.abort": [{"ok": True, "aborted": True}],
        }
    )
    error = failure(gateway, lambda client: client.ask(turn(FILE, timeout=0.2)), grace=0.1)
    assert (error.code, error.action) == (Code.TIMEOUT, Action.PERMANENT)
    aborts = [frame["params"] for frame in gateway.asked if frame["method"] == "chat.abort"]
    assert aborts == [{"sessionKey": SESSION, "runId": KEY}]


@pytest.mark.parametrize("size", [100, 101])
def test_the_limits_of_the_gateway_itself_hold(size: int) -> None:
    policy = {"tickIntervalMs": 30_000, "attachments": {"maxImageBytes": 100}}
    hello = {"protocol": 4, "server": {"bootId": "boot"}, "auth": {"scopes": ["operator.read", "operator.write"]}}
    gateway = Scripted({"connect": [hello | {"policy": policy}], "agent": [BUSY]})
    image = Attachment("image", "a.png", "image/png", bytes(size))
    error = failure(gateway, lambda client: client.ask(turn(image)))
    assert error.code is (Code.UNAVAILABLE if size == 100 else Code.TOO_LARGE)


# --- turns with files -------------------------------------------------------------------------------------------------


def test_a_busy_session_is_waited_for_before_a_file_goes_there(monkeypatch: pytest.MonkeyPatch) -> None:
    """The gateway would mix the turn into the run it is busy with."""
    monkeypatch.setattr(clients, "POLL_SECONDS", 0.05)
    ended = load(VERSIONS[0], "wait__ok") | {"runId": KEY}
    busy = {"messages": [], "sessionInfo": {"status": "running"}}
    gateway = Scripted(
        {
            "chat.history": [busy, busy, {"messages": []}, {"messages": [QUESTION, ANSWER]}],
            "chat.send": [{"runId": KEY, "status": "started"}],
            "agent.wait": [ended],
        }
    )
    assert talk(gateway, lambda client: client.ask(turn(FILE))).text == "pong"
    assert [frame["method"] for frame in gateway.asked[1:]] == [
        *["chat.history"] * 3,
        *["chat.send", "agent.wait", "chat.history"],
    ]


def with_a_file(*rows: dict[str, Any], waited: dict[str, Any]) -> tuple[Answer, list[Usage]]:
    used: list[Usage] = []
    gateway = Scripted(
        {
            "chat.history": [{"messages": []}, {"messages": list(rows)}],
            "chat.send": [{"runId": KEY, "status": "started"}],
            "agent.wait": [waited],
        }
    )
    return talk(gateway, lambda client: client.ask(turn(FILE), on_usage=used.append)), used


@pytest.mark.parametrize("rows", [(QUESTION, ANSWER), (ANSWER,), (QUESTION, {**ANSWER, "__openclaw": {}})])
def test_the_transcript_has_the_answer_to_a_file_also_where_it_lacks_a_name(rows: tuple[dict[str, Any], ...]) -> None:
    """The question without its key, or the answer without its run, as gateways before 2026.8 leave them."""
    answer, _used = with_a_file(*rows, waited=ENDED)
    assert answer.text == "pong"


class Finishes(Scripted):
    """Its transcript names nothing, but the end of the run was heard."""

    async def _answer(self, socket: web.WebSocketResponse, frame: dict[str, Any]) -> None:
        if frame["method"] == "agent.wait":
            await socket.send_json({"type": "event", "event": "chat", "payload": said(KEY, "pong")})
        await super()._answer(socket, frame)


def test_what_was_heard_of_a_run_is_its_answer_where_the_transcript_has_none() -> None:
    answers = {"chat.history": [{"messages": []}], "chat.send": [{"status": "started"}], "agent.wait": [ENDED]}
    for ask in (lambda client: client.ask(turn(FILE)), lambda client: client.recover(turn())):
        assert talk(Finishes({**answers}), ask) == Answer("pong", run_id=KEY)
        error = failure(Scripted({**answers}), ask)
        assert (error.code, error.action) == (Code.ANSWER_UNKNOWN, Action.PERMANENT)


def test_what_a_turn_with_a_file_took_is_told() -> None:
    usage = {"input": 600, "output": 5, "cacheRead": 400, "cacheWrite": 1, "cost": {"total": 0.5}}
    row = {**ANSWER, "provider": "mock", "model": "mock-1", "usage": usage}
    _answer, used = with_a_file(QUESTION, row, waited=ENDED)
    assert used == [Usage("mock/mock-1", 600, 5, 400, 1, 0.5)]


# --- lost turns -------------------------------------------------------------------------------------------------------


def recover(gateway: Recorded) -> Answer | None:
    return talk(gateway, lambda client: client.recover(turn()))


@pytest.mark.parametrize(
    ("error", "action"),
    [
        (BUSY, Action.UNKNOWN),
        ({"code": "UNAVAILABLE", "message": "draining"}, Action.UNKNOWN),
        ({"code": "FORBIDDEN"}, Action.CONFIG),
        ({"code": "INVALID_REQUEST"}, Action.PERMANENT),
    ],
)
def test_what_keeps_us_from_finding_out_says_nothing_of_the_run(error: dict[str, Any], action: Action) -> None:
    gateway = Scripted({"agent.wait": [NOT_ENDED], "chat.history": [error]})
    assert failure(gateway, lambda client: client.recover(turn())).action is action


@pytest.mark.parametrize(
    ("version", "first", "is_waited_for"),
    [
        (VERSIONS[0], {"sessionInfo": {"activeRunIds": [KEY]}}, True),
        (VERSIONS[0], {"pendingInputs": {"items": [{"runId": KEY, "state": "queued"}]}}, True),
        (VERSIONS[0], {"messages": [QUESTION], "sessionInfo": {"status": "running"}}, True),
        (VERSIONS[2], {"sessionInfo": {"status": "running"}}, True),  # it names no runs: this may be ours
        (VERSIONS[0], {"sessionInfo": {"status": "running"}}, False),
        (VERSIONS[0], {"sessionInfo": {"activeRunIds": ["another"]}}, False),
        (VERSIONS[0], {"pendingInputs": {"items": [{"runId": KEY, "state": "interrupted"}]}}, False),
        (VERSIONS[0], {"messages": [QUESTION], "sessionInfo": {"status": "done"}}, False),
    ],
)
def test_a_lost_turn_is_waited_for_while_it_may_still_be_answered(
    version: str, first: dict[str, Any], is_waited_for: bool
) -> None:
    answered = {"messages": [QUESTION, ANSWER]}
    gateway = Scripted({"agent.wait": [NOT_ENDED], "chat.history": [first, answered]}, version)
    answer = recover(gateway)
    assert (answer.text if answer else None) == ("pong" if is_waited_for else None)
    (asked, *_more) = [frame["params"] for frame in gateway.asked if frame["method"] == "chat.history"]
    assert asked["limit"] == HISTORY_LIMIT


RUNNING = {"messages": [QUESTION], "sessionInfo": {"status": "running"}}
DONE = {"messages": [QUESTION], "sessionInfo": {"status": "done"}}


def test_an_answer_that_is_written_after_the_end_of_its_run_is_found() -> None:
    """None would have the question asked again, though its answer is there a moment later."""
    written = [RUNNING, *[DONE] * LOOKS_AFTER_END, {"messages": [QUESTION, ANSWER]}]
    answer = recover(Scripted({"agent.wait": [NOT_ENDED], "chat.history": written}))
    assert answer
    assert answer.text == "pong"


def test_a_run_that_ends_without_an_answer_is_asked_again() -> None:
    gateway = Scripted({"agent.wait": [NOT_ENDED], "chat.history": [RUNNING, DONE, RUNNING, DONE]})
    assert recover(gateway) is None
    looks = [frame for frame in gateway.asked if frame["method"] == "chat.history"]
    assert len(looks) == 3 + LOOKS_AFTER_END + 1


def test_what_a_resumed_run_took_is_told() -> None:
    used: list[Usage] = []
    resumed = {"role": "user", "content": "go on", "idempotencyKey": "new:user"}
    resumed["provenance"] = {"sourceTool": "main_session_restart_recovery"}  # type: ignore[assignment]
    row = {**ANSWER, "__openclaw": {"runId": "new"}, "model": "m", "usage": {"input": 7}}
    gateway = Scripted({"agent.wait": [NOT_ENDED], "chat.history": [{"messages": [QUESTION, resumed, row]}]})
    answer = talk(gateway, lambda client: client.recover(turn(), on_usage=used.append))
    assert (answer, used) == (Answer("pong", run_id="new"), [Usage("m", input=7)])


# --- artifacts --------------------------------------------------------------------------------------------------------


def download(*said: dict[str, Any]) -> bytes:
    return talk(Scripted({"artifacts.download": list(said)}), lambda client: client.download(SESSION, "artifact_1"))


def test_an_artifact_comes_in_base64() -> None:
    assert download({"encoding": "base64", "data": base64.b64encode(b"\x89PNG").decode()}) == b"\x89PNG"


@pytest.mark.parametrize(
    ("said", "code"),
    [
        ({"code": "INVALID_REQUEST", "message": "artifact not found"}, Code.MEDIA_GONE),
        (BUSY, Code.UNAVAILABLE),
        ({"code": "FORBIDDEN"}, Code.MISSING_SCOPE),
        ({"encoding": "base64", "data": "abc"}, Code.MEDIA_GONE),
        *(
            ({"url": url}, Code.MEDIA_GONE)
            for url in ("", "//files.example/a", "https://files.example/a", "files/a", "/nowhere")
        ),
    ],
)
def test_an_artifact_that_cannot_be_had_is_named_by_its_cause(said: dict[str, Any], code: Code) -> None:
    with pytest.raises(GatewayError) as caught:
        download(said)
    assert caught.value.code is code


# --- Test -------------------------------------------------------------------------------------------------------------


class Slow(Scripted):
    async def _answer(self, socket: web.WebSocketResponse, frame: dict[str, Any]) -> None:
        if frame["method"] == "agents.list":
            await asyncio.sleep(0.3)
        await super()._answer(socket, frame)

    def _hello(self, scopes: list[str]) -> dict[str, Any]:
        hello = super()._hello(scopes)
        return hello | {"auth": hello["auth"] | {"deviceToken": "given"}}


def test_a_test_tells_milliseconds_and_hands_over_the_device_s_token() -> None:
    async def run() -> Any:
        async with Slow({"agents.list": [{"agents": [{"id": "main"}]}]}).serving() as base_url:
            return await asyncio.to_thread(probe, Endpoint(base_url, "t"))

    found = asyncio.run(run())
    assert found.latency_ms >= 290
    assert found.device_token == "given"  # noqa: S105 - no secret
