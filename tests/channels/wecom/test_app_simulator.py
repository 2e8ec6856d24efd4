"""The app against the simulator, which knows the platform's rules and shares no code with it."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import pytest

from channels_wechat.contract.errors import ChannelError
from channels_wechat.contract.explanations import Action
from channels_wechat.contract.messages import Content, File, Identity, MediaItem, Outgoing, Peer, Upload
from channels_wechat.simulator import RunningSimulator, SimulatorClient
from channels_wechat.wecom.app.channel import WeComApp
from channels_wechat.wire.http import Http
from tests.channels.wecom.test_cards import CARDS

if TYPE_CHECKING:
    from channels_wechat.contract.directory import DirectoryPage, DirectoryPart

KEY = "jWmYm7qr5nMoAUwZRjGtBxmz3KA1tkAj3ykkR6q2B2C"
AGENT = 1000002
CREDENTIALS = {"corp_id": "ww1", "agent_id": AGENT, "secret": "geheim", "token": "QDG6eK", "encoding_aes_key": KEY}
ZHANG = Peer("direct", "zhangsan")
PNG = b"\x89PNG\r\n\x1a\n" + b"x" * 20


class MemoryTokens:
    """A TokenSource for one channel: fetched when first needed, again when refused."""

    channel: WeComApp
    value = ""

    def current(self) -> str:
        return self.value or self.renew("")

    def renew(self, refused: str) -> str:
        self.value = self.channel.fetch_token().value
        return self.value


@pytest.fixture(scope="module")
def simulator():
    with RunningSimulator() as running:
        running.client.app(AGENT, corpid="ww1", secret="geheim", token="QDG6eK", aes_key=KEY, name="客服")
        for user, name in (("zhangsan", "张三"), ("lisi", "李四")):
            running.client.member(user, name)
        running.client.settings(member_per_minute=10_000)
        yield running


@pytest.fixture
def client(simulator: RunningSimulator):
    yield simulator.client
    simulator.client.clear_faults()
    simulator.client.app(AGENT, trusted_ip=True)


@pytest.fixture
def app(simulator: RunningSimulator) -> WeComApp:
    return connected(simulator)


def connected(simulator: RunningSimulator, **credentials: object) -> WeComApp:
    tokens = MemoryTokens()
    identity = Identity("key", "ww1/1000002", {**CREDENTIALS, **credentials}, simulator.url)
    tokens.channel = WeComApp(
        identity, Http(["127.0.0.1:*"], allowed_in_messages=["127.0.0.1:*"], timeout=(2, 1)), tokens
    )
    return tokens.channel


def failure(call, *arguments, **options) -> ChannelError:
    with pytest.raises(ChannelError) as caught:
        call(*arguments, **options)
    return caught.value


def seen(client: SimulatorClient, user: str = "zhangsan") -> list[str]:
    return [entry["text"] for entry in client.transcript(f"app:{AGENT}:{user}")]


def test_a_long_answer_arrives_in_order(client: SimulatorClient, app: WeComApp):
    said = "".join(f"第{number}句话。" for number in range(400))
    payloads = app.render(Content(said))
    assert len(payloads) > 1
    before = len(seen(client))
    for payload in payloads:
        assert app.send(Outgoing(ZHANG, payload)).remote_id
    assert "".join(seen(client)[before:]) == said


def test_a_repetition_is_swallowed_only_when_asked(client: SimulatorClient, app: WeComApp):
    (payload,) = app.render(Content("好的"))
    before = seen(client).count("好的")
    first = app.send(Outgoing(ZHANG, payload, check_repeats=True))
    assert app.send(Outgoing(ZHANG, payload, check_repeats=True)).remote_id == first.remote_id
    assert seen(client).count("好的") == before + 1
    app.send(Outgoing(ZHANG, payload))
    assert seen(client).count("好的") == before + 2


def test_a_partial_failure_is_a_note_and_a_whole_one_an_error(client: SimulatorClient, app: WeComApp):
    (payload,) = app.render(Content("hi"))
    assert "nobody" in str(app.send(Outgoing(Peer("direct", "zhangsan|nobody"), payload)).note)
    assert failure(app.send, Outgoing(Peer("direct", "nobody"), payload)).code == "81013"


@pytest.mark.parametrize(
    "upload",
    [
        Upload("image", "图.png", "image/png", PNG),
        Upload("image", "a.gif", "image/gif", b"GIF89a..."),
        Upload("voice", "a.amr", "audio/amr", b"#!AMR\n" + b"\x3c" * 32),
        Upload("video", "a.mp4", "video/mp4", b"\0\0\0\x18ftypmp42"),
        Upload("file", "报告.pdf", "application/pdf", b"%PDF-1.7"),
    ],
)
def test_a_file_goes_out_and_comes_back(client: SimulatorClient, app: WeComApp, upload):
    """The simulator refuses a media id of another type than the message's."""
    (payload,) = app.render(Content(files=(File(upload.kind, upload.name, upload.mime, len(upload.content), "7"),)))
    handle = app.upload(upload)
    assert app.send(Outgoing(ZHANG, payload, handle=handle)).remote_id
    assert client.transcript(f"app:{AGENT}:zhangsan")[-1]["data"]["name"] == upload.name
    fetched = app.download(MediaItem(upload.kind, handle))
    assert (fetched.content, fetched.name) == (upload.content, upload.name)


