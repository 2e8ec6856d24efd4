"""A connection to a puppet service: events, login, watchdog, echo, and what goes out, against a service over real gRPC."""

from __future__ import annotations

import asyncio
import hashlib
import os
import time
from typing import TYPE_CHECKING, Any

import grpc
import pytest

from channels_wechat.contract.connection import ConnectionRefused, ConnectionState
from channels_wechat.contract.errors import ChannelError
from channels_wechat.contract.explanations import Action
from channels_wechat.contract.messages import ContactRequest, Outgoing, Payload, Peer, Upload
from channels_wechat.wechaty import echoes, link, login, reading, serving
from tests.channels.wechaty.accounts import Kept, channel, running, until
from tests.support.fake_puppet import ALICE, BOB, BOT, RECALLED, ROOM, TOKEN, TRACE, FakePuppet

if TYPE_CHECKING:
    from channels_wechat.contract.messages import Receipt

GROUP = Peer("group", ROOM)


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, seconds in {"FIRST_EVENT_SECONDS": 0.5, "LOOK_SECONDS": 0.05, "FULL_SECONDS": 0.05}.items():
        monkeypatch.setattr(serving, name, seconds)
    monkeypatch.setattr(login, "QUIET_SECONDS", 0.2)
    monkeypatch.setattr(login, "AGAIN_SECONDS", 0.05)
    monkeypatch.setattr(reading, "AGAIN_SECONDS", (0.02, 0.05))


def text(words: str, **more: Any) -> Payload:
    return Payload({"kind": "text", "text": words, **more})


async def send(session: Kept, payload: Payload, peer: Peer = GROUP, **more: Any) -> Receipt:
    assert session.link is not None
    return await session.link.send(Outgoing(peer, payload, **more))


async def refused(session: Kept, payload: Payload, peer: Peer = GROUP) -> ChannelError:
    with pytest.raises(ChannelError) as caught:
        await send(session, payload, peer)
    return caught.value


# --- what comes


def test_messages_are_stored_in_the_order_of_their_events_though_they_are_asked_for_together(
    puppet: FakePuppet,
) -> None:
    async def go() -> None:
        async with running(puppet) as session:
            for number in range(300):
                puppet.say(str(number), room=ROOM if number % 2 else "")
            await until(lambda: len(session.messages) == 300)
            assert session.texts == [str(number) for number in range(300)]
            assert session.frames >= 300

    asyncio.run(go())


def test_a_group_is_asked_for_its_title_and_its_members_once(puppet: FakePuppet) -> None:
    async def go() -> None:
        async with running(puppet) as session:
            for _each in range(5):
                puppet.say("hello", sender=BOB)
            await until(lambda: len(session.messages) == 5)
            assert (puppet.calls["RoomPayload"], puppet.calls["RoomMemberPayload"]) == (1, 2)
            puppet.rename("Sales")
            puppet.say("again", sender=BOB)
            await until(lambda: len(session.messages) == 7)
            assert [message.title for message in session.messages] == ["Lab room"] * 5 + ["Sales"] * 2
            assert session.texts[5] == "Alice renamed the group to “Sales”."
            assert dict(session.messages[6].contacts) == {BOB: "Bob"}
            puppet.rooms[ROOM]["topic"] = "Quietly"
            puppet.emit("dirty", payloadType=3, payloadId=ROOM)
            puppet.say("and again", sender=BOB)
            await until(lambda: len(session.messages) == 8)
            assert session.messages[7].title == "Quietly"

    asyncio.run(go())


def test_an_event_that_breaks_our_code_costs_only_itself(puppet: FakePuppet) -> None:
    async def go() -> None:
        async with running(puppet) as session:
            for number, payload in (
                (2, "{"),
                (2, "[]"),
                (2, "{}"),
                (19, '{"timestamp": "x"}'),
                (99, "{}"),
                (0, ""),
                (22, "7"),
                (16, "{}"),
            ):
                puppet.emit_raw(number, payload)
            for number in (3, 4, 23, 24, 28, 29, 30, 31, 32, 33, 34):
                puppet.emit(number, data="x")
            puppet.emit("message", messageId="unknown")
            puppet.say("after all that")
            await until(lambda: "after all that" in session.texts)
            unread, last = session.messages
            assert (unread.kind, unread.key, unread.raw["code"]) == ("unsupported", "unread:unknown", "puppet_failed")
            assert puppet.calls["Event"] == 1

    asyncio.run(go())


