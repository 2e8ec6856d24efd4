"""Frames of a real gateway (2026.9.6), one fixture each."""

from __future__ import annotations

from typing import Any

import pytest

from channels_wechat.contract.explanations import Action
from openclaw import frames
from openclaw.errors import Code, GatewayError
from openclaw.reading import (
    WAIT_LIMIT,
    EventSummary,
    answer_from_text,
    is_silent_so_far,
    make_run_error,
    read_agents,
    read_error,
    read_granted_scopes,
    read_hello,
    read_message_text,
    read_result,
    read_usage,
    read_wait,
)
from openclaw.turns import AgentInfo, Answer, MediaRef, Policy, Usage
from tests.openclaw.frames import asked, load, told, transcript

GATEWAYS_OWN_SENTENCES = [
    "The agent run failed before producing a reply.",
    "[assistant turn failed before producing content]",
    "⚠️ Agent couldn't generate a response. Please try again.",
]


def result(name: str) -> dict[str, Any]:
    return load(f"result__{name}")["payload"]


def test_hello_tells_version_boot_and_limits() -> None:
    hello = read_hello(load("hello"))
    assert (hello.protocol, hello.version, len(hello.boot_id)) == (4, "2026.9.6", 36)
    assert hello.policy.tick_interval == 30.0
    assert hello.policy.image_bytes == 6_291_456


def test_a_gateway_with_other_limits_is_believed() -> None:
    policy = {"maxPayload": 1_000, "tickIntervalMs": 5_000, "attachments": {"maxBytes": 200, "maxImageBytes": 100}}
    assert read_hello({"policy": policy}).policy == Policy(
        max_payload=1_000, attachment_bytes=200, image_bytes=100, tick_interval=5.0
    )
    assert read_hello({"policy": {"attachments": {}}}).policy == read_hello({}).policy == Policy()


@pytest.mark.parametrize("value", [True, False, None, "5", [5], 10**400, float("nan"), float("inf"), -1, 1e13])
def test_what_is_no_span_of_time_is_none(value: Any) -> None:
    assert frames.as_seconds(value) is None
    assert read_hello({"policy": {"tickIntervalMs": value}}).policy.tick_interval == 30.0


def test_a_span_of_time_comes_in_milliseconds() -> None:
    assert [frames.as_seconds(value) for value in (0, 1, 1500, 2.5, 1e12)] == [0.0, 0.001, 1.5, 0.0025, 1e9]


def test_hello_gives_the_device_its_token_and_says_what_it_may() -> None:
    payload = {"auth": {"role": "operator", "deviceToken": "given", "scopes": ["operator.read", 7]}}
    assert read_hello(payload).device_token == "given"
    assert read_granted_scopes(payload) == {"operator.read"}


def test_agents_are_named_with_their_models() -> None:
    agents = [{"id": "main", "name": "Main", "model": {"primary": "mock/mock-1"}}, {"id": "second"}, {"name": "none"}]
    assert read_agents({"agents": agents}) == [AgentInfo("main", "Main", "mock/mock-1"), AgentInfo("second")]


def test_completed_run_is_an_answer() -> None:
    answer = read_result(result("ok"))
    assert (answer.text, answer.media, answer.run_id) == ("pong: hello", (), "fix-ok")


def test_named_address_is_media() -> None:
    answer = read_result(result("media"))
    assert answer.text == ""
    assert answer.media == (MediaRef(url="https://files.example/a.png", name="a.png"),)


def test_path_on_the_gateways_disk_is_missing_and_never_media() -> None:
    answer = read_result(result("local_media"))
    assert (answer.media, answer.missing) == ((), ("a.png",))


def test_failed_run_is_an_error_by_the_models_reason() -> None:
    reason = load("chat__failed")["errorDetail"]["failoverReason"]
    with pytest.raises(GatewayError) as caught:
        read_result(result("failed"), EventSummary(reason))
    assert (caught.value.code, caught.value.action) == (Code.RUN_FAILED, Action.PERMANENT)
    with pytest.raises(GatewayError) as caught:
        read_result(result("failed"), EventSummary("server_error"))
    assert caught.value.action is Action.RETRY


