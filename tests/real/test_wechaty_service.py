"""The simulated puppet service beside the real one: the same raw client asks both, and gets the same."""

from __future__ import annotations

import base64
import hashlib
import random
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any

import grpc
import pytest

from channels_wechat.simulator import RunningSimulator
from tests.real.wechaty_lab import (
    ALICE,
    BOB,
    BOT,
    ROOM,
    TOKEN,
    PuppetService,
    installed_or_skipped,
    read_certificate_authority,
)
from tests.simulator.puppet_client import INLINE, UUID, PuppetClient, first_line

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from channels_wechat.simulator import SimulatorClient

pytestmark = pytest.mark.heavy

JSON = dict[str, Any]
CAROL = "wxid_carol"
AT = 1_700_000_000_123  # milliseconds


class World(ABC):
    """What a test does on either side. Ids of people and rooms are the same on both."""

    endpoint: str

    @abstractmethod
    def say(self, text: str, *, direct: bool = False, mentions: tuple[str, ...] = ()) -> str: ...

    @abstractmethod
    def file(self, name: str, data: bytes, *, buffer: bool = False) -> str: ...

    @abstractmethod
    def recall(self, message: str) -> str: ...

    @abstractmethod
    def change_members(self, how: str, contact: str) -> None: ...

    @abstractmethod
    def rename(self, topic: str) -> None: ...

    @abstractmethod
    def invite(self, topic: str) -> str: ...

    @abstractmethod
    def befriend(self, hello: str) -> str: ...

    @abstractmethod
    def fail_next(self, message: str) -> None: ...

    @abstractmethod
    def log_out_and_in(self) -> None: ...

    @abstractmethod
    def sent(self) -> list[JSON]:
        """What the account was made to do: kind, conversation, text, mentions, name, size, sha256, box."""


class Real(World):
    def __init__(self, service: PuppetService) -> None:
        self.service, self.endpoint = service, service.endpoint
        self.service.do("contact", id=CAROL, name="Carol")
        self.service.do("ready")

    def say(self, text: str, *, direct: bool = False, mentions: tuple[str, ...] = ()) -> str:
        place: JSON = {"to": BOT} if direct else {"mentions": list(mentions)}
        return self.service.say(text, timestamp=AT, **place)

    def file(self, name: str, data: bytes, *, buffer: bool = False) -> str:
        made = self.service.do("file", name=name, base64=base64.b64encode(data).decode(), buffer=buffer)
        return str(made["id"])

    def recall(self, message: str) -> str:
        return str(self.service.do("recall", message=message)["id"])

    def change_members(self, how: str, contact: str) -> None:
        self.service.do(how, id=contact, by=ALICE)

    def rename(self, topic: str) -> None:
        self.service.do("topic", topic=topic, by=ALICE)

    def invite(self, topic: str) -> str:
        return str(self.service.do("invite", topic=topic)["id"])

    def befriend(self, hello: str) -> str:
        return str(self.service.do("friend", hello=hello)["id"])

    def fail_next(self, message: str) -> None:
        self.service.do("fail", count=1)

    def log_out_and_in(self) -> None:
        self.service.do("logout")
        self.service.do("scan", status=2)
        self.service.do("scan", status=3)
        self.service.do("scan", status=4)
        self.service.do("login")
        self.service.do("ready")

    def sent(self) -> list[JSON]:
        names = {"conversationId": "conversation", "mentionIdList": "mentions", "boxType": "box"}
        return [{names.get(name, name): value for name, value in one.items()} for one in self.service.look("sent")]