def test_a_name_or_a_text_that_was_cut_within_a_character_is_read_all_the_same(puppet: FakePuppet) -> None:
    """Encoders of JavaScript write half a character as bytes that are no UTF-8."""

    async def go() -> None:
        puppet.cuts("€")
        puppet.contacts[ALICE], puppet.rooms[ROOM]["topic"] = "Alice €", "Lab €"
        async with running(puppet) as session:
            puppet.say("fine €")
            puppet.emit_raw(23, "€ nothing")
            puppet.say("after it")
            await until(lambda: len(session.messages) == 2)
            (first, second) = session.messages
            assert (first.text, first.title, dict(first.contacts)) == ("fine �", "Lab �", {ALICE: "Alice �"})
            assert (second.text, puppet.calls["Event"]) == ("after it", 1)

    asyncio.run(go())


def test_what_cannot_be_decoded_costs_itself_only(puppet: FakePuppet) -> None:
    async def go() -> None:
        puppet.cuts("broken", with_=b"\xff\xfe\xfd\xfc\xfb\xfa")
        async with running(puppet) as session:
            puppet.emit_raw(2, "broken")
            puppet.rooms[ROOM]["topic"] = "broken"
            puppet.say("broken", id="m1")
            puppet.say("after it")
            await until(lambda: len(session.messages) == 2)
            (first, second) = session.messages
            assert (first.kind, first.key, first.raw["code"]) == ("unsupported", "unread:m1", "service_failed")
            assert (second.text, second.title, puppet.calls["Event"]) == ("after it", "", 1)

    asyncio.run(go())


def test_what_the_puppet_could_not_tell_at_once_is_asked_again(puppet: FakePuppet) -> None:
    async def go() -> None:
        async with running(puppet) as session:
            puppet.fail("MessagePayload", grpc.StatusCode.UNKNOWN, f"Error: busy{TRACE}", times=2)
            puppet.say("hello")
            await until(lambda: session.texts == ["hello"])
            assert puppet.calls["MessagePayload"] == 3

    asyncio.run(go())


def test_a_puppet_that_names_nobody_delays_nobody(puppet: FakePuppet) -> None:
    async def go() -> None:
        puppet.contacts = {BOT: "LabBot"}
        async with running(puppet) as session:
            puppet.rooms["empty"] = {"topic": "", "members": []}
            for _each in range(3):
                puppet.say("hello", sender="wxid_stranger", room="empty")
            await until(lambda: len(session.messages) == 3)
            assert dict(session.messages[0].contacts) == {}
            assert puppet.calls["ContactPayload"] <= 3  # of us, and once of the stranger

    asyncio.run(go())


def test_happenings_and_requests(puppet: FakePuppet) -> None:
    async def go() -> None:
        async with running(puppet) as session:
            puppet.join("wxid_carol", "Carol")
            puppet.emit("leave", roomId=ROOM, removeeIdList=[BOB], removerId=ALICE, timestamp=1795000000)
            puppet.emit("leave", roomId=ROOM, removeeIdList=[BOB], removerId=BOB, timestamp=1795000001)
            invitation, friendship = puppet.invite("A new room"), puppet.befriend("Hi, I am Dave")
            puppet.befriend("", kind=1)
            puppet.say("msg-1", type=RECALLED)
            await until(lambda: len(session.messages) == 7)
            assert session.texts == [
                "Carol joined, invited by Alice.",
                "Alice removed Bob.",
                "Bob left.",
                "Invitation to the group “A new room” (3 members). It waits for staff.",
                "Friend request: Hi, I am Dave It waits for staff.",
                "You are contacts now.",
                "A message was taken back.",
            ]
            assert {message.kind for message in session.messages} == {"event"}
            assert [message.request for message in session.messages[3:6]] == [
                ContactRequest("group", invitation, ALICE, title="A new room"),
                ContactRequest("friend", friendship, "wxid_dave", "Hi, I am Dave"),
                None,
            ]
            assert session.messages[6].recalls == "msg-1"
            assert session.messages[1].key != session.messages[2].key
            assert puppet.accepted == []

    asyncio.run(go())


