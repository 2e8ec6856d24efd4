"""Official Accounts and Mini Programs against the simulator, which knows WeChat's rules and shares no code with them."""

from __future__ import annotations

import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, urlsplit

import pytest

from channels_wechat.contract.errors import CallbackRefused, ChannelError
from channels_wechat.contract.explanations import Action
from channels_wechat.contract.messages import Content, File, Identity, Inbound, Outgoing, Peer, Upload, Verdict, Window
from channels_wechat.simulator import RunningSimulator, SimulatorClient
from channels_wechat.weixin.mini_program import MiniProgram
from channels_wechat.weixin.official_account import OfficialAccount
from channels_wechat.wire.http import Http

if TYPE_CHECKING:
    from collections.abc import Iterator

    from channels_wechat.weixin.account import WeixinAccount

KEY = "jWmYm7qr5nMoAUwZRjGtBxmz3KA1tkAj3ykkR6q2B2C"
OFFICIAL, MINI = "wxofficial0000001", "wxminiprogram0001"
FAN, USER = "oFollower-of-the-official-A1", "oUser-of-the-miniprogram-A1"
SECRETS = {"token": "QDG6eK", "encoding_aes_key": KEY, "app_secret": "geheim"}
PNG = b"\x89PNG\r\n\x1a\n" + b"x" * 20
MP4 = b"\x00\x00\x00\x18ftypmp42" + b"v" * 20
TEMPLATE = {"priTmplId": "T1", "title": "报名", "content": "会议:{{thing1.DATA}}", "example": "", "type": 2}


class MemoryTokens:
    """A TokenSource for one channel: fetched when first needed, again when refused."""

    channel: WeixinAccount
    value = ""
    fetched = 0

    def current(self) -> str:
        return self.value or self.renew("")

    def renew(self, refused: str) -> str:
        self.value = self.channel.fetch_token().value
        self.fetched += 1
        return self.value


