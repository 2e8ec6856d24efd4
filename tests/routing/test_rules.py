"""Which agent gets a message: a table, without the database."""

from __future__ import annotations

from dataclasses import replace

import pytest

from accounts.models import ChannelAccount
from bridge.models import Conversation, Reason, Route
from bridge.pipeline.inbound.commands import command_of
from bridge.pipeline.routing.rules import Decision, RoutingInput, decide, explain, session_key_for, split_entries
from tests.support.factories import app, gateway, route

ANY, PEOPLE, GROUPS = (
    Route(pk=1, agent_id="any"),
    Route(pk=2, peer_kind="direct", agent_id="people"),
    Route(pk=3, peer_kind="group", agent_id="groups"),
)
GROUP = Route(pk=4, peer_kind="group", peer_id="wrX", agent_id="group")
ALL = [ANY, PEOPLE, GROUPS, GROUP]


def heard(
    text: str = "hello", sender: str = "zhangsan", group: str = "", kind: str = "text", addressed: bool = True
) -> RoutingInput:
    return RoutingInput("group" if group else "direct", group or sender, sender, text, kind, addressed)


def with_rules(**rules: object) -> Route:
    return Route(agent_id="main", **rules)


@pytest.mark.parametrize(
    ("routes", "group", "agent"),
    [
        (ALL, "", "people"),
        (ALL, "wrX", "group"),
        (ALL, "wrY", "groups"),
        (ALL, "wrx", "groups"),  # chat ids are case-sensitive
        ([ANY, PEOPLE], "wrX", "any"),
        ([GROUP, ANY], "", "any"),
        ([GROUP], "", None),
        ([], "wrX", None),
    ],
)
@pytest.mark.parametrize("order", [1, -1])
def test_the_most_specific_mapping_wins(routes: list[Route], group: str, agent: str | None, order: int) -> None:
    decision = decide(routes[::order], heard(group=group))
    assert decision.reason == ("" if agent else Reason.NO_ROUTE)
    assert (decision.route.agent_id if decision.route else None) == agent


def test_whom_the_account_does_not_admit_gets_no_turn_whatever_is_mapped() -> None:
    decision = decide([Route(agent_id="main")], replace(heard(), is_admitted=False))
    assert (decision.reason, decision.route) == (Reason.SENDER, None)


@pytest.mark.parametrize(
    ("rules", "said", "reason"),
    [
        ({}, heard(), ""),
        ({"enabled": False}, heard(), Reason.ROUTE_DISABLED),
        ({"allowed_senders": "lisi\n\n  ZhangSan \n"}, heard(), ""),
        ({"allowed_senders": "lisi"}, heard(), Reason.SENDER),
        ({"allowed_senders": "lisi"}, heard(sender=""), Reason.SENDER),
        ({"trigger": "mention"}, heard(addressed=True), ""),
        ({"trigger": "mention"}, heard(addressed=False), Reason.NOT_ADDRESSED),
        ({"trigger": "prefix", "trigger_words": "bot\n小助手"}, heard("小助手，在吗"), ""),
        ({"trigger": "prefix", "trigger_words": "bot"}, heard("BOT hi"), ""),
        ({"trigger": "prefix", "trigger_words": "bot"}, heard("the bot"), Reason.NO_TRIGGER),
        ({"trigger": "prefix"}, heard("hi"), Reason.NO_TRIGGER),
        ({"trigger": "keyword", "trigger_words": "Help"}, heard("please help me"), ""),
        ({"trigger": "keyword", "trigger_words": "help"}, heard("hi"), Reason.NO_TRIGGER),
        ({}, heard(kind="event"), Reason.EVENT),
        ({}, heard("", kind="unsupported"), Reason.UNSUPPORTED),
        ({}, heard("[a sticker]", kind="unsupported"), ""),
        ({}, heard(" \n\u3000"), Reason.EMPTY),
        ({}, replace(heard(""), has_files=True), ""),
        ({}, replace(heard(), has_sender=False), Reason.NO_SENDER),
        ({"trigger": "prefix", "trigger_words": "bot"}, heard("bot, "), Reason.EMPTY),
        ({"trigger": "prefix", "trigger_words": "bot"}, heard(""), Reason.NO_TRIGGER),
        ({}, heard(kind="action"), ""),
    ],
)  # fmt: skip
def test_the_rules_of_a_mapping(rules: dict[str, object], said: RoutingInput, reason: str) -> None:
    assert decide([with_rules(**rules)], said).reason == reason


