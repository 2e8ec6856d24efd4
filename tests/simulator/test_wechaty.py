"""A personal account's puppet service, asked over real gRPC by a client that shares no code with it (facts: wechaty.md)."""

from __future__ import annotations

import hashlib
import json
import time
from typing import TYPE_CHECKING, Any

import grpc
import pytest
import requests

from channels_wechat.simulator import RunningSimulator, SimulatorError
from tests.simulator.puppet_client import INLINE, UUID, M, PuppetClient, first_line

if TYPE_CHECKING:
    from collections.abc import Iterator

    from channels_wechat.simulator import SimulatorClient

BOT, TOKEN = "wxid_bot", "insecure_simulated-token"
ROOM, ALICE, BOB = "19876543210@chatroom", "wxid_alice", "wxid_bob"


@pytest.fixture
def client() -> Iterator[SimulatorClient]:
    with RunningSimulator() as simulator:
        client = simulator.client
        client.settings(hang_seconds=5)
        client.wechaty_contact(ALICE, "Alice", alias="Ali")
        client.wechaty_contact(BOB, "Bob")
        client.wechaty(BOT, TOKEN, name="Helper", heartbeat_seconds=0)
        client.wechaty_room(ROOM, "Garden", [BOT, ALICE, BOB], owner=ALICE, aliases={BOT: "The helper"})
        yield client


def connect(client: SimulatorClient, token: str = TOKEN) -> PuppetClient:
    return PuppetClient(client.puppet(BOT)["endpoint"], token)


@pytest.fixture
def puppet(client: SimulatorClient) -> Iterator[PuppetClient]:
    """A client that listens."""
    with connect(client) as puppet:
        puppet.listen().wait("READY")
        yield puppet


def in_room(client: SimulatorClient, text: str = "hello", **more: Any) -> dict[str, Any]:
    return client.say(text, wechaty=BOT, from_=ALICE, chat=ROOM, **more)


# --- the stream


def test_a_stream_begins_with_what_a_client_must_know_and_there_is_only_one(
    client: SimulatorClient, puppet: PuppetClient
) -> None:
    assert [name for name, _ in puppet.events] == ["HEARTBEAT", "LOGIN", "READY"]
    assert puppet.named("HEARTBEAT") == [{"data": "Wechaty Puppet gRPC stream connect successfully"}]
    assert puppet.named("LOGIN") == [{"contactId": BOT}]
    with connect(client) as second:
        assert second.listen().wait_end() == ("ALREADY_EXISTS", "GrpcServerImpl.event() can not call twice.")
        assert list(second.call("RoomList").ids) == [ROOM]
    puppet.hang_up()
    client.wait_for(lambda: not client.puppet(BOT)["listening"])
    with connect(client) as third:
        third.listen().wait("LOGIN")
        assert [one["ended"] for one in client.puppet_streams(BOT)] == ["client", ""]


@pytest.mark.parametrize(
    ("authorization", "why"),
    [
        ("Wechaty insecure_other", 'Invalid Wechaty TOKEN "insecure_other"'),
        (f"Bearer {TOKEN}", 'Invalid authorization type: "Bearer"'),
        (f"wechaty {TOKEN}", 'Invalid authorization type: "wechaty"'),
    ],
)
def test_every_call_needs_the_token_and_health_does_not(client: SimulatorClient, authorization: str, why: str) -> None:
    with connect(client) as stranger:
        stranger.metadata = (("authorization", authorization),)
        assert stranger.refusal("RoomList") == ("UNAUTHENTICATED", why)
        assert stranger.listen().wait_end() == ("UNAUTHENTICATED", why)
        with pytest.raises(grpc.RpcError) as refused:
            stranger.upload(b"data")
        assert first_line(refused.value) == why
        assert stranger.check_health() == 3
        client.disturb_service(BOT, "heartbeat")
        assert stranger.check_health() == 1
        client.advance(61)
        assert stranger.check_health() == 2
    assert client.puppet_streams(BOT) == []
    assert TOKEN not in json.dumps([client.call("GET", "directory"), client.calls(), client.record()])