def test_a_video_of_45_mb_is_fetched_in_pieces(client: SimulatorClient, app: WeComApp, simulator: RunningSimulator):
    media = simulator._simulator.world.keep_media("video", "big.mp4", b"0123456789" * 4_500_000, "video/mp4")
    fetched = app.download(MediaItem("video", media.id))
    assert (len(fetched.content), fetched.content[-10:], fetched.name) == (45_000_000, b"0123456789", "big.mp4")
    assert failure(app.download, MediaItem("image", "gone")).code == "40007"


@pytest.mark.parametrize("kind", CARDS)
def test_a_card_of_every_type_is_shown(client: SimulatorClient, app: WeComApp, kind):
    (payload,) = app.render(Content(kind="template_card", data={"card_type": kind, **CARDS[kind]}))
    receipt = app.send(Outgoing(ZHANG, payload))
    assert bool(receipt.response.get("response_code")) == kind.endswith("_interaction")


def test_a_card_is_updated_once(client: SimulatorClient, app: WeComApp):
    (payload,) = app.render(
        Content(kind="template_card", data={"card_type": "button_interaction", **CARDS["button_interaction"]})
    )
    code = app.send(Outgoing(ZHANG, payload)).response["response_code"]
    app.update_template_card(code, {"button": {"replace_name": "已接入"}})
    assert failure(app.update_template_card, code, {"button": {"replace_name": "x"}}).code == "60140"


def test_a_message_is_recalled(client: SimulatorClient, app: WeComApp):
    remote_id = app.send(Outgoing(ZHANG, app.render(Content("oops"))[0])).remote_id
    app.recall(remote_id)
    assert client.transcript(f"app:{AGENT}:zhangsan")[-1]["recalled"]
    assert failure(app.recall, "unknown").code == "40058"


def test_a_group_of_our_own_is_made_and_written_to(client: SimulatorClient, app: WeComApp):
    chat = app.create_group("售后", ("zhangsan", "lisi"), owner="lisi")
    app.send(Outgoing(Peer("group", chat), app.render(Content("hello all"))[0]))
    app.update_group(chat, name="售后二")
    group = app.get_group(chat)
    assert (group.name, group.owner, set(group.members)) == ("售后二", "lisi", {"zhangsan", "lisi"})
    assert client.transcript(chat)[-1]["text"] == "hello all"
    assert failure(app.get_group, "unknown").code == "40050"


@pytest.mark.parametrize("spoil", ["invalidate_token", "expire_token"])
def test_a_token_the_platform_refuses_is_renewed(client: SimulatorClient, app: WeComApp, spoil):
    assert app.name_of("zhangsan") == "张三"
    getattr(client, spoil)(AGENT)
    assert app.name_of("lisi") == "李四"
    assert app.name_of("nobody") == ""


def test_the_account_is_tested(client: SimulatorClient, app: WeComApp, simulator: RunningSimulator):
    assert "客服" in app.test()[-1]
    assert failure(connected(simulator, agent_id=7).test).code == "301002"
    assert failure(connected(simulator, secret="wrong").test).code == "40001"
    client.app(AGENT, trusted_ip=False)
    error = failure(app.test)
    assert (error.code, error.detail.partition(" ")[0]) == ("60020", "127.0.0.1")