class Simulated(World):
    def __init__(self, client: SimulatorClient) -> None:
        self.client = client
        client.wechaty_contact(ALICE, "Alice", alias="Ali")
        client.wechaty_contact(BOB, "Bob")
        client.wechaty_contact(CAROL, "Carol")
        account = client.wechaty(BOT, TOKEN, name="LabBot", heartbeat_seconds=0)
        client.wechaty_room(ROOM, "Lab room", [BOT, ALICE, BOB], owner=ALICE)
        self.endpoint = account["endpoint"]

    def say(self, text: str, *, direct: bool = False, mentions: tuple[str, ...] = ()) -> str:
        place: JSON = {} if direct else {"chat": ROOM, "mentions": list(mentions)}
        return str(self.client.say(text, wechaty=BOT, from_=ALICE, at=AT / 1000, **place)["id"])

    def file(self, name: str, data: bytes, *, buffer: bool = False) -> str:
        box = {"box": "buffer"} if buffer else {}
        said = self.client.say(data=data, wechaty=BOT, from_=ALICE, chat=ROOM, kind="file", name=name, **box)
        return str(said["id"])

    def recall(self, message: str) -> str:
        return str(self.client.recall(BOT, ALICE, message)["id"])

    def change_members(self, how: str, contact: str) -> None:
        self.client.change_members(ROOM, how, contact, by=ALICE)

    def rename(self, topic: str) -> None:
        self.client.rename_room(ROOM, topic, by=ALICE)

    def invite(self, topic: str) -> str:
        return str(self.client.invite(BOT, ALICE, topic)["id"])

    def befriend(self, hello: str) -> str:
        return str(self.client.ask_friendship(BOT, BOB, hello)["id"])

    def fail_next(self, message: str) -> None:
        self.client.fault("wechaty/MessageSendText", "errcode", errmsg=message)

    def log_out_and_in(self) -> None:
        for how in ("logout", "scan", "confirm"):
            self.client.use_phone(BOT, how)

    def sent(self) -> list[JSON]:
        return self.client.puppet_sent(BOT)


@pytest.fixture(scope="module")
def directory() -> Path:
    return installed_or_skipped()


@pytest.fixture(params=["real", "simulated"])
def world(request: pytest.FixtureRequest, directory: Path) -> Iterator[World]:
    if request.param == "real":
        with PuppetService(directory) as service:
            yield Real(service)
    else:
        with RunningSimulator() as simulator:
            yield Simulated(simulator.client)


@pytest.fixture
def puppet(world: World) -> Iterator[PuppetClient]:
    with PuppetClient(world.endpoint, TOKEN) as puppet:
        puppet.listen().wait("READY")
        yield puppet


def plain(message: Any) -> JSON:
    """Every field of an answer that has a value."""
    return {field.name: value for field, value in message.ListFields()}


def test_the_first_events_come_in_this_order(puppet: PuppetClient) -> None:
    assert puppet.events == [
        ("HEARTBEAT", {"data": "Wechaty Puppet gRPC stream connect successfully"}),
        ("LOGIN", {"contactId": BOT}),
        ("READY", {"data": "ready"}),
    ]


def test_a_login_goes_through_these_events(world: World, puppet: PuppetClient) -> None:
    world.log_out_and_in()
    puppet.wait("READY", 2)
    names = [name if name != "SCAN" else f"SCAN {payload['status']}" for name, payload in puppet.events[3:]]
    assert names == ["LOGOUT", "SCAN 2", "SCAN 3", "SCAN 4", "LOGIN", "READY"]
    assert puppet.named("LOGOUT")[0]["contactId"] == BOT
    assert {tuple(sorted(payload)) for payload in puppet.named("SCAN")} == {("qrcode", "status")}
    assert puppet.named("LOGIN")[1] == {"contactId": BOT}