def test_while_there_is_no_room_what_came_is_kept_in_memory(puppet: FakePuppet) -> None:
    class Full(Kept):
        refusals = 3

        async def receive(self, *messages: Any) -> None:
            if self.refusals:
                self.refusals -= 1
                raise serving.WECHATY.error("not_stored")
            await super().receive(*messages)

    async def go() -> None:
        async with running(puppet, Full()) as session:
            puppet.say("one")
            puppet.say("two")
            await until(lambda: session.texts == ["one", "two"])

    asyncio.run(go())


# --- our own messages


def test_what_we_send_is_dropped_and_what_the_owner_types_is_kept(puppet: FakePuppet) -> None:
    async def go() -> None:
        async with running(puppet) as session:
            receipt = await send(session, text("hello"))
            puppet.say("from my phone", sender=BOT)
            puppet.say("to Alice from my phone", sender=BOT, room="", to=ALICE)
            await until(lambda: len(session.messages) == 2)
            assert receipt.remote_id == puppet.sent[0].id
            assert [(m.own, m.peer, m.text) for m in session.messages] == [
                (True, GROUP, "from my phone"),
                (True, Peer("direct", ALICE), "to Alice from my phone"),
            ]

    asyncio.run(go())


@pytest.mark.parametrize("gives_ids", [True, False])
def test_an_echo_before_its_answer_is_dropped(puppet: FakePuppet, gives_ids: bool) -> None:
    async def go() -> None:
        puppet.gives_ids, puppet.echo_first = gives_ids, 0.3
        async with running(puppet) as session:
            await asyncio.gather(send(session, text("one")), send(session, text("two"), Peer("direct", ALICE)))
            puppet.say("two", sender=BOT, room="", to=ALICE)  # the owner says the same afterwards
            await until(lambda: session.messages)
            await asyncio.sleep(0.3)
            assert [(m.text, m.peer.id) for m in session.messages] == [("two", ALICE)]

    asyncio.run(go())


def test_an_echo_whose_text_the_puppet_changed_is_known_by_the_id_that_follows(puppet: FakePuppet) -> None:
    async def go() -> None:
        puppet.alters, puppet.echo_first = str.upper, 0.3
        async with running(puppet) as session:
            await send(session, text("hello"))
            puppet.say("hers")
            await until(lambda: session.messages)
            assert session.texts == ["hers"]

    asyncio.run(go())


def test_two_hundred_messages_with_their_echo_are_two_hundred_answers(puppet: FakePuppet) -> None:
    """Each message of somebody else is answered; an echo that passed for one would be answered for ever."""

    class Answering(Kept):
        async def receive(self, *messages: Any) -> None:
            await super().receive(*messages)
            for message in messages:
                assert not message.own
                await send(self, text(f"re {message.text}"), message.peer)

    async def go() -> None:
        async with running(puppet, Answering()) as session:
            for number in range(200):
                puppet.say(str(number), room=ROOM if number % 2 else "")
            await until(lambda: len(puppet.sent) >= 200, 60)
            await asyncio.sleep(0.5)
            assert [sent.text for sent in puppet.sent] == [f"re {number}" for number in range(200)]
            assert len(session.messages) == 200

    asyncio.run(go())


