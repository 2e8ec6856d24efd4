"""The whole pipe with a gateway of one's own, played by the simulator: what is lost on the way is repeated, and nothing is doubled."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from bridge.models import Attachment, Conversation, Delivery, Message, State
from openclaw.stub.answers import make_picture
from tests.end_to_end.test_end_to_end import settled, worker
from tests.support import factories
from tests.support.callbacks import web_server
from tests.support.connecting import RunningConnector

if TYPE_CHECKING:
    from collections.abc import Iterator

    from accounts.models import ChannelAccount
    from channels_wechat.simulator import SimulatorClient
    from openclaw.stub import RunningStub

pytestmark = pytest.mark.django_db(transaction=True)
OWN = factories.OWN_CONNECTION


@pytest.fixture
def gateway(company: SimulatorClient, stub: RunningStub) -> Iterator[ChannelAccount]:
    """Mapped to everybody, repetitions dropped, with everything running."""
    account = factories.own_connection(f"{company.url}/own/{OWN}", repetitions="repeat")
    factories.route(account, factories.gateway(stub.base_url))
    keys = {name: account.credentials[name] for name in ("inbound_secret", "outbound_secret")}
    with web_server() as url, worker(), RunningConnector():
        company.own_gateway(OWN, callback_url=f"{url}/callbacks/{account.key}", **keys)
        yield account
        settled(company)


def answers(company: SimulatorClient, said: dict[str, Any], count: int = 1) -> list[dict[str, Any]]:
    def entries() -> list[dict[str, Any]]:
        found = [entry for entry in company.transcript(said["chat"]) if entry["via"] == "own"]
        return found if len(found) >= count else []

    return factories.eventually(entries)


def test_a_group_is_answered_once_however_often_it_is_posted(
    company: SimulatorClient, stub: RunningStub, gateway: ChannelAccount
) -> None:
    said = company.own_say(OWN, "ann", "hello", name="Ann", chat="room-7", title="Support", addressed=True, copies=3)
    assert [entry["text"] for entry in answers(company, said)] == ["收到，Ann：hello"]
    assert company.wait_taken(said)["outcome"] == "delivered"
    assert [run["count"] for run in stub.record] == [1]
    assert Conversation.objects.get().title == "Support"
    company.own_event(OWN, "renamed", chat="room-7", title="Sales")
    factories.eventually(lambda: Conversation.objects.get().title == "Sales")


@pytest.mark.parametrize("fault", ["reset_after", "timeout_after"])
def test_a_lost_answer_is_repeated_and_shown_once(
    company: SimulatorClient, gateway: ChannelAccount, fault: str
) -> None:
    company.fault(f"own/{OWN}", fault)
    said = company.own_say(OWN, "ann", "hello")
    delivery = factories.eventually(lambda: Delivery.objects.filter(target="channel", state=State.DELIVERED).first())
    assert [entry["text"] for entry in answers(company, said)] == ["收到：hello"]
    assert factories.outcomes(delivery) == ["unknown", "ok"]
    assert company.record()["counters"]["own_repetitions"] == 1


def test_files_both_ways(company: SimulatorClient, gateway: ChannelAccount) -> None:
    said = company.own_say(OWN, "ann", kind="image", data=make_picture(3))
    assert "看到 1 张图" in answers(company, said)[0]["text"]
    with Attachment.objects.get().file.open("rb") as file:
        assert file.read() == make_picture(3)
    assert Attachment.objects.get().source == ""
    said = company.own_say(OWN, "ann", kind="file", data=bytes(range(256)) * 400, file_name="a.bin")
    assert "a.bin" in answers(company, said, 2)[1]["text"]
    company.own_say(OWN, "ann", "!image")
    assert [entry["kind"] for entry in answers(company, said, 4)[2:]] == ["text", "image"]


def test_a_message_that_is_taken_back_and_an_answer_that_did_not_arrive(
    company: SimulatorClient, gateway: ChannelAccount
) -> None:
    said = company.own_say(OWN, "ann", "hello")
    (answer,) = answers(company, said)
    factories.eventually(lambda: Delivery.objects.filter(target="channel", state=State.DELIVERED).exists())
    fields = {"message_id": answer["msgid"], "reason": "Ann has blocked the account"}
    company.own_event(OWN, "failed", from_="ann", fields=fields)
    dead = factories.eventually(lambda: Delivery.objects.filter(target="channel", state=State.DEAD).first())
    assert (dead.code, dead.code_params["detail"]) == ("not_delivered", "Ann has blocked the account")
    company.own_event(OWN, "recalled", from_="ann", fields={"message_id": said["id"]})
    event = factories.eventually(lambda: Message.objects.filter(text="recalled", routed_at__isnull=False).first())
    assert event.reply_to == Message.objects.get(idempotency_key=said["id"])