@pytest.mark.parametrize("name", ["timeout"])
def test_run_over_its_time_is_an_error_although_it_has_a_text(name: str) -> None:
    with pytest.raises(GatewayError) as caught:
        read_result(result(name))
    assert (caught.value.code, caught.value.action) == (Code.TIMEOUT, Action.PERMANENT)
    with pytest.raises(GatewayError) as caught:
        read_wait(load(f"wait__{name}"))
    assert caught.value.code is Code.TIMEOUT


@pytest.mark.parametrize(("pause", "seconds"), [("1 minute", 60.0), ("45 seconds", 45.0), ("2 hours", 7200.0)])
def test_a_model_that_is_left_alone_for_a_while_is_asked_again_after_it(pause: str, seconds: float) -> None:
    """The sentence of gateway 2026.9.6 after its model answered 401."""
    said = 'Inline API key for provider "mock" is temporarily disabled after a provider auth/billing failure. '
    with pytest.raises(GatewayError) as caught:
        read_result({"status": "error", "summary": f"{said}Retry after about {pause}, or switch to another key."})
    assert (caught.value.action, caught.value.retry_after) == (Action.RETRY, seconds)


@pytest.mark.parametrize(
    ("reason", "action"),
    [
        *((reason, Action.PERMANENT) for reason in ("format", "auth", "auth_permanent", "billing", "model_not_found")),
        *((reason, Action.RETRY) for reason in ("server_error", "rate_limit", "timeout", "")),
    ],
)
def test_what_no_repetition_cures_is_not_repeated(reason: str, action: Action) -> None:
    assert make_run_error("it broke", EventSummary(reason)).action is action


@pytest.mark.parametrize("reason", ["rpc", "aborted", "abort", "user"])
def test_a_run_that_somebody_broke_off_is_aborted_under_every_name(reason: str) -> None:
    payload = {"status": "error", "stopReason": reason, "summary": "broken off"}
    for read in (read_result, read_wait):
        with pytest.raises(GatewayError) as caught:
            read(payload)
        assert (caught.value.code, caught.value.action) == (Code.RUN_ABORTED, Action.PERMANENT)
        with pytest.raises(GatewayError) as caught:
            read({**payload, "timeoutPhase": "model"})
        assert caught.value.code is Code.TIMEOUT


def test_only_a_run_whose_result_says_so_is_aborted() -> None:
    result: dict[str, Any] = {"payloads": [{"text": "pong"}], "meta": {"aborted": False}}
    assert read_result({"status": "ok", "stopReason": "stop", "result": result}).text == "pong"
    result["meta"] = {"aborted": True}
    with pytest.raises(GatewayError, match="run_aborted"):
        read_result({"status": "ok", "stopReason": "stop", "result": result})
    with pytest.raises(GatewayError, match="run_aborted"):
        read_wait({"status": "ok"}, EventSummary(was_cancelled=True))


def test_only_a_text_of_full_length_with_an_ellipsis_is_cut() -> None:
    def wait(said: str) -> Answer:
        answer = read_wait({"status": "ok", "terminalReply": {"disposition": "visible", "text": said}})
        assert answer
        return answer

    assert wait("x" * WAIT_LIMIT + "…").is_cut
    assert not wait("and so on…").is_cut
    assert not wait("x" * WAIT_LIMIT).is_cut


def test_a_failure_is_told_by_whichever_text_there_is() -> None:
    for words in ({"summary": "it broke", "error": "other"}, {"error": "it broke"}):
        with pytest.raises(GatewayError, match="it broke"):
            read_result({"status": "error", **words})


def test_wait_gives_the_text_of_a_completed_run() -> None:
    assert read_wait(load("wait__ok")).text == "pong: hello"
    assert read_wait(load("wait__media")).media == (MediaRef(url="https://files.example/a.png", name="a.png"),)
    with pytest.raises(GatewayError, match="run_failed"):
        read_wait(load("wait__failed"))