def test_heartbeats_come_by_themselves(client: SimulatorClient) -> None:
    client.wechaty(BOT, TOKEN, heartbeat_seconds=0.02, greets=False)
    with connect(client) as puppet:
        puppet.listen().wait("HEARTBEAT", 3)
        assert puppet.events[0][0] == "LOGIN"


def test_a_ding_is_answered_by_an_event(puppet: PuppetClient) -> None:
    puppet.call("Ding", text="are you there")
    assert puppet.wait("DONG") == {"data": "are you there"}
    assert puppet.call("Version").text.endswith("<simulated>")


# --- the login


def test_a_login_goes_by_a_code_that_somebody_scans(client: SimulatorClient) -> None:
    client.wechaty("wxid_new", TOKEN, name="New", logged_in=False)
    with PuppetClient(client.puppet("wxid_new")["endpoint"], TOKEN) as puppet:
        first = puppet.listen().wait("SCAN")
        assert (first["status"], first["qrcode"].startswith(f"{client.url}/wechaty/login/")) == (2, True)
        assert puppet.refusal("MessageSendText", conversation=ALICE, text="x") == ("UNKNOWN", "Error: not logged in")
        client.use_phone("wxid_new", "expire")
        assert (puppet.wait("SCAN", 2)["status"], puppet.wait("SCAN", 3)["status"]) == (5, 2)
        second = puppet.wait("SCAN", 3)["qrcode"]
        assert second != first["qrcode"]
        assert requests.get(first["qrcode"], timeout=10).status_code == 404
        page = requests.post(second, data={"how": "scan"}, timeout=10)
        assert "scanned" in page.text
        assert puppet.wait("SCAN", 4)["status"] == 3
        assert puppet.named("LOGIN") == []
        requests.post(second, data={"how": "confirm"}, timeout=10)
        assert puppet.wait("LOGIN") == {"contactId": "wxid_new"}
        puppet.wait("READY")
        assert client.puppet("wxid_new")["code"] == ""
        with pytest.raises(SimulatorError, match="somebody is logged in"):
            client.use_phone("wxid_new", "scan")


def test_a_logout_shows_a_new_code_and_what_is_said_then_is_lost(client: SimulatorClient, puppet: PuppetClient) -> None:
    puppet.call("Logout")
    assert puppet.wait("LOGOUT") == {"contactId": BOT, "data": "logout()"}
    assert puppet.wait("SCAN")["status"] == 2
    assert client.delivery(in_room(client)["id"])["outcome"] == "lost"
    client.use_phone(BOT, "confirm")
    puppet.wait("LOGIN", 2)
    client.use_phone(BOT, "logout")
    assert puppet.wait("LOGOUT", 2)["data"] == "logged out on the phone"


def test_stop_ends_the_stream_for_everybody_until_somebody_starts(
    client: SimulatorClient, puppet: PuppetClient
) -> None:
    with connect(client) as other:
        other.call("Start")
        other.call("Start")
        other.call("Stop")
        assert puppet.wait_end()[0] == "OK"
        assert client.record()["counters"]["puppets_stopped"] == 1
        assert client.delivery(in_room(client)["id"])["outcome"] == "lost"
        assert other.refusal("MessageSendText", conversation=ALICE, text="x")[0] == "UNKNOWN"
        other.call("Start")
        other.listen().wait("LOGIN")
        assert other.send_text(ALICE, "x")


# --- messages


@pytest.mark.parametrize(
    ("kind", "number"),
    [("unknown", 0), ("file", 1), ("voice", 2), ("contact", 3), ("image", 6), ("text", 7), ("link", 14), ("video", 15)],
)
def test_a_message_bears_the_number_of_the_wire(
    client: SimulatorClient, puppet: PuppetClient, kind: str, number: int
) -> None:
    said = in_room(client, "x", kind=kind)
    message = puppet.wait_message()
    assert (message.id, message.type, message.text, message.talker, message.room) == (
        said["id"],
        number,
        "x",
        ALICE,
        ROOM,
    )
    assert client.delivery(said["id"])["outcome"] == "delivered"