def test_the_echo_of_a_send_without_an_answer_is_dropped_later(
    puppet: FakePuppet, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(link, "SEND_SECONDS", 0.3)
    monkeypatch.setattr(echoes, "ANSWER_SECONDS", 0.1)

    async def go() -> None:
        async with running(puppet) as session:
            puppet.fail("MessageSendText", None, after=True)
            error = await refused(session, text("hello"))
            assert (error.code, error.action) == ("timeout", Action.UNKNOWN)
            puppet.fail("MessageSendText", None)
            puppet.say("never sent by us", sender=BOT)
            await until(lambda: session.messages)
            assert session.texts == ["never sent by us"]
            assert len(puppet.sent) == 1

    asyncio.run(go())


# --- what goes out


def test_mentions_name_members_by_their_alias_in_the_group(puppet: FakePuppet) -> None:
    async def go() -> None:
        puppet.aliases[ROOM, BOB] = "Bobby T"
        async with running(puppet) as session:
            await send(session, text("@Bobby T and @Alice, mail me@example.com @nobody"))
            await send(session, text("hello", mentions=[BOB, ALICE, "wxid_gone"]))
            await send(session, text("@Alice hello"), Peer("direct", ALICE))
            assert [(sent.text, sent.mentions) for sent in puppet.sent] == [
                ("@Bobby T\u2005and @Alice\u2005, mail me@example.com @nobody", [BOB, ALICE]),
                ("@Bobby T\u2005@Alice\u2005hello", [BOB, ALICE]),
                ("@Alice hello", []),
            ]

    asyncio.run(go())


@pytest.mark.parametrize(("size", "box"), [(1, 1), (20 * 1024, 1), (20 * 1024 + 1, 7), (5_000_000, 7)])
def test_files_go_out_whole(puppet: FakePuppet, size: int, box: int) -> None:
    content = os.urandom(size)

    async def go() -> None:
        async with running(puppet) as session:
            file = Upload("file", "报告", "application/pdf", content)
            receipt = await send(session, Payload({"kind": "file", "name": "报告"}, images=("1",)), images=(file,))
            (sent,) = puppet.sent
            assert (sent.name, sent.box, sent.id, sent.to) == ("报告.pdf", box, receipt.remote_id, ROOM)
            assert hashlib.sha256(sent.content).digest() == hashlib.sha256(content).digest()
            await asyncio.sleep(0.2)
            assert session.messages == []

    asyncio.run(go())


def test_a_failed_upload_has_sent_nothing(puppet: FakePuppet) -> None:
    async def go() -> None:
        async with running(puppet) as session:
            puppet.fail("Upload", grpc.StatusCode.UNKNOWN, f"Error: disk full{TRACE}")
            file = Upload("file", "a.bin", "", bytes(50_000))
            with pytest.raises(ChannelError) as caught:
                await send(session, Payload({"kind": "file", "name": "a.bin"}, images=("1",)), images=(file,))
            assert (caught.value.code, caught.value.action) == ("puppet_failed", Action.RETRY)
            assert puppet.calls["MessageSendFile"] == 0

    asyncio.run(go())


@pytest.mark.parametrize(
    ("code", "words", "named", "action"),
    [
        (grpc.StatusCode.UNKNOWN, f"Error: lab: told to fail{TRACE}", "puppet_failed", Action.UNKNOWN),
        (
            grpc.StatusCode.UNKNOWN,
            f"Error: Wechaty Puppet Unsupported API Error.{TRACE}",
            "puppet_cannot",
            Action.PERMANENT,
        ),
        (grpc.StatusCode.UNKNOWN, f"Error: not logged in{TRACE}", "needs_login", Action.WAIT),
        (grpc.StatusCode.UNAVAILABLE, "Socket closed", "connection_lost", Action.UNKNOWN),
        (grpc.StatusCode.INTERNAL, "Received RST_STREAM", "service_failed", Action.UNKNOWN),
        (grpc.StatusCode.UNIMPLEMENTED, "The server does not implement it", "call_unknown", Action.PERMANENT),
        (grpc.StatusCode.NOT_FOUND, "no such chat", "call_refused", Action.PERMANENT),
        (
            grpc.StatusCode.RESOURCE_EXHAUSTED,
            "Received message larger than max (5 vs 4)",
            "message_too_large",
            Action.PERMANENT,
        ),
        (grpc.StatusCode.RESOURCE_EXHAUSTED, "slow down", "service_busy", Action.WAIT),
        (grpc.StatusCode.UNAUTHENTICATED, f'Invalid Wechaty TOKEN "{TOKEN}"', "token_refused", Action.CONFIG),
    ],
)
def test_each_refusal_of_a_message_is_one_call_with_its_name(
    puppet: FakePuppet, code: grpc.StatusCode, words: str, named: str, action: Action
) -> None:
    async def go() -> None:
        async with running(puppet) as session:
            puppet.fail("MessageSendText", code, words)
            error = await refused(session, text("hello"))
            assert (error.code, error.action) == (named, action)
            assert (puppet.calls["MessageSendText"], puppet.sent) == (1, [])
            assert TOKEN not in f"{error!r} {error} {error.params}"
            assert "/srv/" not in f"{error!r} {error} {error.params}"

    asyncio.run(go())


def test_without_a_connection_nothing_leaves(puppet: FakePuppet) -> None:
    async def go() -> None:
        async with running(puppet) as session:
            await asyncio.to_thread(puppet.stop)
            error = await refused(session, text("hello"))
            assert (error.code, error.action) == ("connection_lost", Action.WAIT)
            await asyncio.to_thread(puppet.start)

    asyncio.run(go())


# --- the login


def test_a_login_from_the_code_to_the_name(puppet: FakePuppet) -> None:
    async def go() -> None:
        puppet.me = ""
        async with running(puppet) as session:
            await until(lambda: session.told == [("login", "", False)])  # the service says nothing of a code
            for status in (2, 2, 3, 4):
                puppet.scan("https://login.weixin.qq.com/l/A", status)
                await asyncio.sleep(0.1)
            puppet.log_in()
            await until(lambda: session.link)
            assert session.told[1:] == [
                ("login", "https://login.weixin.qq.com/l/A", False),
                ("login", "https://login.weixin.qq.com/l/A", True),
                ("as", BOT, "LabBot"),
                "open",
            ]
            puppet.log_in()  # told again
            puppet.scan("https://login.weixin.qq.com/l/A", 4)  # and late
            await asyncio.sleep(0.2)
            assert len(session.told) == 5
            puppet.log_out()
            await until(lambda: session.link is None)
            assert session.told[5:] == [("login", "", False)]
            puppet.scan("https://login.weixin.qq.com/l/B")
            puppet.scan("", 5)
            await until(lambda: session.told[6:] and session.told[-1] == ("login", "", False))

    asyncio.run(go())


def test_what_comes_before_a_login_waits_for_it(puppet: FakePuppet) -> None:
    """Without our own id an own message would pass for somebody else's, and be answered."""

    async def go() -> None:
        puppet.me = ""
        async with running(puppet) as session:
            puppet.say("mine", sender=BOT)
            puppet.say("hers")
            await asyncio.sleep(0.3)
            assert session.messages == []
            puppet.log_in()
            await until(lambda: len(session.messages) == 2)
            assert [(m.text, m.own) for m in session.messages] == [("mine", True), ("hers", False)]

    asyncio.run(go())


def test_a_login_is_shown_although_the_database_was_away(puppet: FakePuppet) -> None:
    class Away(Kept):
        failures = 2

        async def show_identity(self, own_id: str, own_name: str) -> None:
            if self.failures:
                self.failures -= 1
                raise OSError("the database is away")
            await super().show_identity(own_id, own_name)

    async def go() -> None:
        async with running(puppet, Away()) as session:
            assert session.told == [("as", BOT, "LabBot"), "open"]
            assert puppet.calls["Event"] == 1

    asyncio.run(go())


# --- how a connection ends


def ending(puppet: FakePuppet, **fields: Any) -> Exception:
    """How `run` ends."""

    async def go() -> Exception:
        async with asyncio.timeout(20):
            try:
                await channel(puppet.address, **fields).run(Kept())
            except (ChannelError, ConnectionRefused) as error:
                return error
        raise AssertionError("it ended in order")

    return asyncio.run(go())


def test_a_wrong_token_stops_the_account_and_is_repeated_nowhere(puppet: FakePuppet) -> None:
    error = ending(puppet, token="insecure_CANARY-wrong")
    assert isinstance(error, ConnectionRefused)
    assert (error.state, error.error.code) == (ConnectionState.BAD_CREDENTIALS, "token_refused")
    assert "CANARY" not in f"{error!r} {error.error} {error.error.params}"


def test_events_that_another_program_receives_are_waited_for_longer_each_time(puppet: FakePuppet) -> None:
    async def go() -> None:
        async with running(puppet):
            second = channel(puppet.address)
            for pause in (10, 30, 120, 120):
                with pytest.raises(ChannelError) as caught:
                    await second.run(Kept())
                assert (caught.value.code, caught.value.action, caught.value.retry_after) == (
                    "taken",
                    Action.WAIT,
                    pause,
                )
            assert puppet.calls["Start"] == 1

    asyncio.run(go())


def test_a_dead_service_is_left(puppet: FakePuppet, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(serving, "DING_SECONDS", 0.3)
    monkeypatch.setattr(serving, "DEAD_SECONDS", 1.0)

    async def go() -> None:
        session = Kept()
        task = asyncio.create_task(channel(puppet.address).run(session))
        await until(lambda: session.link)
        await asyncio.sleep(1.5)
        assert not task.done()  # idle, and alive
        assert puppet.calls["Ding"] >= 2
        puppet.freeze()
        with pytest.raises(ChannelError) as caught:
            async with asyncio.timeout(15):
                await task
        assert caught.value.code == "service_silent"
        puppet.thaw()
        await until(lambda: not puppet.is_listened_to)
        async with running(puppet) as session:
            puppet.say("after the thaw")
            await until(lambda: session.texts == ["after the thaw"])

    asyncio.run(go())


def test_a_stream_that_is_silent_though_the_service_answers_is_left(
    puppet: FakePuppet, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(serving, "DING_SECONDS", 0.1)
    monkeypatch.setattr(serving, "SILENT_SECONDS", 0.6)
    puppet.answers_dings = False
    error = ending(puppet)
    assert isinstance(error, ChannelError)
    assert error.code == "service_silent"
    assert puppet.calls["Ding"] >= 1


def test_a_process_that_stood_still_reads_on(puppet: FakePuppet, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the service said meanwhile waits to be read: the silence was ours."""
    monkeypatch.setattr(serving, "DEAD_SECONDS", 0.5)
    monkeypatch.setattr(serving, "DING_SECONDS", 0.4)
    monkeypatch.setattr(serving, "STALL_SECONDS", 0.2)

    async def go() -> None:
        async with running(puppet) as session:
            puppet.say("before")
            await until(lambda: session.texts == ["before"])
            time.sleep(1.0)  # the whole loop
            puppet.say("after")
            await until(lambda: session.texts == ["before", "after"])
            assert puppet.calls["Event"] == 1

    asyncio.run(go())


def test_a_service_that_says_nothing_at_first_is_started(puppet: FakePuppet) -> None:
    async def go() -> None:
        puppet.says_hello, puppet.me = False, ""
        async with running(puppet) as session:
            await until(lambda: puppet.calls["Start"] == 1)
            puppet.log_in()
            await until(lambda: session.link)

    asyncio.run(go())


def test_the_end_of_a_connection_stores_what_was_read_and_stops_nobody(puppet: FakePuppet) -> None:
    async def go() -> None:
        session = Kept()
        async with running(puppet, session):
            puppet.fail("MessagePayload", grpc.StatusCode.UNKNOWN, "Error: busy")
            for number in range(50):
                puppet.say(str(number))
            await until(lambda: puppet.calls["MessagePayload"] > 5)
        assert session.texts == [str(number) for number in range(len(session.texts))]
        assert len(session.texts) > 5
        assert puppet.calls["Logout"] == puppet.calls["Stop"] == 0

    asyncio.run(go())
