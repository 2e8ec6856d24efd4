"""A personal account from its chats to an agent and back: the bridge's own processes over the real puppet service of Wechaty (npm)."""

from __future__ import annotations

import base64
import hashlib
import random
import signal
from typing import TYPE_CHECKING, Any

import pytest
from django.contrib.auth.models import User
from django.core.files.base import ContentFile
from django.test.utils import setup_databases, teardown_databases

from accounts.health import Health
from accounts.models import ChannelAccount, Connection
from bridge.models import Attachment, ContactRequest, Conversation, Delivery, Message, Route, State
from bridge.people import contact_requests
from bridge.pipeline.outbound import outbox
from channels_wechat.contract.messages import Content
from openclaw.stub import RunningStub
from tests.real.running import RunningProcesses
from tests.real.wechaty_lab import ALICE, BOB, BOT, ROOM, SECOND_ROOM, TOKEN, PuppetService, installed_or_skipped
from tests.support import factories

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from pytest_django.plugin import DjangoDbBlocker

pytestmark = pytest.mark.heavy
JSON = dict[str, Any]


@pytest.fixture(scope="module")
def database(django_db_blocker: DjangoDbBlocker) -> Iterator[None]:
    """One for the module, without a transaction around a test: the processes must see what a test writes."""
    with django_db_blocker.unblock():
        made = setup_databases(0, interactive=False, serialized_aliases=[])
        yield
        teardown_databases(made, 0)


@pytest.fixture(scope="module")
def directory() -> Path:
    return installed_or_skipped()


@pytest.fixture(scope="module")
def service(directory: Path) -> Iterator[PuppetService]:
    with PuppetService(directory) as running:
        yield running


@pytest.fixture(scope="module")
def stub() -> Iterator[RunningStub]:
    with RunningStub() as running:
        yield running


@pytest.fixture(scope="module")
def phone(
    tmp_path_factory: pytest.TempPathFactory, database: None, service: PuppetService, stub: RunningStub
) -> Iterator[ChannelAccount]:
    """The account, connected; its groups go to the agent where it is mentioned, persons always."""
    made = connect(service, stub)
    with RunningProcesses(tmp_path_factory.mktemp("bridge")):
        service.wait_for(lambda: state_of(made)[0] == "connected")
        service.wait_for(lambda: Connection.objects.filter(gateway__isnull=False, state="connected").exists())
        yield made


def connect(service: PuppetService, stub: RunningStub, **fields: Any) -> ChannelAccount:
    places = {"token": service.token, "endpoint": service.endpoint, "tls": "off"}
    made = factories.account("wechaty", {**places, **fields}, turns_per_minute=None, language="en")
    gateway = factories.gateway(stub.base_url, stub.token)
    factories.route(made, gateway, peer_kind="group", trigger=Route.Trigger.MENTION)
    factories.route(made, gateway, peer_kind="direct")
    return made


def state_of(account: ChannelAccount) -> tuple[str, str]:
    row = Connection.objects.filter(account=account).first()
    return (str(row.current_state), row.code) if row else ("", "")


def stored(message: str) -> Message | None:
    return Message.objects.filter(idempotency_key=message, direction="in").first()


def answered(service: PuppetService, words: str) -> JSON:
    """The text that the account was made to send with these words in it."""
    return service.wait_sent(lambda one: one["kind"] == "text" and words in one["text"])


def test_a_mention_in_a_group_is_answered_there_once(service: PuppetService, phone: ChannelAccount) -> None:
    said = service.say("@LabBot\u2005第一个问题", mentions=[BOT])
    sent = answered(service, "第一个问题")
    assert sent["conversationId"] == ROOM
    question = stored(said)
    assert question is not None
    assert (question.text, question.sender, question.addressed) == ("第一个问题", ALICE, True)
    assert Conversation.objects.get(account=phone, peer_id=ROOM).title == "Lab room"
    delivery = Delivery.objects.get(message__reply_to=question)
    service.wait_for(lambda: Delivery.objects.get(pk=delivery.pk).state == State.DELIVERED)
    assert Delivery.objects.get(pk=delivery.pk).remote_id == sent["id"]


def test_what_mentions_nobody_is_stored_and_not_answered_and_a_person_always_is(
    service: PuppetService, phone: ChannelAccount
) -> None:
    said = service.say("群里随便聊聊")
    service.wait_for(lambda: stored(said))
    service.say("私下问一句", to=BOT, from_=BOB)
    assert answered(service, "私下问一句")["conversationId"] == BOB
    assert [one for one in service.recorded("sent") if "随便聊聊" in one.get("text", "")] == []


def test_a_member_is_mentioned_by_id_in_an_answer(service: PuppetService, phone: ChannelAccount) -> None:
    service.say("@LabBot\u2005!say=@Bob 请看 提到", mentions=[BOT])
    sent = answered(service, "请看 提到")
    assert (sent["text"], sent["mentionIdList"]) == ("@Bob\u2005请看 提到", [BOB])


def test_the_echo_of_an_answer_is_no_message(service: PuppetService, phone: ChannelAccount) -> None:
    service.say("@LabBot\u2005回声测试", mentions=[BOT])
    sent = answered(service, "回声测试")
    service.wait_for(lambda: [e for e in service.recorded("event") if e["payload"].get("messageId") == sent["id"]])
    after = service.say("回声之后")
    service.wait_for(lambda: stored(after))
    assert stored(sent["id"]) is None
    assert Message.objects.filter(text__contains="回声测试", direction="in").count() == 1