def test_a_direct_message_names_its_listener_and_a_fork_its_own_number(
    client: SimulatorClient, puppet: PuppetClient
) -> None:
    said = client.say("你好", wechaty=BOT, from_=BOB, type=19)
    message = puppet.wait_message()
    assert (message.room, message.listener, message.talker, message.type) == ("", BOT, BOB, 19)
    assert said["chat"] == f"wechaty:{BOT}:{BOB}"
    with pytest.raises(SimulatorError, match="kind must be one of"):
        client.say("x", wechaty=BOT, from_=BOB, kind="telegram")


def test_a_mention_is_a_name_in_the_text_and_an_id_where_the_puppet_gives_it(
    client: SimulatorClient, puppet: PuppetClient
) -> None:
    in_room(client, "what time is it?", mention=True)
    message = puppet.wait_message()
    assert (message.text, list(message.mentions)) == ("@The helper\u2005what time is it?", [BOT])
    client.wechaty(BOT, TOKEN, mention_ids=False)
    in_room(client, "and now?", mention=True, quote={"name": "Bob", "text": "noon"})
    message = puppet.wait_message(2)
    assert list(message.mentions) == []
    assert message.text == "「Bob：noon」\n- - - - - - - - - - - - - - -\n@The helper\u2005and now?"
    in_room(client, "@Bob", mentions=[BOB])
    client.wechaty_contact("wxid_carol", "Carol")
    with pytest.raises(SimulatorError, match="no member"):
        client.say("x", wechaty=BOT, from_="wxid_carol", chat=ROOM)


@pytest.mark.parametrize(("stamps", "unit"), [("milliseconds", 1000), ("seconds", 1)])
def test_times_are_milliseconds_or_seconds(
    client: SimulatorClient, puppet: PuppetClient, stamps: str, unit: int
) -> None:
    client.wechaty(BOT, TOKEN, stamps=stamps)
    in_room(client, at=1_700_000_000.5)
    message = puppet.wait_message()
    assert message.timestamp == int(1_700_000_000.5 * unit)
    assert message.receive_time.seconds == int(1_700_000_000.5 * unit) // 1000


def test_own_messages_come_back_where_the_puppet_echoes(client: SimulatorClient, puppet: PuppetClient) -> None:
    sent = puppet.send_text(ROOM, "@Alice\u2005yes", [ALICE])
    echo = puppet.wait_message()
    assert (echo.id, echo.talker, echo.text, list(echo.mentions)) == (sent, BOT, "@Alice\u2005yes", [ALICE])
    client.wechaty(BOT, TOKEN, echo=False, answer_ids=False)
    assert puppet.send_text(ALICE, "no echo") == ""
    in_room(client, "next")
    assert puppet.wait_message(2).text == "next"
    texts = [(one["conversation"], one["text"], one["mentions"]) for one in client.puppet_sent(BOT)]
    assert texts == [(ROOM, "@Alice\u2005yes", [ALICE]), (ALICE, "no echo", [])]
    shown = client.transcript(ROOM)[0]
    assert (shown["who"], shown["via"], shown["text"]) == (f"wechaty:{BOT}", "MessageSendText", "@Alice\u2005yes")


def test_what_is_said_without_a_stream_is_lost(client: SimulatorClient) -> None:
    lost = in_room(client)
    assert client.delivery(lost["id"])["outcome"] == "lost"
    with connect(client) as puppet:
        puppet.listen().wait("READY")
        assert puppet.named("MESSAGE") == []
        assert puppet.call("MessagePayload", id=lost["id"]).text == "hello"


def test_two_accounts_in_a_room_hear_each_other(client: SimulatorClient, puppet: PuppetClient) -> None:
    second = client.wechaty("wxid_second", "insecure_second", name="Second")
    client.change_members(ROOM, "join", "wxid_second", by=ALICE)
    with PuppetClient(second["endpoint"], "insecure_second") as other:
        other.listen().wait("READY")
        sent = puppet.send_text(ROOM, "hello, second")
        heard = other.wait_message()
        assert (heard.id, heard.talker) == (sent, BOT)
        assert other.call("ContactPayload", id=BOT).name == "Helper"