def test_a_second_stream_and_a_wrong_token_are_refused_in_the_same_words(world: World, puppet: PuppetClient) -> None:
    with PuppetClient(world.endpoint, TOKEN) as second:
        assert second.listen().wait_end() == ("ALREADY_EXISTS", "GrpcServerImpl.event() can not call twice.")
        assert ROOM in second.call("RoomList").ids
    why = 'Invalid Wechaty TOKEN "insecure_wrong"'
    with PuppetClient(world.endpoint, "insecure_wrong") as stranger:
        assert stranger.listen().wait_end() == ("UNAUTHENTICATED", why)
        assert stranger.refusal("RoomList") == ("UNAUTHENTICATED", why)
        assert stranger.check_health() == 3
        stranger.metadata = (("authorization", f"Bearer {TOKEN}"),)
        assert stranger.refusal("RoomList") == ("UNAUTHENTICATED", 'Invalid authorization type: "Bearer"')
        stranger.metadata = ()
        assert stranger.refusal("RoomList") == ("UNAUTHENTICATED", f'Invalid Wechaty TOKEN "{world.endpoint}"')
    puppet.hang_up()


def test_a_text_has_these_fields(world: World, puppet: PuppetClient) -> None:
    time = {"timestamp": AT}
    for number, direct in enumerate((False, True), 1):
        said = world.say("你好", direct=direct)
        assert puppet.wait("MESSAGE", number) == {"messageId": said}
        found = plain(puppet.wait_message(number))
        received = found.pop("receive_time")
        assert (received.seconds, received.nanos) == (AT // 1000, AT % 1000 * 1_000_000)
        place = {"listener": BOT} if direct else {"room": ROOM}
        assert found == {"id": said, "text": "你好", "type": 7, "talker": ALICE} | place | time


def test_a_mention_comes_and_goes_by_its_id(world: World, puppet: PuppetClient) -> None:
    world.say("@LabBot\u2005几点了？", mentions=(BOT,))
    assert list(puppet.wait_message().mentions) == [BOT]
    sent = puppet.send_text(ROOM, "@Alice\u2005三点", [ALICE])
    echo = puppet.wait_message(2)
    assert (echo.id, echo.talker, echo.text, list(echo.mentions)) == (sent, BOT, "@Alice\u2005三点", [ALICE])
    (noted,) = world.sent()
    told = {name: noted[name] for name in ("kind", "conversation", "text", "mentions", "id")}
    assert told == {
        "kind": "text",
        "conversation": ROOM,
        "text": "@Alice\u2005三点",
        "mentions": [ALICE],
        "id": sent,
    }


@pytest.mark.parametrize(("size", "type_"), [(500, INLINE), (20 * 1024, INLINE), (300_000, UUID)])
def test_a_file_of_either_size_is_read_whole(world: World, puppet: PuppetClient, size: int, type_: int) -> None:
    data = random.Random(size).randbytes(size)
    said = world.file("报告.pdf", data)
    message = puppet.wait_message()
    assert (message.id, message.filename, message.type, message.text) == (said, "报告.pdf", 1, "")
    box = puppet.file_box(said)
    given = {"base64", "boxType", "metadata", "name", "size", "type"} if type_ == INLINE else None
    assert set(box) == (given or {"uuid", "boxType", "metadata", "name", "type"} | (set(box) & {"size"}))
    assert (box["type"], box["boxType"], box["name"]) == (type_, type_, "报告.pdf")
    for _ in range(2):
        assert hashlib.sha256(puppet.read_box(box)).digest() == hashlib.sha256(data).digest()
    assert puppet.file_stream(said)[1] == data


def test_a_small_buffer_breaks_the_call_and_not_the_stream(world: World, puppet: PuppetClient) -> None:
    said = world.file("a.txt", b"small", buffer=True)
    code, why = puppet.refusal("MessageFile", id=said)
    assert code == "UNKNOWN"
    assert why.startswith("Error: FileBox.toJSON() can only work on limited FileBoxType(s).")
    assert puppet.file_stream(said) == ("a.txt", b"small")


def test_files_are_taken_inline_by_uuid_and_by_stream(world: World, puppet: PuppetClient) -> None:
    small, large = b"hello", random.Random(1).randbytes(300_000)
    puppet.send_box(ROOM, {"type": 1, "name": "a.txt", "base64": base64.b64encode(small).decode()})
    puppet.send_box(ROOM, {"type": 7, "name": "b.png", "uuid": puppet.upload(large)})
    puppet.send_stream(ALICE, "c.bin", large)
    digests = [hashlib.sha256(data).hexdigest() for data in (small, large, large)]
    found = world.sent()
    assert [one["sha256"] for one in found] == digests
    facts = [(one["kind"], one["conversation"], one["name"], one["size"], one["box"]) for one in found]
    assert facts == [
        ("file", ROOM, "a.txt", 5, 1),
        ("file", ROOM, "b.png", 300_000, 7),
        ("file", ALICE, "c.bin", 300_000, 6),
    ]
    assert [puppet.wait_message(number).type for number in (1, 2, 3)] == [1, 6, 1]


def test_a_message_over_four_megabytes_is_refused(world: World, puppet: PuppetClient) -> None:
    box = {"type": 1, "name": "a.bin", "base64": "A" * (4 * 2**20)}
    with pytest.raises(grpc.RpcError) as refused:
        puppet.send_box(ROOM, box)
    assert refused.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert world.sent() == []


def test_a_recalled_message_is_a_message_that_names_it(world: World, puppet: PuppetClient) -> None:
    said = world.say("oops")
    gone = world.recall(said)
    message = puppet.wait_message(2)
    assert (message.id, message.type, message.text, message.talker, message.room) == (gone, 13, said, ALICE, ROOM)
    assert puppet.call("MessageRecall", id=puppet.send_text(ROOM, "mine")).success
    assert not puppet.call("MessageRecall", id=said).success


def test_members_and_titles_change_by_these_events(world: World, puppet: PuppetClient) -> None:
    world.change_members("join", CAROL)
    world.change_members("leave", BOB)
    world.rename("新群名")
    told = [(puppet.wait(name), name) for name in ("ROOM_JOIN", "ROOM_LEAVE", "ROOM_TOPIC")]
    assert all(payload.pop("timestamp") > 1e12 for payload, _ in told)
    assert [payload for payload, _ in told] == [
        {"inviteeIdList": [CAROL], "inviterId": ALICE, "roomId": ROOM},
        {"removeeIdList": [BOB], "removerId": ALICE, "roomId": ROOM},
        {"changerId": ALICE, "newTopic": "新群名", "oldTopic": "Lab room", "roomId": ROOM},
    ]
    room = puppet.call("RoomPayload", id=ROOM)
    assert (room.topic, room.owner, list(room.members)) == ("新群名", ALICE, [BOT, ALICE, CAROL])
    assert list(puppet.call("RoomMemberList", id=ROOM).ids) == [BOT, ALICE, CAROL]
    puppet.call("RoomTopic", room=ROOM, topic="又一个")
    assert puppet.wait("ROOM_TOPIC", 2)["changerId"] == BOT
    assert puppet.call("RoomTopic", room=ROOM).topic == "又一个"


def test_people_have_these_fields(puppet: PuppetClient) -> None:
    contact = puppet.call("ContactPayload", id=ALICE)
    assert (contact.id, contact.name, contact.alias, contact.friend, contact.type) == (ALICE, "Alice", "Ali", True, 1)
    member = puppet.call("RoomMemberPayload", room=ROOM, member=ALICE)
    assert (member.id, member.name, member.room_alias) == (ALICE, "Alice", "")
    assert puppet.call("ContactPayload", id=BOT).name == "LabBot"


def test_an_invitation_waits_to_be_accepted(world: World, puppet: PuppetClient) -> None:
    asked = world.invite("读书会")
    assert puppet.wait("ROOM_INVITE") == {"roomInvitationId": asked}
    found = puppet.call("RoomInvitationPayload", id=asked)
    assert (found.id, found.inviter, found.topic, found.receiver) == (asked, ALICE, "读书会", BOT)
    assert found.timestamp // 1000 == found.receive_time.seconds
    puppet.call("RoomInvitationAccept", id=asked)
    assert [(one["kind"], one["id"]) for one in world.sent()] == [("accept", asked)]


def test_a_friend_request_waits_to_be_accepted(world: World, puppet: PuppetClient) -> None:
    asked = world.befriend("我是 Bob")
    assert puppet.wait("FRIENDSHIP") == {"friendshipId": asked}
    found = puppet.call("FriendshipPayload", id=asked)
    assert (found.id, found.contact, found.hello, found.type) == (asked, BOB, "我是 Bob", 2)
    puppet.call("FriendshipAccept", id=asked)
    assert [(one["kind"], one["id"]) for one in world.sent()] == [("accept", asked)]


@pytest.mark.parametrize(
    ("rpc", "fields", "why"),
    [
        ("MessagePayload", {"id": "x"}, "Error: no payload found for id x"),
        ("RoomPayload", {"id": "x@chatroom"}, "Error: no payload found for id x@chatroom"),
        ("ContactPayload", {"id": "x"}, "Error: no payload found for id x"),
        ("RoomMemberPayload", {"room": ROOM, "member": "x"}, "Error: no payload found for id x"),
        ("RoomInvitationPayload", {"id": "x"}, "TypeError: Cannot read properties of undefined (reading 'avatar')"),
        ("FriendshipPayload", {"id": "x"}, "TypeError: Cannot read properties of undefined (reading 'contactId')"),
    ],
)
def test_what_is_not_there_is_told_with_a_trace(puppet: PuppetClient, rpc: str, fields: JSON, why: str) -> None:
    with pytest.raises(grpc.RpcError) as refused:
        puppet.call(rpc, **fields)
    assert (refused.value.code(), first_line(refused.value)) == (grpc.StatusCode.UNKNOWN, why)
    assert "\n    at " in refused.value.details()
    assert ".js:" in refused.value.details()


def test_a_send_that_the_puppet_throws_is_not_carried_out(world: World, puppet: PuppetClient) -> None:
    world.fail_next("told to fail")
    assert puppet.refusal("MessageSendText", conversation=ROOM, text="x") == ("UNKNOWN", "Error: told to fail")
    puppet.call("Logout")
    puppet.wait("LOGOUT")
    assert puppet.refusal("MessageSendText", conversation=ROOM, text="x") == ("UNKNOWN", "Error: not logged in")
    assert world.sent() == []


def test_start_changes_nothing_and_stop_ends_the_stream_for_everybody(world: World, puppet: PuppetClient) -> None:
    with PuppetClient(world.endpoint, TOKEN) as other:
        other.call("Start")
        other.call("Ding", text="x")
        assert puppet.wait("DONG") == {"data": "x"}
        other.call("Stop")
        assert puppet.wait_end()[0] == "OK"
        other.call("Start")
        other.listen().wait("HEARTBEAT")


def test_what_happens_without_a_stream_is_lost_and_can_still_be_read(world: World, puppet: PuppetClient) -> None:
    puppet.hang_up()
    with PuppetClient(world.endpoint, TOKEN) as again:
        said = world.say("lost")
        again.listen().wait("HEARTBEAT")
        again.call("Ding", text="x")
        again.wait("DONG")
        assert said not in [payload["messageId"] for payload in again.named("MESSAGE")]
        assert again.call("MessagePayload", id=said).text == "lost"


def test_the_services_own_certificate_is_taken_by_its_name(directory: Path) -> None:
    authority = read_certificate_authority(directory)
    with PuppetService(directory, tls=True) as service:
        with PuppetClient(service.endpoint, TOKEN, ca=authority) as puppet:
            assert puppet.listen().wait("LOGIN") == {"contactId": BOT}
        with PuppetClient(service.endpoint, TOKEN, ca=authority, server_name="puppet.example") as puppet:
            assert puppet.refusal("RoomList")[0] == "UNAVAILABLE"