@pytest.mark.parametrize(
    "payload",
    [
        {"status": "ok", "result": {"payloads": [{"text": "⚠️ it broke", "isError": True}]}},
        *({"status": "ok", "result": {"payloads": [{"text": f"{said}\n"}]}} for said in GATEWAYS_OWN_SENTENCES),
        {"status": "error", "summary": "it broke"},
    ],
)
def test_gateways_own_sentences_are_no_answer(payload: dict[str, Any]) -> None:
    with pytest.raises(GatewayError) as caught:
        read_result(payload)
    assert caught.value.code is Code.RUN_FAILED


@pytest.mark.parametrize("said", GATEWAYS_OWN_SENTENCES)
def test_gateways_own_sentences_are_no_answer_to_a_lost_turn(said: str) -> None:
    with pytest.raises(GatewayError) as caught:
        read_wait({"status": "ok", "terminalReply": {"disposition": "visible", "text": said}})
    assert caught.value.code is Code.RUN_FAILED
    assert transcript(asked("k"), told("k", said)).find_outcome("k") is None


@pytest.mark.parametrize(
    "payload",
    [
        {},
        {"status": "ok"},
        {"status": "OK", "result": {"payloads": []}},
        {"status": 5, "result": {"payloads": [{"text": "hello"}]}},
        {"summary": "no status at all"},
        {"status": "ok", "result": []},
        {"status": "ok", "result": {"payloads": None}},
        {"status": "ok", "result": {"payloads": {"text": "hello"}}},
        {"status": "ok", "result": {"payloads": ["hello"]}},
        {"status": "ok", "result": {"payloads": [{"text": ["hello"]}]}},
        {"status": "ok", "result": {"payloads": [{"text": None, "mediaUrls": []}]}},
        {"status": "ok", "result": {"payloads": [{"words": "hello"}]}},
    ],
)
def test_an_answer_that_cannot_be_read_is_neither_silence_nor_a_failed_run(payload: dict[str, Any]) -> None:
    """Silence would be settled as delivered, and a failed run be asked again, while the gateway has the answer."""
    with pytest.raises(GatewayError) as caught:
        read_result(payload)
    assert (caught.value.code, caught.value.action) == (Code.UNREADABLE, Action.UNKNOWN)


def test_an_empty_list_is_silence_and_a_file_needs_no_text() -> None:
    assert read_result({"status": "ok", "result": {"payloads": []}}).text == ""
    named = {"text": None, "mediaUrl": "https://files.example/a.png"}
    assert len(read_result({"status": "ok", "result": {"payloads": [named]}}).media) == 1


def test_what_a_gateway_says_of_itself_is_bounded() -> None:
    assert read_hello({"policy": {"tickIntervalMs": 10**11}}).policy.tick_interval == 300.0
    agents = read_agents(
        {"agents": [{"id": "x" * 5000, "name": "y" * 5000}, {"id": 7}, *({"id": "z"} for _n in range(2000))]}
    )
    assert (len(agents[0].id), len(agents[0].name), len(agents)) == (200, 200, 499)
    assert read_error({"code": "UNAVAILABLE", "message": "draining", "retryAfterMs": 10**12}).retry_after == 3600.0
    used = {"usage": {"input": -5, "output": 7}, "provider": "p" * 5000, "model": "m"}
    usage = read_usage({"result": {"meta": {"agentMeta": used}}})
    assert usage is not None
    assert (usage.input, usage.output, len(usage.model)) == (0, 7, 200)


@pytest.mark.parametrize("request_id", ["x; rm -rf ~", "$(id)", "a\nb", "é", "x" * 101, ["x"]])
def test_what_staff_paste_into_a_shell_is_an_id(request_id: Any) -> None:
    details = {"code": "PAIRING_REQUIRED", "requestId": request_id}
    assert read_error({"code": "NOT_PAIRED", "details": details}).request_id == ""
    assert read_error({"code": "NOT_PAIRED", "details": {**details, "requestId": "req-1_A"}}).request_id == "req-1_A"


def test_payload_texts_are_joined_and_errors_among_them_left_out() -> None:
    payloads = [{"text": "one"}, {"text": "⚠️ a tool failed", "isError": True}, {"text": "two", "mediaUrls": [7]}]
    assert read_result({"status": "ok", "result": {"payloads": payloads}}).text == "one\n\ntwo"


