"""Customer service against the simulator, which knows the platform's rules and shares no code with it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from channels_wechat.contract.errors import ChannelError, ContentRefused
from channels_wechat.contract.explanations import Action
from channels_wechat.contract.messages import (
    Content,
    File,
    Identity,
    Knock,
    MediaItem,
    Outgoing,
    Payload,
    Peer,
    Servicer,
    ServiceState,
    Upload,
)
from channels_wechat.contract.sentences import Sentences
from channels_wechat.simulator import RunningSimulator, SimulatorClient
from channels_wechat.wecom.app.channel import WeComApp
from channels_wechat.wecom.kf.channel import WeComKf
from channels_wechat.wire.http import Http
from tests.channels.wecom.test_app_parsing import CORP, CREDENTIALS, sealed

if TYPE_CHECKING:
    from collections.abc import Iterator

KF, CUSTOMER, AGENT = "wkAJ2GCAAASSm4_FhToWMFea0xAFfd3Q", "wmAJ2GCAAAme1XQRC-NI-q0_ZM9ukoAw", 1000002
ANNA = Peer("direct", CUSTOMER)
PNG = b"\x89PNG\r\n\x1a\n" + b"x" * 20
KNOCK = (
    f"<xml><ToUserName>{CORP}</ToUserName><CreateTime>1348831860</CreateTime><MsgType>event</MsgType><Event>kf_msg_or_event</Event>"
    f"<Token>ENCApHxnGDNAVNY4AaSJKj4Tb5mwsEMzxhFmHVGcra996NR</Token><OpenKfId>{KF}</OpenKfId></xml>"
).encode()
MENU = {
    "head_content": "您对本次服务是否满意呢?",
    "list": [
        {"type": "click", "click": {"id": "101", "content": "满意"}},
        {"type": "view", "view": {"url": "https://work.weixin.qq.com", "content": "自助查询"}},
        {"type": "miniprogram", "miniprogram": {"appid": "wx123", "pagepath": "pages/index", "content": "小程序"}},
        {"type": "text", "text": {"content": "谢谢"}},
    ],
    "tail_content": "欢迎再次光临",
}
PLACE = {"name": "酒店", "address": "路1号", "latitude": 23.1, "longitude": 113.3}


class MemoryTokens:
    channel: WeComKf
    value = ""

    def current(self) -> str:
        return self.value or self.renew("")

    def renew(self, refused: str) -> str:
        self.value = self.channel.fetch_token().value
        return self.value


@pytest.fixture
def client() -> Iterator[SimulatorClient]:
    with RunningSimulator() as running:
        client = running.client
        client.app(AGENT, corpid=CORP, secret="geheim", token="QDG6eK", aes_key=CREDENTIALS["encoding_aes_key"])  # noqa: S106
        client.kf_account(KF, AGENT, name="售后", servicers=["wangwu"])
        client.kf_customer(CUSTOMER, "小红")
        yield client


@pytest.fixture
def kf(client: SimulatorClient) -> WeComKf:
    tokens = MemoryTokens()
    credentials = {**CREDENTIALS, "open_kfid": KF}
    tokens.channel = WeComKf(Identity("key", KF, credentials, client.url), Http(["127.0.0.1:*"]), tokens)
    return tokens.channel


def offline(credentials: dict[str, Any] = CREDENTIALS) -> WeComKf:
    return WeComKf(Identity("key", KF, {**credentials, "open_kfid": KF}, sentences=Sentences("en")), Http())


def said(client: SimulatorClient) -> list[tuple[str, str]]:
    chat = client.transcript(f"kf:{KF}:{CUSTOMER}")
    return [(entry["kind"], entry["text"]) for entry in chat if entry["via"].startswith("kf/")]


# --- callbacks


def test_a_notice_names_the_account_and_its_token_and_is_no_message() -> None:
    reception = offline().parse(*sealed(KNOCK))
    assert reception.inbound == ()
    assert reception.knocks == (Knock("wecom_kf", KF, "ENCApHxnGDNAVNY4AaSJKj4Tb5mwsEMzxhFmHVGcra996NR"),)
    assert "ENC" not in repr(reception)


def test_the_app_of_the_company_passes_a_notice_on_and_keeps_the_event_without_the_token() -> None:
    reception = WeComApp(Identity("key", "x", CREDENTIALS), Http()).parse(*sealed(KNOCK))
    (event,) = reception.inbound
    assert [knock.external_id for knock in reception.knocks] == [KF]
    assert (event.kind, "ENC" in repr(event)) == ("event", False)


@pytest.mark.parametrize(
    "body", [b"<xml><Event>kf_msg_or_event</Event></xml>", b"<xml><Event>click</Event><OpenKfId>wk</OpenKfId></xml>"]
)
def test_anything_else_is_no_notice(body: bytes) -> None:
    reception = offline().parse(*sealed(body))
    assert (reception.knocks, len(reception.inbound)) == ((), 1)


# --- what it can say


@pytest.mark.parametrize(("kind", "data"), [("msgmenu", MENU), ("location", PLACE)])
def test_a_message_of_its_own_type_goes_out_as_the_document_has_it(
    client: SimulatorClient, kf: WeComKf, kind: str, data: dict[str, Any]
) -> None:
    client.say("hi", kf=KF, from_=CUSTOMER)
    (payload,) = kf.render(Content(kind=kind, data=data))
    assert payload.body == {"msgtype": kind, kind: data}
    assert kf.send(Outgoing(ANNA, payload, key="a" * 32)).remote_id == "a" * 32
    assert [kind for kind, _text in said(client)] == [kind]


@pytest.mark.parametrize(
    ("kind", "data"),
    [
        ("link", {"title": "标题", "desc": "描述", "url": "https://example.org"}),
        ("miniprogram", {"appid": "wx123", "title": "标题", "pagepath": "pages/index"}),
        ("image", {}),
    ],
)
def test_a_card_shows_an_uploaded_picture(
    client: SimulatorClient, kf: WeComKf, kind: str, data: dict[str, Any]
) -> None:
    client.say("hi", kf=KF, from_=CUSTOMER)
    handle = kf.upload(Upload("image", "a.png", "image/png", PNG))
    file = File("image", "a.png", "image/png", len(PNG), "7")
    (payload,) = kf.render(Content(kind=kind, data=data, files=(file,)))
    assert payload.file == "7"
    kf.send(Outgoing(ANNA, Payload.from_json(payload.as_json()), handle=handle))
    assert [kind for kind, _text in said(client)] == [kind]


def test_markdown_is_made_plain_and_cut_by_bytes_and_files_follow() -> None:
    files = (File("image", "a.png", "image/png", 99, "7"), File("file", "b.zip", "", 1, "8"))
    *texts, last = offline().render(Content(text="**好** " * 800, files=files))
    contents = [payload.body["text"]["content"] for payload in texts]
    assert len(contents) > 1
    assert all(len(text.encode()) <= 2048 and "*" not in text for text in contents)
    assert "b.zip" in contents[-1]
    assert (last.body["msgtype"], last.file) == ("image", "7")


@pytest.mark.parametrize(
    ("content", "field"),
    [
        (Content(text="  "), "text"),
        (Content(kind="template_card"), "kind"),
        (Content(kind="msgmenu", data={"list": []}), "list"),
        (Content(kind="msgmenu", data={"list": [{"type": "fax"}]}), "list[1].type"),
        (Content(kind="msgmenu", data={"list": [{"type": "click", "click": {}}]}), "list[1].click.content"),
        (Content(kind="msgmenu", data={"list": MENU["list"] * 3}), "list"),
        (Content(kind="location", data={"latitude": 91, "longitude": 1}), "latitude"),
        (Content(kind="location", data={"latitude": True, "longitude": 1}), "latitude"),
        (Content(kind="link", data={"title": "t", "url": "https://x"}), "thumb_media_id"),
        (Content(kind="link", data={"title": "好" * 43, "url": "https://x", "thumb_media_id": "m"}), "title"),
        (Content(kind="image"), "files"),
        (Content(kind="image", files=(File("file", "a.zip", "", 99, "7"),)), "files"),
        (
            Content(kind="link", data={"title": "t", "url": "https://x"}, files=(File("file", "a", "", 9, "7"),)),
            "files",
        ),
    ],
)
def test_what_cannot_be_sent_is_refused_before_it_is_stored(content: Content, field: str) -> None:
    with pytest.raises(ContentRefused) as refused:
        offline().render(content)
    assert refused.value.field == field


@pytest.mark.parametrize(
    ("sizes", "apart", "merged"), [((3, 3), True, "aaa\n\nbbb"), ((3, 3), False, "aaabbb"), ((2048, 1), False, None)]
)
def test_short_texts_become_one_message(sizes: tuple[int, int], apart: bool, merged: str | None) -> None:
    first, second = (
        Payload({"msgtype": "text", "text": {"content": mark * size}}) for mark, size in zip("ab", sizes, strict=True)
    )
    found = offline().merge(first, second, apart=apart)
    assert (found and found.body["text"]["content"]) == merged
    assert offline().merge(first, Payload({"msgtype": "image", "image": {}}), apart=apart) is None


def test_the_code_of_an_event_carries_one_text_and_no_file(client: SimulatorClient, kf: WeComKf) -> None:
    client.open_chat(KF, CUSTOMER)
    (event,) = kf.pull("").inbound
    welcome = Payload({"msgtype": "text", "text": {"content": "您好"}})
    kf.send(Outgoing(event.peer, welcome, key="w" * 32))
    assert said(client) == [("text", "您好")]
    assert (kf.repeat_window(event.peer, welcome), kf.repeat_window(ANNA, welcome) > 0) == (0, True)
    with pytest.raises(ChannelError) as spent:
        kf.send(Outgoing(event.peer, welcome))
    assert spent.value.code == "95012"
    with pytest.raises(ChannelError) as picture:
        kf.send(Outgoing(event.peer, Payload({"msgtype": "image", "image": {}})))
    assert (picture.value.code, picture.value.action) == ("event_code", Action.PERMANENT)


def test_a_repetition_under_the_same_id_is_said_once(client: SimulatorClient, kf: WeComKf) -> None:
    client.say("hi", kf=KF, from_=CUSTOMER)
    outgoing = Outgoing(ANNA, Payload({"msgtype": "text", "text": {"content": "x"}}), key="k" * 32)
    assert kf.send(outgoing).remote_id == kf.send(outgoing).remote_id == "k" * 32
    assert said(client) == [("text", "x")]


@pytest.mark.parametrize(
    ("errcode", "action"),
    [
        (95000, Action.CONFIG),
        (95001, Action.WINDOW),
        (95013, Action.WINDOW),
        (95014, Action.PERMANENT),
        (95016, Action.PERMANENT),
        (95017, Action.CONFIG),
        (95018, Action.WINDOW),
        (45009, Action.WAIT),
        (60020, Action.CONFIG),
    ],
)
def test_every_error_has_a_class_a_cause_and_a_cure(
    client: SimulatorClient, kf: WeComKf, errcode: int, action: Action
) -> None:
    client.fault("kf/send_msg", "errcode", errcode=errcode)
    with pytest.raises(ChannelError) as error:
        kf.send(Outgoing(ANNA, Payload({"msgtype": "text", "text": {"content": "x"}})))
    assert (error.value.code, error.value.action) == (str(errcode), action)
    assert error.value.explanation.cause
    assert error.value.explanation.cure or errcode in (95014,)
    assert len(client.calls("kf/send_msg")) == 1


# --- what comes, and people


def test_a_customer_s_file_is_fetched(client: SimulatorClient, kf: WeComKf) -> None:
    client.say(kf=KF, from_=CUSTOMER, kind="image", data=PNG, name="a.png")
    (message,) = kf.pull("").inbound
    file = kf.download(message.media[0])
    assert (file.content, file.name, file.mime) == (PNG, "a.png", "image/png")
    assert isinstance(message.media[0], MediaItem)


def test_a_page_says_whether_more_follows_and_from_where(client: SimulatorClient, kf: WeComKf) -> None:
    client.kf_account(KF, AGENT, page_size=2)
    for text in "123":
        client.say(text, kf=KF, from_=CUSTOMER)
    first = kf.pull("")
    second = kf.pull(first.cursor)
    assert [[one.text for one in page.inbound] for page in (first, second)] == [["1", "2"], ["3"]]
    assert (first.more, second.more) == (True, False)
    assert kf.pull(second.cursor).inbound == ()


def test_a_customer_s_name_is_their_nickname(kf: WeComKf) -> None:
    assert (kf.name_of(CUSTOMER), kf.name_of("wmNobody")) == ("小红", "")


def test_a_conversation_is_handed_over_and_ended(client: SimulatorClient, kf: WeComKf) -> None:
    assert kf.service_state(CUSTOMER) == ServiceState("ended")
    client.say("hi", kf=KF, from_=CUSTOMER)
    assert (kf.servicers(), kf.service_state(CUSTOMER)) == ([Servicer("wangwu")], ServiceState("new"))
    kf.hand_over(CUSTOMER, "")
    assert kf.service_state(CUSTOMER) == ServiceState("pool")
    kf.hand_over(CUSTOMER, "wangwu")
    assert kf.service_state(CUSTOMER) == ServiceState("servicer", "wangwu")
    kf.end_service(CUSTOMER)
    assert kf.service_state(CUSTOMER) == ServiceState("ended")
    with pytest.raises(ChannelError) as ended:
        kf.hand_over(CUSTOMER, "wangwu")
    assert ended.value.code == "95016"


def test_the_test_of_an_account_finds_it_among_those_of_its_app(client: SimulatorClient, kf: WeComKf) -> None:
    assert kf.test()[-1] == "The ID belongs to the customer-service account “售后”."
    client.kf_account(KF, AGENT + 1)
    with pytest.raises(ChannelError) as other:
        kf.test()
    assert (other.value.code, other.value.action) == ("no_account", Action.CONFIG)
