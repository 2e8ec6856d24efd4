"""The whole round trip: simulated WeCom → the bridge's own processes → a real OpenClaw gateway with a mock model → WeCom."""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING, Any

import pytest
from django.test.utils import setup_databases, teardown_databases

from accounts.health import Health
from bridge.demo import world
from bridge.models import Contact, Message, Outcome, Reason, State
from openclaw.stub.answers import make_picture
from tests.real.openclaw_lab import OpenClawLab
from tests.real.running import RunningBridge

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from pytest_django.plugin import DjangoDbBlocker

    from openclaw.models import Gateway
    from tests.real.mock_model import Call

pytestmark = pytest.mark.heavy
COMMANDS = {"new": "已开始新的会话。", "stop": "已停止。"}
THINKING = "<think></think>"  # shown by the platform's client as its own sign of a bot at work
APOLOGY = "抱歉，处理时出了问题，请稍后再试。"


@pytest.fixture(scope="module")
def database(django_db_blocker: DjangoDbBlocker) -> Iterator[None]:
    """One for the module, without a transaction around a test: the processes must see what a test writes."""
    with django_db_blocker.unblock():
        made = setup_databases(0, interactive=False, serialized_aliases=[])
        yield
        teardown_databases(made, 0)


@pytest.fixture(scope="module")
def bridge(tmp_path_factory: pytest.TempPathFactory, database: None) -> Iterator[RunningBridge]:
    """Warm: every agent has answered once, and the names of the members are known."""
    folder = tmp_path_factory.mktemp("bridge")
    with OpenClawLab(folder / "openclaw") as lab, RunningBridge(folder, lab) as running:
        running.warm_up()
        assert running.answer(running.to_bot("hello", from_="lisi")) == "pong: hello"
        running.simulator.wait_for(lambda: not Contact.objects.filter(name="").exists())
        yield running


def calls_about(bridge: RunningBridge, word: str) -> list[Call]:
    return [call for call in bridge.lab.model.calls if word in call.text]


def begun(bridge: RunningBridge, said: dict[str, Any]) -> str:
    """Some of the answer is shown already, and it is not complete."""
    silent = ("", THINKING)
    (entry,) = bridge.simulator.wait_for(lambda: [one for one in bridge.shown(said) if one["text"] not in silent])
    assert entry["streaming"]
    return str(entry["text"])


def everything_shown(bridge: RunningBridge, until: Callable[[], object], seconds: float) -> set[str]:
    """Every text that any member saw from anybody but a member, at any moment until then."""
    seen: set[str] = set()

    def look() -> object:
        done = until()  # first, so that the last look sees what came with it
        for chat in bridge.simulator.chats():
            seen.update(e["text"] for e in bridge.simulator.transcript(chat["chat"]) if e["via"] != "member")
        return done

    bridge.simulator.wait_for(look, seconds, interval=0.3)
    return seen


def test_a_group_sees_the_answer_grow(bridge: RunningBridge) -> None:
    said = bridge.to_group("数到二十 !tokens=20 !slow=4")
    whole = " ".join(f"w{number}" for number in range(20))
    partial = begun(bridge, said)
    assert whole.startswith(partial)
    assert len(partial) < len(whole)
    assert bridge.answer(said) == whole
    (call,) = calls_about(bridge, "数到二十")
    assert "张三" in call.text
    assert "数到二十 !tokens=20 !slow=4" in call.text
    told = str(call.body["messages"])
    assert [word for word in (f"the group “{world.GROUP_NAME}”", "张三 (user id zhangsan)") if word not in told] == []
    assert bridge.turn(said).state == State.DELIVERED
    assert bridge.sent(said) == [(whole, State.DELIVERED)]


def test_one_to_one_through_the_app(bridge: RunningBridge) -> None:
    said = bridge.to_app("周报什么时候交?")
    assert bridge.answer(said) == "pong: 周报什么时候交?"
    (call,) = calls_about(bridge, "周报")
    assert "a private chat" in str(call.body["messages"])
    assert "李四 (user id lisi)" in str(call.body["messages"])
    assert bridge.sent(said) == [("pong: 周报什么时候交?", State.DELIVERED)]