@pytest.mark.parametrize(
    ("rpc", "fields", "why"),
    [
        ("MessagePayload", {"id": "nothing"}, "Error: no payload found for id nothing"),
        ("RoomPayload", {"id": "x@chatroom"}, "Error: no payload found for id x@chatroom"),
        ("ContactPayload", {"id": "nobody"}, "Error: no payload found for id nobody"),
        ("MessageFile", {"id": "nothing"}, "Error: no payload found for id nothing"),
        ("MessageSendText", {"conversation": "nobody", "text": "x"}, "Error: nobody not exist."),
        ("RoomInvitationPayload", {"id": "x"}, "TypeError: Cannot read properties of undefined (reading 'avatar')"),
    ],
)
def test_what_the_puppet_throws_is_unknown_with_a_trace(
    puppet: PuppetClient, rpc: str, fields: dict[str, Any], why: str
) -> None:
    with pytest.raises(grpc.RpcError) as refused:
        puppet.call(rpc, **fields)
    assert (refused.value.code(), first_line(refused.value)) == (grpc.StatusCode.UNKNOWN, why)
    assert f"\n    at SimulatedPuppet.{rpc[0].lower()}{rpc[1:]} (file:///app/node_modules/" in refused.value.details()


# --- recalled messages, rooms, requests


def test_messages_are_recalled_by_people_and_by_the_account(client: SimulatorClient, puppet: PuppetClient) -> None:
    said = in_room(client)
    gone = client.recall(BOT, ALICE, said["id"])
    puppet.wait_message(2)
    message = puppet.call("MessagePayload", id=gone["id"])
    assert (message.type, message.text, message.talker, message.room) == (13, said["id"], ALICE, ROOM)
    own = puppet.send_text(ROOM, "oops")
    assert puppet.call("MessageRecall", id=own).success
    assert not puppet.call("MessageRecall", id=said["id"]).success
    assert [entry["recalled"] for entry in client.transcript(ROOM)] == [True, True]
    with pytest.raises(SimulatorError, match="that `from` wrote"):
        client.recall(BOT, BOB, said["id"])


def test_members_come_and_go_and_a_room_is_renamed(client: SimulatorClient, puppet: PuppetClient) -> None:
    client.wechaty_contact("wxid_carol", "Carol")
    client.change_members(ROOM, "join", "wxid_carol", by=ALICE)
    joined = puppet.wait("ROOM_JOIN")
    assert joined.pop("timestamp") > 1e12
    assert joined == {"inviteeIdList": ["wxid_carol"], "inviterId": ALICE, "roomId": ROOM}
    assert list(puppet.call("RoomMemberList", id=ROOM).ids) == [BOT, ALICE, BOB, "wxid_carol"]
    client.change_members(ROOM, "leave", BOB, by=ALICE)
    assert puppet.wait("ROOM_LEAVE")["removeeIdList"] == [BOB]
    client.rename_room(ROOM, "Orchard", by=ALICE)
    renamed = puppet.wait("ROOM_TOPIC")
    assert (renamed["oldTopic"], renamed["newTopic"], renamed["changerId"]) == ("Garden", "Orchard", ALICE)
    assert puppet.call("RoomTopic", room=ROOM).topic == "Orchard"
    puppet.call("RoomTopic", room=ROOM, topic="Meadow")
    room = puppet.call("RoomPayload", id=ROOM)
    assert (room.topic, room.owner, list(room.members)) == ("Meadow", ALICE, [BOT, ALICE, "wxid_carol"])
    client.change_members(ROOM, "leave", BOT, by=ALICE)
    assert puppet.wait("ROOM_LEAVE", 2)["removeeIdList"] == [BOT]
    assert list(puppet.call("RoomList").ids) == []
    assert puppet.refusal("MessageSendText", conversation=ROOM, text="x") == ("UNKNOWN", f"Error: {ROOM} not exist.")


