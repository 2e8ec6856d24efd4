"""A company's own gateway as the simulator plays it: what it posts, and what it takes."""

from __future__ import annotations

import base64
import json
from typing import TYPE_CHECKING, Any

import pytest
import requests
from standardwebhooks import Webhook, WebhookVerificationError

from channels_wechat.simulator import RunningSimulator
from tests.channels.harness import Recorded, Recorder, Reply, recorder
from tests.channels.webhook_account.gateway import INBOUND, OTHER, OUTBOUND, headers

if TYPE_CHECKING:
    from collections.abc import Iterator

    from channels_wechat.simulator import SimulatorClient

GROUP = {"kind": "group", "id": "room-7"}
MESSAGE = {"type": "message", "conversation": GROUP, "text": "hello", "format": "text"}


@pytest.fixture
def bridge() -> Iterator[Recorder]:
    with recorder() as running:
        yield running


@pytest.fixture
def client(bridge: Recorder) -> Iterator[SimulatorClient]:
    with RunningSimulator() as simulator:
        simulator.client.settings(retry_pause=0.02)
        simulator.client.own_gateway("g", callback_url=bridge.url, inbound_secret=INBOUND, outbound_secret=OUTBOUND)
        yield simulator.client


def deliver(client: SimulatorClient, delivery: Any, webhook_id: str = "k-1", secret: str = OUTBOUND) -> Any:
    body = json.dumps(delivery).encode()
    answer = requests.post(f"{client.url}/own/g", data=body, headers=headers(body, secret, webhook_id), timeout=10)
    return answer.status_code, answer.json()


def posted(client: SimulatorClient, bridge: Recorder, said: dict[str, Any]) -> Recorded:
    assert client.wait_taken(said)["outcome"] == "delivered"
    return bridge.requests[-1]


def shown(client: SimulatorClient) -> list[dict[str, Any]]:
    return [entry for entry in client.transcript("own:g:room-7") if entry["via"] == "own"]


def test_a_message_is_posted_signed(client: SimulatorClient, bridge: Recorder) -> None:
    said = client.own_say("g", "ann", "hello", name="Ann", chat="room-7", title="Support", addressed=True)
    request = posted(client, bridge, said)
    event = Webhook(INBOUND).verify(request.body, request.headers)
    assert (event["id"], request.headers["webhook-id"]) == (said["id"], said["id"])
    assert event["conversation"] == {"kind": "group", "id": "room-7", "title": "Support"}
    assert (event["sender"], event["text"], event["addressed"]) == ({"id": "ann", "name": "Ann"}, "hello", True)
    with pytest.raises(WebhookVerificationError):
        Webhook(OUTBOUND).verify(request.body, request.headers)


def test_what_was_not_taken_is_posted_again_under_its_id(client: SimulatorClient, bridge: Recorder) -> None:
    bridge.will(Reply(b"", 503), Reply(fault="reset"))
    said = client.own_say("g", "ann", "hello")
    assert client.wait_taken(said)["outcome"] == "delivered"
    assert [request.headers["webhook-id"] for request in bridge.requests] == [said["id"]] * 3


def test_a_small_file_goes_within_the_message_and_a_large_one_by_its_address(
    client: SimulatorClient, bridge: Recorder
) -> None:
    (small,) = posted(client, bridge, client.own_say("g", "ann", kind="image", data=b"png")).json["files"]
    assert (base64.b64decode(small["content"]), small["name"], small["mime"]) == (b"png", "image.png", "image/png")
    (large,) = posted(client, bridge, client.own_say("g", "ann", kind="file", data=bytes(100_000))).json["files"]
    assert requests.get(large["url"], timeout=10).content == bytes(100_000)


def test_an_event_and_a_raw_body(client: SimulatorClient, bridge: Recorder) -> None:
    event = client.own_event("g", "joined", chat="room-7", fields={"people": [{"id": "bob"}]})
    assert posted(client, bridge, event).json["people"] == [{"id": "bob"}]
    raw = client.own_event("g", raw={"id": "x", "type": "odd"}, from_="ann")
    assert posted(client, bridge, raw).json == {"id": "x", "type": "odd"}


def test_a_delivery_is_shown_once_and_a_repetition_answered_as_before(client: SimulatorClient) -> None:
    first, again = deliver(client, MESSAGE), deliver(client, MESSAGE)
    assert (first, bool(first[1]["id"])) == (again, True)
    assert [entry["text"] for entry in shown(client)] == ["hello"]
    assert client.record()["counters"]["own_repetitions"] == 1
    assert deliver(client, MESSAGE, "k-2")[1] != first[1]


def test_a_file_is_taken_first_and_named_by_a_message(client: SimulatorClient) -> None:
    content = base64.b64encode(b"words").decode()
    upload = {"type": "file", "kind": "file", "name": "a.txt", "mime": "text/plain", "content": content}
    status, answer = deliver(client, upload, "k-1")
    file = {"id": answer["id"], "kind": "file", "name": "a.txt"}
    assert (status, deliver(client, {"type": "message", "conversation": GROUP, "files": [file]}, "k-2")[0]) == (
        200,
        200,
    )
    (entry,) = shown(client)
    assert (entry["kind"], entry["data"]["media"][0]["size"]) == ("file", 5)


def test_other_types_are_answered_and_shown_nowhere(client: SimulatorClient) -> None:
    assert deliver(client, {"type": "test"}) == (200, {})
    assert shown(client) == []
    assert client.record()["violations"] == []


@pytest.mark.parametrize(
    ("delivery", "secret", "status"),
    [
        (MESSAGE, OTHER, 401),
        (MESSAGE, INBOUND, 401),
        ({**MESSAGE, "conversation": None}, OUTBOUND, 400),
        ({**MESSAGE, "text": " "}, OUTBOUND, 400),
        ({**MESSAGE, "files": [{"id": "nobody's"}]}, OUTBOUND, 404),
        ({"type": "file", "content": "%"}, OUTBOUND, 400),
    ],
)
def test_what_a_receiver_may_not_take_is_a_violation(
    client: SimulatorClient, delivery: dict[str, Any], secret: str, status: int
) -> None:
    assert deliver(client, delivery, secret=secret)[0] == status
    assert (shown(client), len(client.record()["violations"])) == ([], 1)


def test_a_fault_takes_the_delivery_and_loses_the_answer(client: SimulatorClient) -> None:
    client.fault("own/g", "reset_after")
    with pytest.raises(requests.ConnectionError):
        deliver(client, MESSAGE)
    assert deliver(client, MESSAGE)[0] == 200
    assert len(shown(client)) == 1


def test_nobody_is_told_a_secret(client: SimulatorClient) -> None:
    assert "whsec_" not in str(client.own_gateway("g")) + str(client.record()) + str(client.calls())