@pytest.mark.parametrize(
    ("fault", "details", "action", "arrived"),
    [
        ("timeout_before", {}, Action.UNKNOWN, 0),
        ("timeout_after", {}, Action.UNKNOWN, 1),
        ("reset_after", {}, Action.UNKNOWN, 1),
        ("html", {}, Action.UNKNOWN, 0),
        ("html", {"status": 502}, Action.UNKNOWN, 0),
        ("errcode", {"errcode": -1}, Action.UNKNOWN, 0),
        ("errcode", {"errcode": 45009}, Action.WAIT, 0),
    ],
)
def test_a_failure_says_what_can_be_known(client: SimulatorClient, app: WeComApp, fault, details, action, arrived):
    app.name_of("zhangsan")
    (payload,) = app.render(Content(f"{fault} {details}"))
    client.fault("message/send", fault, **details)
    assert failure(app.send, Outgoing(ZHANG, payload)).action == action
    assert seen(client).count(f"{fault} {details}") == arrived


def test_a_connection_reset_at_the_headers_may_be_known_as_not_sent(client: SimulatorClient, app: WeComApp):
    """The reset races with our body: written whole, the outcome is unknown; not written whole, nobody can have acted on it."""
    app.name_of("zhangsan")
    client.fault("message/send", "reset", times=0)
    error = failure(app.send, Outgoing(ZHANG, app.render(Content("never seen"))[0]))
    assert (error.action, error.code) in ((Action.UNKNOWN, "reset"), (Action.RETRY, "connect"))
    assert "never seen" not in seen(client)


@pytest.mark.parametrize("fault", ["timeout_after", "reset_after"])
def test_repeating_after_a_lost_answer_doubles_nothing(client: SimulatorClient, app: WeComApp, fault):
    (payload,) = app.render(Content(f"once {fault}"))
    client.fault("message/send", fault)
    assert failure(app.send, Outgoing(ZHANG, payload, check_repeats=True)).action == Action.UNKNOWN
    assert app.send(Outgoing(ZHANG, payload, check_repeats=True)).remote_id
    assert seen(client).count(f"once {fault}") == 1


def test_threads_share_one_app(client: SimulatorClient, app: WeComApp):
    (payload,) = app.render(Content("from a thread"))
    before = seen(client).count("from a thread")
    threads = [threading.Thread(target=app.send, args=(Outgoing(ZHANG, payload),)) for _ in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert seen(client).count("from a thread") == before + 12


def read_all(app: WeComApp, part: DirectoryPart) -> list[DirectoryPage]:
    pages, cursor = [], ""
    while True:
        pages.append(app.read_page(part, cursor))
        if not (cursor := pages[-1].next):
            return pages


def test_the_whole_directory_is_read_page_by_page(client: SimulatorClient, app: WeComApp):
    client.settings(directory_page=2)
    customers = [f"wmCustomer{number:020}" for number in range(5)]
    for number, customer in enumerate(customers):
        client.customer(customer, f"客户{number}", followers={"zhangsan": f"备注{number}" if number else ""})
    for number in range(3):
        client.customer_group(f"wrGroup{number}", f"群{number}", owner="lisi", members=["lisi", customers[number]])
    told = {part: read_all(app, part) for part in ("departments", "members", "customers", "groups")}
    assert [one.name for page in told["departments"] for one in page.departments] == ["模拟公司"]
    assert {one.id: one.name for page in told["members"] for one in page.people} == {"zhangsan": "张三", "lisi": "李四"}
    assert [(one.id, one.remark) for page in told["customers"] for one in page.people] == [
        (customer, f"备注{number}" if number else "") for number, customer in enumerate(customers)
    ]
    assert len(told["customers"]) == 4  # the members, then three pages of two
    groups = [group for page in told["groups"] for group in page.groups]
    assert [(group.name, [one.name for one in group.members]) for group in groups] == [
        (f"群{number}", ["李四", f"客户{number}"]) for number in range(3)
    ]


def test_a_permission_that_is_withdrawn_is_named(client: SimulatorClient, app: WeComApp):
    client.app(AGENT, refused={"externalcontact/groupchat/list": 48002})
    try:
        assert failure(app.read_page, "groups", "").capability == "directory_groups"
        assert app.read_page("departments", "").departments
    finally:
        client.app(AGENT, refused={})