def test_people_have_names_and_are_called_otherwise_in_a_room(client: SimulatorClient, puppet: PuppetClient) -> None:
    alice = puppet.call("ContactPayload", id=ALICE)
    assert (alice.name, alice.alias, alice.friend, alice.type) == ("Alice", "Ali", True, 1)
    member = puppet.call("RoomMemberPayload", room=ROOM, member=BOT)
    assert (member.id, member.name, member.room_alias) == (BOT, "Helper", "The helper")
    assert set(puppet.call("ContactList").ids) == {BOT, ALICE, BOB}


def test_an_invitation_is_a_request_until_it_is_accepted(client: SimulatorClient, puppet: PuppetClient) -> None:
    asked = client.invite(BOT, ALICE, "Secret garden", [BOB])
    assert puppet.wait("ROOM_INVITE") == {"roomInvitationId": asked["id"]}
    invitation = puppet.call("RoomInvitationPayload", id=asked["id"])
    assert (invitation.inviter, invitation.topic, invitation.member_count, invitation.receiver) == (
        ALICE,
        "Secret garden",
        2,
        BOT,
    )
    assert asked["room"] not in puppet.call("RoomList").ids
    puppet.call("RoomInvitationAccept", id=asked["id"])
    assert puppet.wait("ROOM_JOIN")["inviteeIdList"] == [BOT]
    assert asked["room"] in puppet.call("RoomList").ids
    assert [one["accepted"] for one in client.contact_requests()["invitations"]] == [True]


def test_a_friend_request_is_a_request_until_it_is_accepted(client: SimulatorClient, puppet: PuppetClient) -> None:
    client.wechaty_contact("wxid_carol", "Carol", friend=False)
    asked = client.ask_friendship(BOT, "wxid_carol", "I am Carol")
    assert puppet.wait("FRIENDSHIP") == {"friendshipId": asked["id"]}
    request = puppet.call("FriendshipPayload", id=asked["id"])
    assert (request.contact, request.hello, request.type) == ("wxid_carol", "I am Carol", 2)
    assert not puppet.call("ContactPayload", id="wxid_carol").friend
    puppet.call("FriendshipAccept", id=asked["id"])
    confirmed = puppet.call("FriendshipPayload", id=puppet.wait("FRIENDSHIP", 2)["friendshipId"])
    assert (confirmed.type, confirmed.contact) == (1, "wxid_carol")
    assert puppet.call("ContactPayload", id="wxid_carol").friend


# --- files