@pytest.mark.parametrize(
    ("cost", "meta", "found"),
    [({"total": 0.5}, {"costUsd": 0.7}, 0.5), ({}, {"costUsd": 0.7}, 0.7), ({}, {}, None), ({"total": 0}, {"costUsd": 0.7}, 0.0)],
)  # fmt: skip
def test_usage_has_each_count_and_the_cost_where_it_is_told(cost: Any, meta: Any, found: float | None) -> None:
    usage = {"input": 1, "output": 2, "cacheRead": 3, "cacheWrite": 4, "cost": cost}
    agent = {"provider": "mock", "model": "mock-1", "usage": usage}
    assert read_usage({"result": {"meta": {"agentMeta": agent, **meta}}}) == Usage("mock/mock-1", 1, 2, 3, 4, found)


def test_each_file_is_named_once_by_its_name_in_the_address() -> None:
    said = "look\nMEDIA: http://files.example/a.png?token=t#x \nMEDIA:https://files.example/b/\nMEDIA:/tmp/c.pdf\nMEDIA:/tmp/c.pdf"
    answer = answer_from_text(f"{said}\nMEDIA:https://files.example/b/", (), "k")
    assert [(media.url, media.name) for media in answer.media] == [
        ("http://files.example/a.png?token=t#x", "a.png"),
        ("https://files.example/b/", "b"),
    ]
    assert (answer.text, answer.missing) == ("look", ("c.pdf",))


def test_only_what_the_agent_says_is_text() -> None:
    blocks = [{"type": "thinking", "text": "why"}, {"type": "text", "text": "po"}, {"type": "text", "text": "ng"}]
    assert read_message_text({"content": blocks}) == read_message_text({"content": "pong"}) == "pong"


def test_no_reply_is_an_empty_answer() -> None:
    assert read_result({"status": "ok", "result": {"payloads": [{"text": " NO_REPLY\n"}]}}).text == ""
    assert all(is_silent_so_far(said) for said in ("", " ", "N", "NO_R", " NO_REPLY\n"))
    assert not any(is_silent_so_far(said) for said in ("no", "NO_REPLY!", "O_R"))
    assert not is_silent_so_far("NO WAY")


def test_image_block_of_the_final_event_is_an_artifact() -> None:
    final = {"content": [{"type": "image", "artifactId": "artifact_1", "title": "a.png", "mimeType": "image/png"}]}
    answer = read_result({"status": "ok", "result": {"payloads": []}}, EventSummary(final=final))
    assert answer.media == (MediaRef(artifact_id="artifact_1", name="a.png", mime="image/png"),)