def test_a_picture_from_a_group_reaches_the_model(bridge: RunningBridge) -> None:
    items = [
        {"kind": "text", "text": "这是什么图"},
        {"kind": "image", "data": base64.b64encode(make_picture(1)).decode()},
    ]
    said = bridge.to_group("", kind="mixed", items=items)
    bridge.answer(said)
    (call,) = calls_about(bridge, "这是什么图")
    assert [url[:11] for url in call.images] == ["data:image/"]


def test_a_file_from_one_person_reaches_the_model(bridge: RunningBridge) -> None:
    said = bridge.to_bot("", kind="file", name="notes.txt", data="the secret word is 芝麻".encode())
    bridge.answer(said)
    assert "芝麻" in str(bridge.lab.model.calls[-1].body["messages"])


def test_a_failed_turn_is_shown_to_staff_and_not_to_the_group(bridge: RunningBridge) -> None:
    """The lane goes on with the next message, and nothing is wrong with the gateway itself."""
    said = bridge.to_group("!fail=400")
    following = bridge.to_group("and now?")
    assert bridge.answer(said) == APOLOGY
    assert bridge.answer(following).endswith("张三 (zhangsan): and now?")
    turn = bridge.turn(said)
    assert (turn.state, turn.reason, turn.tries) == (State.DEAD, Reason.PERMANENT, 1)
    assert [(attempt.outcome, attempt.code) for attempt in turn.attempts.all()] == [("error", "run_failed")]
    assert "The agent's run failed at the gateway" in turn.error
    assert bridge.sent(said) == []
    assert (bridge.gateway.state, bridge.gateway.state_code) == (Health.OK, "")


def test_a_turn_that_may_work_later_is_tried_again_and_then_given_up(bridge: RunningBridge) -> None:
    """HTTP 413 is what the gateway gives up on soonest: after seconds, where an overloaded model takes it a minute."""
    chat = bridge.group("wrRetry", "重试")
    said = bridge.to_group("!fail=413", chat)
    assert bridge.answer(said) == APOLOGY
    turn = bridge.turn(said)
    assert (turn.state, turn.reason, turn.tries) == (State.DEAD, Reason.TRIES_SPENT, 4)
    keys = [attempt.request["ask"] for attempt in turn.attempts.order_by("number")]
    assert keys == [f"{turn.pk}.{run}" for run in range(turn.run_number - 3, turn.run_number + 1)]
    assert [entry["text"] for entry in bridge.simulator.transcript(chat) if entry["via"] != "member"] == [APOLOGY]


def test_a_person_is_told_once_that_a_turn_failed(bridge: RunningBridge) -> None:
    said = bridge.to_app("!fail=400")
    assert bridge.answer(said) == APOLOGY
    assert bridge.answer(bridge.to_app("and now?")) == "pong: and now?"
    assert bridge.turn(said).state == State.DEAD


def test_a_wrong_token_stops_the_gateway_until_staff_enter_the_right_one(bridge: RunningBridge) -> None:
    enter_token(bridge.gateway, "wrong")
    bridge.simulator.wait_for(lambda: bridge.gateway.state == Health.STOPPED)
    assert bridge.gateway.state_code == "bad_token"
    waiting = [bridge.to_group("still there?"), bridge.to_app("still there?")]
    bridge.simulator.wait_for(lambda: all(bridge.simulator.wait_taken(said) for said in waiting))
    bridge.simulator.wait_for(lambda: Message.objects.filter(text="still there?", routed_at__isnull=False).count() == 2)
    assert [bridge.turn(said).state for said in waiting] == [State.PENDING] * 2
    assert [entry["text"] for said in waiting for entry in bridge.shown(said)] == [THINKING]
    enter_token(bridge.gateway, bridge.lab.token)
    assert [bridge.answer(said) for said in waiting] == ["pong: 张三 (zhangsan): still there?", "pong: still there?"]
    assert [bridge.turn(said).tries for said in waiting] == [1, 1]
    assert bridge.gateway.state == Health.OK