@pytest.mark.parametrize(
    ("size", "box", "type_"),
    [(20 * 1024, "", INLINE), (20 * 1024 + 1, "", UUID), (100, "uuid", UUID), (300_000, "base64", INLINE)],
)
def test_a_file_comes_inline_or_by_uuid(
    client: SimulatorClient, puppet: PuppetClient, size: int, box: str, type_: int
) -> None:
    data = bytes(range(256)) * (size // 256) + bytes(size % 256)
    in_room(client, kind="file", data=data, name="plan.pdf", box=box)
    message = puppet.wait_message()
    assert (message.type, message.filename, message.text) == (1, "plan.pdf", "hello")
    found = puppet.file_box(message.id)
    assert (found["type"], found["boxType"], found["name"], found["size"]) == (type_, type_, "plan.pdf", size)
    assert puppet.read_box(found) == data
    assert puppet.read_box(found) == data, "a uuid can be read twice"


def test_a_file_may_be_an_address(client: SimulatorClient, puppet: PuppetClient) -> None:
    in_room(client, "", kind="image", data=b"\x89PNG data", name="a.png", box="url")
    box = puppet.file_box(puppet.wait_message().id)
    assert (box["type"], box["size"]) == (2, -1)
    assert requests.get(box["url"], timeout=10).content == b"\x89PNG data"


def test_a_small_buffer_can_only_be_streamed(client: SimulatorClient, puppet: PuppetClient) -> None:
    in_room(client, "", kind="file", data=b"small", name="a.txt", box="buffer")
    message = puppet.wait_message()
    code, why = puppet.refusal("MessageFile", id=message.id)
    assert (code, why.startswith("Error: FileBox.toJSON() can only work on limited")) == ("UNKNOWN", True)
    assert puppet.file_stream(message.id) == ("a.txt", b"small")


def test_an_unknown_uuid_is_never_answered(client: SimulatorClient, puppet: PuppetClient) -> None:
    with pytest.raises(grpc.RpcError) as refused:
        puppet.download("11111111-1111-4111-8111-111111111111", timeout=0.5)
    assert refused.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    assert [one["what"] for one in client.record()["violations"]] == ["unknown_uuid"]


def test_files_are_sent_inline_by_uuid_by_stream_and_by_address(client: SimulatorClient, puppet: PuppetClient) -> None:
    data = b"0123456789" * 30_000
    puppet.send_box(ROOM, {"type": 1, "name": "a.txt", "base64": "aGVsbG8="})
    puppet.send_box(ROOM, {"type": 7, "name": "b.png", "uuid": puppet.upload(data)})
    puppet.send_stream(ALICE, "c.mp4", data)
    puppet.send_box(ROOM, {"boxType": 2, "name": "d.png", "url": "http://127.0.0.1/d.png"})
    sent = client.puppet_sent(BOT)
    assert [(one["name"], one["size"], one["box"]) for one in sent] == [
        ("a.txt", 5, 1),
        ("b.png", 300_000, 7),
        ("c.mp4", 300_000, 6),
        ("d.png", 0, 2),
    ]
    assert sent[1]["sha256"] == sent[2]["sha256"] == hashlib.sha256(data).hexdigest()
    assert [puppet.wait_message(number).type for number in (1, 2, 3)] == [1, 6, 15]
    shown = client.transcript(ROOM)[0]["data"]["media"][0]
    assert requests.get(f"{client.url}{shown['url']}", timeout=10).content == b"hello"


@pytest.mark.parametrize(
    "box", ["{", "[]", '{"type":1,"name":"a"}', '{"type":7,"name":"a","uuid":"x"}', '{"type":9,"name":"a"}']
)
def test_a_file_box_that_is_none_is_thrown_back(client: SimulatorClient, puppet: PuppetClient, box: str) -> None:
    assert puppet.refusal("MessageSendFile", conversation=ROOM, box=box)[0] == "UNKNOWN"
    assert client.puppet_sent(BOT) == []


def test_a_message_over_four_megabytes_is_refused(client: SimulatorClient, puppet: PuppetClient) -> None:
    box = json.dumps({"type": 1, "name": "a", "base64": "A" * (4 * 2**20)})
    assert puppet.refusal("MessageSendFile", conversation=ROOM, box=box)[0] == "RESOURCE_EXHAUSTED"
    assert client.puppet_sent(BOT) == []


# --- what goes wrong


def test_a_call_fails_as_it_was_told(client: SimulatorClient, puppet: PuppetClient) -> None:
    client.fault("wechaty/MessageSendText", "errcode", errmsg="too fast")
    client.fault("wechaty/MessageSendText", "errcode_after", errcode=14, errmsg="gone")
    client.fault("wechaty/MessageSendText", "html", status=502)
    assert puppet.refusal("MessageSendText", conversation=ROOM, text="1") == ("UNKNOWN", "Error: too fast")
    assert puppet.refusal("MessageSendText", conversation=ROOM, text="2") == ("UNAVAILABLE", "gone")
    assert puppet.refusal("MessageSendText", conversation=ROOM, text="3")[0] == "UNAVAILABLE"
    assert puppet.send_text(ROOM, "4")
    assert [one["text"] for one in client.puppet_sent(BOT)] == ["2", "4"]


@pytest.mark.parametrize(("kind", "sent"), [("reset", []), ("reset_after", ["x"])])
def test_an_answer_is_lost_with_every_connection(
    client: SimulatorClient, puppet: PuppetClient, kind: str, sent: list[str]
) -> None:
    client.fault("wechaty/MessageSendText", kind)
    assert puppet.refusal("MessageSendText", conversation=ROOM, text="x")[0] in ("UNAVAILABLE", "CANCELLED")
    assert puppet.wait_end()[0] in ("UNAVAILABLE", "CANCELLED")
    assert [one["text"] for one in client.puppet_sent(BOT)] == sent
    with connect(client) as again:
        again.listen().wait("LOGIN")


def test_an_answer_that_never_comes(client: SimulatorClient, puppet: PuppetClient) -> None:
    client.settings(hang_seconds=0.2)
    client.fault("wechaty/MessageSendText", "timeout_after")
    client.fault("wechaty/MessageSendText", "slow_after", seconds=0.1)
    assert puppet.refusal("MessageSendText", conversation=ROOM, text="1")[0] == "DEADLINE_EXCEEDED"
    began = time.monotonic()
    assert puppet.send_text(ROOM, "2")
    assert time.monotonic() - began > 0.1
    assert [one["text"] for one in client.puppet_sent(BOT)] == ["1", "2"]


def test_a_stream_stands_still_and_goes_on(client: SimulatorClient, puppet: PuppetClient) -> None:
    client.disturb_service(BOT, "silence")
    said = in_room(client)
    puppet.call("Ding", text="x")
    assert client.delivery(said["id"])["outcome"] == "sending"
    assert (puppet.named("MESSAGE"), puppet.named("DONG")) == ([], [])
    client.disturb_service(BOT, "resume")
    puppet.wait("DONG")
    assert client.delivery(said["id"])["outcome"] == "delivered"
    client.disturb_service(BOT, "end")
    assert puppet.wait_end()[0] == "OK"


def test_the_service_is_away_and_comes_back_to_its_port(client: SimulatorClient, puppet: PuppetClient) -> None:
    client.disturb_service(BOT, "away")
    assert puppet.wait_end()[0] in ("UNAVAILABLE", "CANCELLED")
    lost = in_room(client)
    assert puppet.refusal("RoomList")[0] == "UNAVAILABLE"
    client.disturb_service(BOT, "back")
    with connect(client) as again:
        again.listen().wait("READY")
        assert again.named("MESSAGE") == []
    assert client.delivery(lost["id"])["outcome"] == "lost"


def test_events_that_nobody_knows_are_written_as_they_are(client: SimulatorClient, puppet: PuppetClient) -> None:
    client.emit(BOT, 33, {"id": "1"})
    assert puppet.wait("33") == {"id": "1"}
    client.disturb_service(BOT, "error")
    assert puppet.wait("ERROR")["data"] == "simulated"


@pytest.mark.parametrize(
    ("path", "body", "why"),
    [
        ("wechaty/accounts", {"id": "x"}, "needs a `token`"),
        ("wechaty/accounts", {"id": BOT, "stamps": "years"}, "stamps must be one of"),
        ("wechaty/contacts", {"id": BOT, "name": "x"}, "is an account's"),
        ("wechaty/phone", {"wechaty": "nobody", "how": "scan"}, "must be the id of an account"),
        ("wechaty/phone", {"wechaty": BOT, "how": "shake"}, "`how` must be one of"),
        ("wechaty/service", {"wechaty": BOT, "how": "burn"}, "`how` must be one of"),
        ("wechaty/service", {"wechaty": BOT, "how": "silence"}, "nobody listens"),
        ("wechaty/members", {"room": ROOM, "how": "join", "ids": ["nobody"], "by": ALICE}, "no such contacts"),
        ("say", {"wechaty": BOT, "from": ALICE, "kind": "file", "data": "aGk=", "box": "parcel"}, "box must be one of"),
    ],
)
def test_wrong_control_requests_are_explained(
    client: SimulatorClient, path: str, body: dict[str, object], why: str
) -> None:
    with pytest.raises(SimulatorError, match=why):
        client.call("POST", path, body)


def test_messages_of_the_client_are_its_own() -> None:
    """The client's descriptors and the simulator's come from different tables and different pools."""
    from channels_wechat.simulator.wechaty.wire import M as simulated

    assert M["Message"].DESCRIPTOR.file.pool is not simulated["Message"].DESCRIPTOR.file.pool
    numbers = {field.number: field.type for field in simulated["Message"].DESCRIPTOR.fields}
    assert {field.number: field.type for field in M["Message"].DESCRIPTOR.fields} == numbers
