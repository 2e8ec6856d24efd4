"""The callback route through the real ASGI application: nothing in between, and nothing stored that is not the platform's."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING
from uuid import uuid4

import pytest

from accounts import channels
from accounts.health import Health
from accounts.models import ChannelAccount
from bridge.models import Message
from bridge.pipeline.inbound import callback_stats, callbacks, router
from bridge.runtime.web.threads import Threads
from tests.support.callbacks import call, from_app, from_bot, opened, signed
from tests.support.factories import CORP, KEY, TOKEN, answer, app, bot, eventually, route, row
from tests.support.rings import rings

if TYPE_CHECKING:
    import redis

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("valkey")]


@pytest.fixture
def account() -> ChannelAccount:
    return app()


# --- it is heard ----------------------------------------------------------------------------------------------------------------


def test_a_message_is_stored_once_and_acknowledged_each_time(account: ChannelAccount) -> None:
    body, query = from_app("你好", 7)
    replies = [call(account, body, query) for _time in range(3)]
    assert [(reply.status, reply.body) for reply in replies] == [(200, b"")] * 3
    message = Message.objects.get()
    assert (message.text, message.sender, message.idempotency_key) == ("你好", "zhangsan", "7")
    assert callback_stats.last_callback(account)[1] == "ok"
    account.refresh_from_db()
    assert account.state == Health.OK


def test_no_session_no_cookie_no_middleware(account: ChannelAccount) -> None:
    reply = call(account, *from_app(), HTTP_COOKIE="sessionid=x; csrftoken=y", HTTP_ACCEPT_LANGUAGE="zh-hans")
    assert reply.status == 200
    assert set(reply.headers) == {"content-type", "content-length"}


def test_one_statement_and_no_other(account: ChannelAccount, django_assert_num_queries: object) -> None:
    call(account, *from_app(msgid=1))  # reads the account, notes that it works
    with django_assert_num_queries(1):  # type: ignore[operator]
        call(account, *from_app(msgid=2))


def test_the_address_is_verified_with_the_plaintext_only(account: ChannelAccount) -> None:
    import base64

    from wechatpy.crypto import PrpCrypto

    echo = PrpCrypto(base64.b64decode(KEY + "=")).encrypt("4711", CORP).decode()
    reply = call(account, query={**signed(echo), "echostr": echo})
    assert (reply.status, reply.body) == (200, b"4711")
    assert callback_stats.last_callback(account)[1] == "verified"
    assert Message.objects.count() == 0


def test_a_bots_answer_opens_the_same_stream_for_every_repetition() -> None:
    account = bot()
    frames = [opened(call(account, *from_bot()).body) for _time in range(2)]
    message = Message.objects.get()
    assert frames[0] == frames[1]
    assert frames[0]["stream"]["id"] == message.uuid.hex
    assert frames[0]["stream"]["finish"] is False
    assert (message.text, message.peer_kind, message.peer_id) == ("hello", "group", "wrGroup")
    assert message.reply_address == "https://reply/?response_code=secret"
    assert "secret" not in str(message.raw)


def test_a_welcome_is_said_and_kept() -> None:
    account = bot(columns={"sentences": {"welcome": "欢迎"}})
    event = {
        "msgtype": "event",
        "event": {"eventtype": "enter_chat"},
        "chattype": "single",
        "create_time": 1_700_000_000,
    }
    bodies = [call(account, *from_bot(**event, text=None)).body for _twice in range(2)]
    assert [opened(body)["text"]["content"] for body in bodies] == ["欢迎"] * 2
    assert Message.objects.get(direction="out").text == "欢迎"


def test_what_nobody_knows_is_stored_as_unsupported(account: ChannelAccount) -> None:
    xml = (
        f"<xml><ToUserName>{CORP}</ToUserName><FromUserName>zhangsan</FromUserName><CreateTime>1</CreateTime>"
        "<MsgType>hologram</MsgType><MsgId>9</MsgId><AgentID>1000002</AgentID></xml>"
    )
    assert call(account, *from_app(xml=xml)).status == 200
    router.route_waiting()
    assert Message.objects.get().kind == "unsupported"


@pytest.mark.parametrize("nasty", ["a\x00b", "a\ud800b", "\udfff"])
def test_no_message_is_lost_to_what_postgresql_cannot_store(nasty: str) -> None:
    account = bot()
    route(account)
    assert call(account, *from_bot(text={"content": nasty}, extra={nasty: [nasty]})).status == 200
    router.route_waiting()
    message = Message.objects.get()
    assert message.text == nasty.replace("\x00", "\ufffd").replace("\ud800", "\ufffd").replace("\udfff", "\ufffd")
    assert message.deliveries.get().state == "pending"
    assert answer(message, f"ok {nasty}").deliveries.get().state == "pending"


# --- it is refused --------------------------------------------------------------------------------------------------------------


def refused(account: ChannelAccount, status: int, code: str, *args: object, **environ: object) -> None:
    reply = call(account, *args, **environ)  # type: ignore[arg-type]
    assert (reply.status, reply.headers["Content-Type"]) == (status, "text/plain; charset=utf-8")
    assert b"Traceback" not in reply.body
    assert TOKEN.encode() not in reply.body
    assert Message.objects.count() == 0
    assert callback_stats.refused_callbacks(account) == {code: 1}
    assert callback_stats.last_callback(account)[1] == code
    account.refresh_from_db()
    assert account.state == Health.NEW


def test_wrong_signature(account: ChannelAccount) -> None:
    body, query = from_app()
    refused(account, 403, "signature", body, {**query, "msg_signature": "0" * 40})


def test_no_signature(account: ChannelAccount) -> None:
    refused(account, 403, "signature", from_app()[0], {})


def test_stale(account: ChannelAccount) -> None:
    body, _query = from_app()
    ciphertext = body.decode().partition("<Encrypt>")[2].partition("</Encrypt>")[0]
    refused(account, 403, "stale", body, signed(ciphertext, timestamp="1600000000"))


def test_for_another_company(account: ChannelAccount) -> None:
    import base64

    from wechatpy.crypto import PrpCrypto

    ciphertext = PrpCrypto(base64.b64decode(KEY + "=")).encrypt("<xml/>", "wwother").decode()
    body = f"<xml><Encrypt>{ciphertext}</Encrypt></xml>".encode()
    refused(account, 403, "receiveid", body, signed(ciphertext))


def test_bad_padding(account: ChannelAccount) -> None:
    import base64

    ciphertext = base64.b64encode(bytes(64)).decode()
    refused(account, 400, "padding", f"<xml><Encrypt>{ciphertext}</Encrypt></xml>".encode(), signed(ciphertext))


@pytest.mark.parametrize(
    "body", [b"<xml>", b"not xml", b'<!DOCTYPE x [<!ENTITY a "b">]><xml><Encrypt>&a;</Encrypt></xml>', b"\xff"]
)
def test_broken_bodies(account: ChannelAccount, body: bytes) -> None:
    reply = call(account, body, signed("x"))
    assert reply.status in (400, 403)
    assert Message.objects.count() == 0
    assert sum(callback_stats.refused_callbacks(account).values()) == 1


@pytest.mark.parametrize("body", [b"[]", b"{}", b"{", b'{"encrypt": 1}', b"\xff"])
def test_broken_json(body: bytes) -> None:
    account = bot()
    assert call(account, body, signed("x")).status in (400, 403)
    assert Message.objects.count() == 0
    assert sum(callback_stats.refused_callbacks(account).values()) == 1


@pytest.mark.parametrize("length", ["", str(5 * 1024 * 1024)])
def test_more_than_a_mebibyte(account: ChannelAccount, length: str) -> None:
    body = b"<xml>" + b"x" * 1024 * 1024
    refused(account, 413, "too_large", body, signed("x"), length=length or str(len(body)))


@pytest.mark.parametrize("size", [1, 7, 10_000])
def test_a_body_in_pieces_is_read_whole(account: ChannelAccount, size: int) -> None:
    """As the web server gives it where it comes slowly, or in chunks without a length."""
    body, query = from_app("你好")
    pieces = [body[start : start + size] for start in range(0, len(body), size)]
    assert call(account, query=query, pieces=pieces).status == 200
    assert Message.objects.get().text == "你好"


def test_chunks_of_more_than_a_mebibyte(account: ChannelAccount) -> None:
    refused(account, 413, "too_large", b"", signed("x"), pieces=[b"x" * 65536] * 17)


def test_exactly_a_mebibyte_is_read(account: ChannelAccount) -> None:
    reply = call(account, b"x" * 1024 * 1024, signed("x"))
    assert reply.status == 400


def test_a_poll_for_no_stream_of_ours() -> None:
    account = bot()
    body, query = from_bot(msgtype="stream", stream={"id": "theirs"})
    refused(account, 400, "stream", body, query)


# --- nobody is there ------------------------------------------------------------------------------------------------------------


def test_unknown_disabled_and_malformed_addresses(account: ChannelAccount) -> None:
    body, query = from_app()
    for path in (f"/callbacks/{uuid4()}", "/callbacks/x", "/callbacks/", f"/callbacks/{account.key}/"):
        assert call(account, body, query, path=path).status == 404
    disabled = bot(columns={"enabled": False})
    assert call(disabled, *from_bot()).status == 404
    assert Message.objects.count() == 0


def test_an_account_is_remembered_for_a_moment_only(account: ChannelAccount, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(channels, "CACHE_SECONDS", 0.0)
    assert call(account, *from_app(msgid=1)).status == 200
    ChannelAccount.objects.update(enabled=False)
    assert call(account, *from_app(msgid=2)).status == 404
    assert Message.objects.get().idempotency_key == "1"


@pytest.mark.parametrize("method", ["PUT", "DELETE", "PATCH"])
def test_other_methods(account: ChannelAccount, method: str) -> None:
    assert call(account, *from_app(), REQUEST_METHOD=method).status == 405


def test_a_failing_account_does_not_work_again_because_it_hears(account: ChannelAccount) -> None:
    account.set_state(Health.FAILING, "", {"text": "the platform answers nothing"})
    assert call(account, *from_app()).status == 200
    account.refresh_from_db()
    assert (account.state, account.state_reason) == (Health.FAILING, "the platform answers nothing")


def test_a_stopped_account_still_hears(account: ChannelAccount) -> None:
    account.set_state(Health.STOPPED, "", {"text": "wrong secret"})
    assert call(account, *from_app()).status == 200
    assert Message.objects.count() == 1
    account.refresh_from_db()
    assert account.state == Health.STOPPED


def test_the_pages_are_behind_the_other_door(account: ChannelAccount) -> None:
    reply = call(account, path="/")
    assert reply.status == 302
    assert reply.headers["X-Frame-Options"] == "DENY"


def test_what_was_sent_is_confirmed_however_many_notes_wait() -> None:
    async def counts() -> tuple[int, int]:
        found = callbacks.Callbacks(Threads())
        found.tasks |= {asyncio.create_task(asyncio.sleep(60)) for _note in range(callbacks.MAX_TASKS)}
        found._run_later(asyncio.sleep(0))
        left_out = len(found.tasks)
        found._confirm(1)
        kept = len(found.tasks)
        for note in found.tasks:
            note.cancel()
        return left_out, kept

    assert asyncio.run(counts()) == (callbacks.MAX_TASKS, callbacks.MAX_TASKS + 1)


def test_what_was_heard_waits_for_the_router_and_the_worker_is_rung(
    account: ChannelAccount, valkey: redis.Redis
) -> None:
    with rings(valkey) as heard:
        call(account, *from_app())
        eventually(lambda: heard.rung("route"))
    assert heard.count == {"route": 1}
    route(account)
    router.route_waiting()
    assert row(Message.objects.get().deliveries.get()).state == "pending"