def test_a_turn_that_the_gateway_cannot_start_is_answered_after_its_restart(bridge: RunningBridge) -> None:
    """Its own database was locked for a moment, and it keeps that failure. No model is asked, and the person hears nothing."""
    with bridge.lab.locked():
        said = bridge.to_app("locked?")
        assert bridge.wait_until_answered([said]) == "stuck"
    bridge.restart_gateway()
    assert bridge.wait_until_answered([said]) == "answered"
    assert bridge.answer(said) == "pong: locked?"
    *before, last = bridge.turn(said).attempts.order_by("number")
    assert "run_not_started" in {attempt.code for attempt in before}
    assert last.outcome == Outcome.OK
    assert len(calls_about(bridge, "locked?")) == 1
    bridge.warm_up()


def test_new_begins_a_session_that_remembers_nothing(bridge: RunningBridge) -> None:
    bridge.answer(bridge.to_app("the password is melon"))
    bridge.answer(bridge.to_app("which password?"))
    assert "melon" in str(calls_about(bridge, "which password?")[-1].body["messages"])
    assert bridge.answer(bridge.to_app("/new")) == COMMANDS["new"]
    assert bridge.answer(bridge.to_app("which password now?")) == "pong: which password now?"
    assert "melon" not in str(calls_about(bridge, "which password now?")[-1].body["messages"])


def test_stop_breaks_a_turn_off(bridge: RunningBridge) -> None:
    chat = bridge.group("wrStop", "停下")
    said = bridge.to_group("count !tokens=60 !slow=60", chat)
    begun(bridge, said)
    assert bridge.answer(bridge.to_group("/stop", chat)) == COMMANDS["stop"]
    assert "w0" in bridge.answer(said)
    turn = bridge.turn(said)
    assert (turn.state, turn.reason) == (State.SKIPPED, Reason.STOPPED)
    assert bridge.sent(said) == []
    assert bridge.answer(bridge.to_group("go on", chat)) == "pong: 张三 (zhangsan): go on"


def test_killed_in_mid_turn_everybody_is_answered_exactly_once(bridge: RunningBridge) -> None:
    """Two turns under way and one behind the first when the gateway is killed; no sentence of the gateway's own is ever shown."""
    before = {text for chat in bridge.simulator.chats() for text in texts(bridge, chat["chat"])}
    chat = bridge.group("wrKill", "值班")
    running = bridge.to_group("long !tokens=20 !slow=8", chat)
    elsewhere = bridge.to_app("other !tokens=10 !slow=8")
    behind = bridge.to_group("behind", chat, from_="lisi")
    begun(bridge, running)
    bridge.simulator.wait_for(lambda: calls_about(bridge, "other !tokens") and bridge.turn(behind))
    bridge.restart_gateway()
    everybody = (running, elsewhere, behind)

    def all_finished() -> bool:
        bridge.restart_if_stuck()
        return all(bridge.finished(said) for said in everybody)

    seen = everything_shown(bridge, all_finished, 180)
    long, other = (" ".join(f"w{number}" for number in range(count)) for count in (20, 10))
    answers = [long, other, "pong: 李四 (lisi): behind"]
    assert [bridge.answer(said) for said in everybody] == answers
    # An answer may be seen while it grows.
    grown = {text for text in seen - before if any(answer.startswith(text) for answer in answers)}
    assert seen - before - grown - {THINKING} == set()
    bridge.warm_up()
    assert [bridge.turn(said).state for said in everybody] == [State.DELIVERED] * 3
    assert [len(bridge.sent(said)) for said in everybody] == [1, 1, 1]
    assert [bridge.sent(said)[0][1] for said in everybody] == [State.DELIVERED] * 3
    assert not Message.objects.filter(source=Message.Source.AGENT, reply_to=None).exists()
    assert bridge.gateway.state == Health.OK


def texts(bridge: RunningBridge, chat: str) -> list[str]:
    return [entry["text"] for entry in bridge.simulator.transcript(chat) if entry["via"] != "member"]


def enter_token(gateway: Gateway, token: str) -> None:
    """As the gateway's page does it."""
    gateway.token = token
    gateway.save(update_fields=["token"])
    gateway.revive()