@pytest.mark.parametrize(
    ("error", "code", "action"),
    [
        ({"code": "INVALID_REQUEST", "details": {"code": "PROTOCOL_MISMATCH"}}, Code.PROTOCOL_MISMATCH, Action.CONFIG),
        ({"code": "INVALID_REQUEST", "details": {"code": "AUTH_TOKEN_MISMATCH"}}, Code.BAD_TOKEN, Action.CONFIG),
        ({"code": "INVALID_REQUEST", "details": {"code": "AUTH_TOKEN_MISSING"}}, Code.BAD_TOKEN, Action.CONFIG),
        ({"code": "INVALID_REQUEST", "details": {"code": "DEVICE_AUTH_INVALID"}}, Code.BAD_TOKEN, Action.CONFIG),
        ({"code": "X", "details": {"code": "DEVICE_IDENTITY_REQUIRED"}}, Code.MISSING_SCOPE, Action.CONFIG),
        ({"code": "UNAVAILABLE", "details": {"code": "AUTH_RATE_LIMITED"}}, Code.LOCKED_OUT, Action.WAIT),
        ({"code": "NOT_PAIRED", "details": {"code": "PAIRING_REQUIRED"}}, Code.PAIRING_REQUIRED, Action.CONFIG),
        ({"code": "INVALID_REQUEST", "details": {"code": "AUTH_SCOPE_MISMATCH"}}, Code.MISSING_SCOPE, Action.CONFIG),
        ({"code": "FORBIDDEN", "message": "missing scope: operator.admin"}, Code.MISSING_SCOPE, Action.CONFIG),
        ({"code": "INVALID_REQUEST", "message": 'unknown agent id "ghost"'}, Code.UNKNOWN_AGENT, Action.PERMANENT),
        (
            {"code": "INVALID_REQUEST", "message": 'Agent "ghost" no longer exists in configuration'},
            Code.UNKNOWN_AGENT,
            Action.PERMANENT,
        ),
        ({"code": "UNAVAILABLE", "details": {"reason": "startup-sidecars"}}, Code.STARTING, Action.WAIT),
        ({"code": "UNAVAILABLE", "message": "gateway is draining for restart"}, Code.DRAINING, Action.WAIT),
        ({"code": "UNAVAILABLE", "details": {"reason": "gateway-draining"}}, Code.DRAINING, Action.WAIT),
        *(
            ({"code": "UNAVAILABLE", "message": f"the gateway {does}"}, Code.DRAINING, Action.WAIT)
            for does in ("is draining", "Restarts", "is shutting down", "is suspended")
        ),
        ({"code": "INVALID_REQUEST", "message": "cannot restart"}, Code.INVALID_REQUEST, Action.PERMANENT),
        ({"code": "NOT_PAIRED"}, Code.PAIRING_REQUIRED, Action.CONFIG),
        ({"code": "X", "details": {"code": "CONTROL_UI_DEVICE_IDENTITY_REQUIRED"}}, Code.MISSING_SCOPE, Action.CONFIG),
        ({"code": "INVALID_REQUEST", "details": {"code": "MISSING_SCOPE"}}, Code.MISSING_SCOPE, Action.CONFIG),
        ({"code": "FORBIDDEN"}, Code.MISSING_SCOPE, Action.CONFIG),
        ({"code": "X", "message": "missing scope: operator.write"}, Code.MISSING_SCOPE, Action.CONFIG),
        ({"code": "X", "details": {"code": "UNKNOWN_AGENT_ID"}}, Code.UNKNOWN_AGENT, Action.PERMANENT),
        ({"code": "INVALID_REQUEST", "message": 'Agent "ghost" not found'}, Code.UNKNOWN_AGENT, Action.PERMANENT),
        (
            {"code": "INVALID_REQUEST", "message": 'session belongs to "main", not "second"'},
            Code.UNKNOWN_AGENT,
            Action.PERMANENT,
        ),
        ({"code": "INVALID_REQUEST", "message": "session not found"}, Code.INVALID_REQUEST, Action.PERMANENT),
        ({"code": "UNAVAILABLE", "message": "busy"}, Code.UNAVAILABLE, Action.RETRY),
        ({"code": "INVALID_REQUEST", "message": "invalid agent params"}, Code.INVALID_REQUEST, Action.PERMANENT),
        ({}, Code.INVALID_REQUEST, Action.PERMANENT),
    ],
)
def test_error_by_name(error: dict[str, Any], code: Code, action: Action) -> None:
    named = read_error(error)
    assert (named.code, named.action) == (code, action)


def test_error_keeps_the_wait_and_the_pairing_request() -> None:
    assert read_error({"details": {"code": "AUTH_RATE_LIMITED"}, "retryAfterMs": 299_500}).retry_after == 299.5
    assert read_error({"details": {"code": "AUTH_RATE_LIMITED"}}).retry_after == 300.0
    assert read_error({"details": {"code": "AUTH_RATE_LIMITED", "retryAfterMs": 7000}}).retry_after == 7.0
    assert read_error({"code": "UNAVAILABLE", "details": {"reason": "startup-sidecars"}}).retry_after == 1.0
    assert read_error({"code": "UNAVAILABLE", "message": "draining"}).retry_after == 1.0
    assert read_error({"code": "UNAVAILABLE", "message": "busy"}).retry_after is None
    paired = read_error({"code": "NOT_PAIRED", "details": {"code": "PAIRING_REQUIRED", "requestId": "r-1"}})
    assert paired.request_id == "r-1"