@pytest.mark.parametrize("how", ["base64", "buffer", "uuid"])
def test_a_file_of_a_person_arrives_whole(service: PuppetService, phone: ChannelAccount, how: str) -> None:
    """Inline; as a stream, where the service cannot put it into a box; by uuid."""
    data = random.Random(how).randbytes(300_000 if how == "uuid" else 900)
    fields = {"base64": base64.b64encode(data).decode(), "buffer": how == "buffer", "to": BOT}
    said = service.do("file", name=f"报告-{how}.bin", **fields)["id"]

    def find() -> Attachment | None:
        return Attachment.objects.filter(message__idempotency_key=said, state="ready").first()

    found = service.wait_for(find)
    assert (found.name, found.size) == (f"报告-{how}.bin", len(data))
    with found.file.open() as file:
        assert hashlib.sha256(file.read()).digest() == hashlib.sha256(data).digest()


@pytest.mark.parametrize("size", [900, 5_000_000])
def test_a_file_of_ours_arrives_whole(service: PuppetService, phone: ChannelAccount, size: int) -> None:
    data = random.Random(size).randbytes(size)
    file = ContentFile(data, name=f"answer-{size}.bin")
    outbox.send(phone, "group", ROOM, Content("给你"), source=Message.Source.STAFF, files=[file], several=True)
    sent = service.wait_sent(lambda one: one["kind"] == "file" and one["size"] == size)
    assert (sent["conversationId"], sent["sha256"]) == (ROOM, hashlib.sha256(data).hexdigest())


def test_a_new_title_of_a_group_is_its_conversations(service: PuppetService, phone: ChannelAccount) -> None:
    """In another group than the other tests write in, which run in any order."""
    talk = Conversation.objects.filter(account=phone, peer_id=SECOND_ROOM)
    service.say("谁在？", room=SECOND_ROOM, from_=BOB)
    service.wait_for(lambda: talk.filter(title="Second room").exists())
    service.do("topic", room=SECOND_ROOM, topic="新的群名")
    service.wait_for(lambda: talk.get().title == "新的群名")


def test_a_message_that_was_taken_back_is_marked(service: PuppetService, phone: ChannelAccount) -> None:
    said = service.say("说错了")
    service.wait_for(lambda: stored(said))
    service.do("recall", message=said)
    service.wait_for(lambda: Delivery.objects.get(message__idempotency_key=said).recalled_at)


def test_an_invitation_waits_for_staff(service: PuppetService, phone: ChannelAccount) -> None:
    asked = service.do("invite", topic="邀请的群")["id"]
    row = service.wait_for(lambda: ContactRequest.objects.filter(remote_id=asked).first())
    assert (row.kind, row.sender, row.title, row.state) == ("group", ALICE, "邀请的群", "open")
    assert [one for one in service.recorded("sent") if one["kind"] == "accept"] == []
    assert contact_requests.accept_request(row, User.objects.create(username="staff"))
    assert service.wait_sent(lambda one: one["kind"] == "accept")["id"] == asked


def test_a_service_that_was_restarted_is_found_again(service: PuppetService, phone: ChannelAccount) -> None:
    service.end(signal.SIGTERM)
    service.wait_for(lambda: state_of(phone)[0] != "connected")
    service.start()
    service.wait_for(lambda: state_of(phone)[0] == "connected")
    service.say("@LabBot\u2005重启之后", mentions=[BOT])
    answered(service, "重启之后")
    assert service.look("state")["calls"].get("stop", 0) == 0


def test_a_lost_login_is_shown_and_a_new_one_goes_on(service: PuppetService, phone: ChannelAccount) -> None:
    service.do("logout")
    service.do("scan", qrcode="https://login.weixin.qq.com/l/NEW")
    service.wait_for(lambda: state_of(phone)[0] == "needs_login")
    service.wait_for(lambda: Connection.objects.get(account=phone).login_code == "https://login.weixin.qq.com/l/NEW")
    service.do("scan", status=3)
    service.wait_for(lambda: state_of(phone)[0] == "scanned")
    service.do("login")
    service.wait_for(lambda: state_of(phone)[0] == "connected")
    row = Connection.objects.get(account=phone)
    assert (row.login_code, row.own_id, row.own_name) == ("", BOT, "LabBot")


def test_tls_with_the_services_own_certificate(
    service: PuppetService, phone: ChannelAccount, stub: RunningStub, directory: Path
) -> None:
    """The certificate bears the name "insecure", which is what the token begins with."""
    token = "insecure_99999999-2222-4333-8444-555555555555"
    with PuppetService(directory, tls=True, token=token) as other:
        made = connect(other, stub, tls="on")
        other.wait_for(lambda: state_of(made)[0] == "connected")
        other.say("@LabBot\u2005经过TLS", mentions=[BOT])
        answered(other, "经过TLS")
        ChannelAccount.objects.filter(pk=made.pk).update(enabled=False)


def test_a_wrong_token_stops_the_account_and_is_shown_to_nobody(
    service: PuppetService, phone: ChannelAccount, stub: RunningStub
) -> None:
    wrong = f"{TOKEN}-wrong"
    made = connect(service, stub, token=wrong)
    service.wait_for(lambda: ChannelAccount.objects.get(pk=made.pk).state == Health.STOPPED)
    assert state_of(made) == ("bad_credentials", "token_refused")
    row = Connection.objects.get(account=made)
    assert wrong not in f"{row.detail} {row.code_params}"
    assert state_of(phone)[0] == "connected"