class Address(ThreadingHTTPServer):
    """The callback address: what came is kept, and answered passively where `says` has words."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.channel: WeixinAccount
        self.heard: list[Inbound] = []
        self.refused: list[CallbackRefused] = []
        self.says = ""

    def answer(self, method: str, query: dict[str, str], body: bytes) -> tuple[int, bytes]:
        try:
            if method == "GET":
                return 200, self.channel.challenge(query).body
            reception = self.channel.parse(query, body)
        except CallbackRefused as refused:
            self.refused.append(refused)
            return refused.status, str(refused).encode()
        self.heard += reception.inbound
        if self.says and isinstance(self.channel, OfficialAccount):
            return 200, self.channel.passive(query, reception.inbound[0].raw, self.says).body
        return 200, self.channel.acknowledge(query, reception).body


class _Handler(BaseHTTPRequestHandler):
    server: Address

    def handle_any(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        query = dict(parse_qsl(urlsplit(self.path).query, keep_blank_values=True))
        status, answer = self.server.answer(self.command, query, body)
        self.send_response(status)
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    do_GET = do_POST = handle_any

    def log_message(self, *words: Any) -> None:
        """Quiet."""


@pytest.fixture
def address() -> Iterator[Address]:
    server = Address()
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    yield server
    server.shutdown()
    server.server_close()
    thread.join(5)


@pytest.fixture
def client(address: Address) -> Iterator[SimulatorClient]:
    with RunningSimulator() as running:
        known = running.client
        known.settings(callback_timeout=2, delivery_interval=0.05, media_check_seconds=0.02)
        url = f"http://127.0.0.1:{address.server_address[1]}/"
        account = {"secret": "geheim", "token": "QDG6eK", "aes_key": KEY, "callback_url": url}
        known.official(OFFICIAL, **account)
        known.mini(MINI, **account, words={"赌": "risky"}, templates=[TEMPLATE])
        known.person(OFFICIAL, "小红", FAN)
        known.person(MINI, "小明", USER)
        yield known


@pytest.fixture
def account(client: SimulatorClient, address: Address) -> OfficialAccount:
    found = connected(OfficialAccount, OFFICIAL, client, answers="automatic")
    assert isinstance(found, OfficialAccount)
    address.channel = found
    return found


@pytest.fixture
def program(client: SimulatorClient, address: Address) -> MiniProgram:
    found = connected(MiniProgram, MINI, client)
    assert isinstance(found, MiniProgram)
    address.channel = found
    return found


def connected(kind: type[WeixinAccount], app_id: str, client: SimulatorClient, **more: str) -> WeixinAccount:
    tokens = MemoryTokens()
    identity = Identity(app_id + client.url, app_id, {**SECRETS, "app_id": app_id, "mode": "safe", **more}, client.url)
    tokens.channel = kind(identity, Http(["127.0.0.1:*"], allowed_in_messages=["127.0.0.1:*"], timeout=(2, 2)), tokens)
    return tokens.channel


def failure(call: Any, *arguments: Any) -> ChannelError:
    with pytest.raises(ChannelError) as caught:
        call(*arguments)
    return caught.value


def heard(client: SimulatorClient, address: Address, said: dict[str, Any]) -> Inbound:
    assert client.wait_taken(said)["outcome"] == "delivered", address.refused
    return address.heard[-1]


def seen(client: SimulatorClient, person: str = FAN) -> list[tuple[str, str]]:
    return [(entry["kind"], entry["text"]) for entry in client.sent_to(person)]


# -- callbacks


@pytest.mark.parametrize("form", ["xml", "json"])
@pytest.mark.parametrize("mode", ["plaintext", "compatible", "safe"])
def test_a_message_comes_in_every_form(client: SimulatorClient, address: Address, mode: str, form: str) -> None:
    client.official(OFFICIAL, mode=mode, format=form)
    channel = connected(OfficialAccount, OFFICIAL, client, mode=mode, answers="passive")
    address.channel, address.says = channel, "在。 ]]> <b>"
    said = client.say("你好 👋 ]]>", official=OFFICIAL, from_=FAN)
    found = heard(client, address, said)
    assert (found.text, found.key, found.sender, found.window) == ("你好 👋 ]]>", said["id"], FAN, Window(5, 48 * 3600))
    shown = [("text", "在。 ]]> <b>")] if form == "xml" else []
    assert seen(client) == shown
    assert client.record()["violations"] == []


def test_a_clear_body_does_not_get_into_a_safe_account(
    client: SimulatorClient, address: Address, account: OfficialAccount
) -> None:
    client.settings(callback_tries=1)
    client.official(OFFICIAL, mode="plaintext")
    said = client.say("forged", official=OFFICIAL, from_=FAN)
    assert client.wait_taken(said)["outcome"] != "delivered"
    assert ([refused.code for refused in address.refused], address.heard) == (["downgrade"], [])


def test_the_address_is_verified(client: SimulatorClient, account: OfficialAccount) -> None:
    assert client.verify(official=OFFICIAL)["ok"]


def test_what_people_do_opens_its_window(client: SimulatorClient, address: Address, account: OfficialAccount) -> None:
    followed = heard(client, address, client.follow(OFFICIAL, FAN, "7"))
    assert (followed.follows, followed.text, followed.window) == (True, "subscribe qrscene_7", Window(3, 60))
    clicked = heard(client, address, client.click_menu(OFFICIAL, FAN, "K"))
    assert (clicked.kind, clicked.text, clicked.window) == ("action", "Menu entry: K", Window(3, 60))
    left = heard(client, address, client.unfollow(OFFICIAL, FAN))
    assert (left.follows, left.erase, left.window) == (False, True, None)


def test_a_choice_comes_back_by_its_label(client: SimulatorClient, address: Address, account: OfficialAccount) -> None:
    client.official(OFFICIAL, menu_ids=False)
    client.say("hi", official=OFFICIAL, from_=FAN)
    menu = {"head_content": "满意吗", "list": [{"id": "1", "content": "满意"}, {"id": "2", "content": "不满意"}]}
    (payload,) = account.render(Content(kind="msgmenu", data=menu))
    account.send(Outgoing(Peer("direct", FAN), payload))
    found = heard(client, address, client.tap(client.sent_to(FAN)[-1]["seq"], FAN, "2"))
    assert (found.text, found.window) == ("不满意", Window(3, 60))


# -- sending


def test_five_messages_and_no_more(client: SimulatorClient, account: OfficialAccount) -> None:
    client.say("hi", official=OFFICIAL, from_=FAN)
    payloads = account.render(Content("第一句话。" * 1000, ai=True))
    assert len(payloads) == 8
    for payload in payloads[:5]:
        account.send(Outgoing(Peer("direct", FAN), payload))
    error = failure(account.send, Outgoing(Peer("direct", FAN), payloads[5]))
    assert (error.code, error.action) == ("45047", Action.WINDOW)
    assert seen(client) == [("text", payload.body["text"]["content"]) for payload in payloads[:5]]
    assert all(entry["data"]["ai"] for entry in client.sent_to(FAN))
    client.unfollow(OFFICIAL, FAN)
    assert failure(account.send, Outgoing(Peer("direct", FAN), payloads[5])).action == Action.WINDOW


def test_an_account_that_takes_no_label(client: SimulatorClient, account: OfficialAccount) -> None:
    client.official(OFFICIAL, takes_ai_label=False)
    client.say("hi", official=OFFICIAL, from_=FAN)
    (payload,) = account.render(Content("你好", ai=True))
    notes = [account.send(Outgoing(Peer("direct", FAN), payload)).note.code for _twice in range(2)]
    assert (bool(notes[0]), notes[1]) == (True, "")
    assert len(client.calls("message/custom/send")) == 3


def test_a_dead_token_is_renewed_once(client: SimulatorClient, account: OfficialAccount) -> None:
    client.say("hi", official=OFFICIAL, from_=FAN)
    (payload,) = account.render(Content("你好"))
    account.send(Outgoing(Peer("direct", FAN), payload))
    client.invalidate_token(official=OFFICIAL)
    account.send(Outgoing(Peer("direct", FAN), payload))
    tokens = account.tokens
    assert isinstance(tokens, MemoryTokens)
    assert (tokens.fetched, len(seen(client)), len(client.calls("message/custom/send"))) == (2, 2, 3)


def test_an_unverified_account_learns_what_it_may_not_do(client: SimulatorClient, account: OfficialAccount) -> None:
    client.official(OFFICIAL, verified=False)
    client.say("hi", official=OFFICIAL, from_=FAN)
    (payload,) = account.render(Content("你好"))
    assert failure(account.send, Outgoing(Peer("direct", FAN), payload)).capability == "custom_send"
    assert failure(account.show_typing, Peer("direct", FAN)).capability == "typing"
    assert failure(account.name_of, FAN).capability == "user_info"


def test_an_unverified_account_gets_no_file_of_a_follower(
    client: SimulatorClient, address: Address, account: OfficialAccount
) -> None:
    client.official(OFFICIAL, verified=False)
    said = client.say(official=OFFICIAL, from_=FAN, kind="image", data=PNG, name="a.png")
    (item,) = heard(client, address, said).media
    error = failure(account.download, item)
    assert (error.code, error.capability) == ("48001", "media")
    client.official(OFFICIAL, verified=True)
    assert account.download(item).content == PNG


def test_an_address_that_is_not_allowed_is_shown(client: SimulatorClient, account: OfficialAccount) -> None:
    client.official(OFFICIAL, ip_whitelist=["203.0.113.7"])
    error = failure(account.test)
    assert (error.code, error.action) == ("40164", Action.CONFIG)
    assert error.detail.startswith("127.0.0.1 · ")
    assert "rid" in error.response


def test_the_account_is_tested_and_typing_shown(client: SimulatorClient, account: OfficialAccount) -> None:
    assert "500000 of 500000" in account.test()[1]
    client.say("hi", official=OFFICIAL, from_=FAN)
    account.show_typing(Peer("direct", FAN))
    assert failure(account.show_typing, Peer("direct", FAN)).code == "45081"
    assert account.person(FAN).follows
    account.clear_quotas()


# -- media


@pytest.mark.parametrize(
    ("kind", "data", "name", "mime"), [("image", PNG, "a.png", "image/png"), ("video", MP4, "a.mp4", "video/mp4")]
)
def test_files_go_both_ways(
    client: SimulatorClient, address: Address, account: OfficialAccount, kind: Any, data: bytes, name: str, mime: str
) -> None:
    found = heard(client, address, client.say(official=OFFICIAL, from_=FAN, kind=kind, data=data, name=name))
    (item,) = found.media
    fetched = account.download(item)
    assert (fetched.kind, fetched.content, fetched.mime) == (kind, data, mime)
    (payload,) = account.render(Content(files=(File(kind, name, mime, len(data), "7"),)))
    account.send(Outgoing(Peer("direct", FAN), payload, handle=account.upload(Upload(kind, name, mime, data))))
    assert [shown for shown, _text in seen(client)] == [kind]


def test_a_transcript_is_the_message(client: SimulatorClient, address: Address, account: OfficialAccount) -> None:
    found = heard(
        client, address, client.say("明天开会", official=OFFICIAL, from_=FAN, kind="voice", data=b"#!AMR\nxxxx")
    )
    assert (found.kind, found.text, found.media) == ("voice", "明天开会", ())


# -- a Mini Program


def test_a_user_and_a_mini_program_talk(client: SimulatorClient, address: Address, program: MiniProgram) -> None:
    entered = heard(client, address, client.enter_session(MINI, USER, "home"))
    assert (entered.text, entered.window) == ("user_enter_tempsession home", Window(2, 60))
    assert heard(client, address, client.say("在吗", mini=MINI, from_=USER)).text == "在吗"
    link = {"title": "t", "description": "d", "url": "https://example.com", "thumb_url": "https://example.com/p"}
    for content in (Content("你好"), Content(kind="link", data=link)):
        (payload,) = program.render(content)
        program.send(Outgoing(Peer("direct", USER), payload))
    picture = File("image", "a.png", "image/png", len(PNG), "7")
    (card,) = program.render(
        Content(kind="miniprogrampage", data={"title": "t", "pagepath": "pages/index"}, files=(picture,))
    )
    program.send(
        Outgoing(Peer("direct", USER), card, handle=program.upload(Upload("image", "a.png", "image/png", PNG)))
    )
    assert [kind for kind, _text in seen(client, USER)] == ["text", "link", "miniprogrampage"]
    assert client.record()["violations"] == []


def test_what_is_said_is_checked(client: SimulatorClient, address: Address, program: MiniProgram) -> None:
    client.say("在吗", mini=MINI, from_=USER)
    assert program.check_text(USER, "你好").suggest == "pass"
    assert program.check_text(USER, "你" * 3000 + "赌").suggest == "risky"
    trace = program.check_media(USER, "https://example.com/a.png", "image")
    client.wait_for(lambda: [message for message in address.heard if message.verdict])
    assert address.heard[-1].verdict == Verdict(trace, "pass", 100)


def test_a_subscribe_message_needs_consent(client: SimulatorClient, program: MiniProgram) -> None:
    assert [template.id for template in program.templates()] == ["T1"]
    data = {"template_id": "T1", "page": "pages/index", "data": {"thing1": {"value": "周会"}}}
    (payload,) = program.render(Content(kind="subscribe", data=data))
    assert failure(program.send, Outgoing(Peer("direct", USER), payload)).code == "43101"
    client.accept(MINI, USER, "T1")
    assert program.send(Outgoing(Peer("direct", USER), payload)).remote_id
    assert seen(client, USER) == [("subscribe_message", "会议:周会")]