@pytest.mark.parametrize(
    ("said", "left"),
    [
        ("小助手，在吗", "在吗"),
        ("小助手: hi", "hi"),
        ("小助手", ""),
        ("小助手们好", "好"),
        ("小助手 \n多行\n字", "多行\n字"),
    ],
)
def test_the_longest_fitting_prefix_is_cut_off(said: str, left: str) -> None:
    rules = with_rules(trigger="prefix", trigger_words="小助手\n小助手们")
    assert decide([rules], heard(said)).text == left


def test_a_mapping_that_refuses_does_not_fall_through_to_the_next() -> None:
    strict = Route(peer_kind="direct", peer_id="zhangsan", allowed_senders="boss", agent_id="strict")
    decision = decide([PEOPLE, strict, ANY], heard())
    assert (decision.route, decision.reason) == (strict, Reason.SENDER)
    assert decision.steps == [
        "Mapping for zhangsan: agent strict.",
        "2 less specific mapping(s) are not looked at.",
        "this sender is not allowed",
    ]


def test_the_decision_explains_itself() -> None:
    assert decide([], heard()).steps == ["No mapping fits this group or person."]
    assert decide([ANY], heard()).steps == ["Mapping for everyone: agent any.", "The agent gets it."]
    assert decide([GROUPS], heard(group="x")).steps[0] == "Mapping for group: agent groups."


@pytest.mark.parametrize(
    ("text", "command"),
    [
        ("/new", "new"),
        (" /STOP \n", "stop"),
        ("／new", "new"),
        ("／ｎｅｗ", "new"),
        ("@助手 /new", "new"),
        ("＠助手 ／new", "new"),
        ("＠助手\u2005／stop", "stop"),
        ("@助手 @助手 /new", "new"),
        ("@助手\u2005@张 三\u2005/new", "new"),
        ("@Robot A\u2005 /stop", "stop"),
        ("/new @助手", "new"),
        ("\u200b/new\ufeff", "new"),
        ("@助手 \u200b/ｓｔｏｐ", "stop"),
        ("/new session", ""),
        ("@张三 please type /new", ""),
        ("please /stop", ""),
        ("/ne w", ""),
        ("new", ""),
        ("//new", ""),
        ("mail@new /new", ""),
        ("@/new", ""),
        ("", ""),
        ("@助手", ""),
    ],
)
def test_commands_are_whole_messages_behind_any_mentions(text: str, command: str) -> None:
    assert command_of(text) == command


def test_words() -> None:
    assert split_entries(" a \n\n b c\n") == ["a", "b c"]
    assert split_entries("") == []


def key(
    scope: str = "conversation",
    peer: str = "wrX",
    epoch: int = 0,
    sender: str = "zhangsan",
    account: str = "A",
    renewals: int = 0,
) -> str:
    talk = Conversation(account=ChannelAccount(), peer_kind="group", peer_id=peer, session_epoch=epoch)
    return session_key_for(with_rules(scope=scope), talk, account, sender, renewals=renewals)


def test_a_session_for_each_conversation_person_or_agent() -> None:
    assert key() == key(sender="lisi") != key(peer="wrx")
    assert key("sender") == key("sender") != key("sender", sender="lisi")
    assert key("shared") == key("shared", peer="wrY", sender="lisi") != key("shared", account="B")
    keys = [key(scope, epoch=epoch) for scope in ("conversation", "sender") for epoch in (0, 1)]
    keys += [key("sender", renewals=1), key("shared"), key("shared", renewals=1)]
    assert len(set(keys)) == 7
    assert key("shared", epoch=1) == key("shared")  # a conversation's own sessions are none of theirs
    assert all(one.startswith("agent:main:wechat:group:") and one == one.lower() for one in keys)


@pytest.mark.django_db
def test_which_agent_would_get_this() -> None:
    account = app()
    mine = route(account, gateway(), peer_kind="direct")
    found = explain(account, "direct", "zhangsan", "zhangsan", "hi", True)
    assert isinstance(found, Decision)
    assert (found.route, found.reason) == (mine, "")
    assert explain(account, "group", "x", "zhangsan", "hi", True).reason == Reason.NO_ROUTE
