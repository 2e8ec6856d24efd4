"""The directory that WeCom shows to an app: one call a page, and permissions that are named when they are missing."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING

import pytest

from channels_wechat.contract.customer_messages import CustomerMessage
from channels_wechat.contract.directory import (
    DirectoryDepartment,
    DirectoryGroup,
    DirectoryPage,
    DirectoryPerson,
)
from channels_wechat.contract.errors import ChannelError
from channels_wechat.contract.explanations import Action
from channels_wechat.contract.messages import Content, Outgoing, Peer, Upload
from channels_wechat.wecom.app.parsing import read
from channels_wechat.wire import xml
from tests.channels.harness import FIXTURES, Recorder, Reply, fixture, fixtures, says
from tests.channels.wecom.app import connected

if TYPE_CHECKING:
    from channels_wechat.contract.directory import DirectoryPart
    from channels_wechat.wecom.app.channel import WeComApp

LI, WANG = "woAJ2GCAAAXtWyujaWJHDDGi0mACAAAA", "woAJ2GCAAAXtWyujaWJHDDGi0mACAAAB"
CHAT = "wrOgQhDgAAMYQiS5ol9G7gK9JVAAAA"
NAMED = DirectoryGroup(
    CHAT,
    "销售客服群",
    "zhushengben",
    (
        DirectoryPerson("abel", "张三丰"),
        DirectoryPerson("wmOgQhDgAAuXFJGwbve4g4iXknfOAAAA", "王语嫣", "customer"),
    ),
)


def recorded(name: str) -> Reply:
    return Reply((FIXTURES / "wecom_directory" / f"{name}.json").read_bytes())


def cursor(**state: object) -> str:
    return json.dumps(state, ensure_ascii=False)


def page(*people: DirectoryPerson, **more: object) -> DirectoryPage:
    return DirectoryPage(people, **more)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("part", "at", "answer", "call", "expected"),
    [
        (
            "departments", "", recorded("department_list"), "GET /cgi-bin/department/list",
            page(departments=(DirectoryDepartment("1", "广州研发中心", "0"), DirectoryDepartment("3", "邮箱产品部", "1"))),
        ),
        (
            "members", "", recorded("department_simplelist"), "GET /cgi-bin/department/simplelist",
            page(next=cursor(left=["1", "3"])),
        ),
        (
            "members", cursor(left=["1", "3"]), recorded("user_simplelist"), "GET /cgi-bin/user/simplelist department_id=1",
            page(DirectoryPerson("zhangsan", "张三", departments=("1", "3")), next=cursor(left=["3"])),
        ),
        (
            "members", cursor(left=["3"]), says(60011, "no privilege"), "GET /cgi-bin/user/simplelist department_id=3",
            page(skipped=1),
        ),
        (
            "customers", "", recorded("get_follow_user_list"), "GET /cgi-bin/externalcontact/get_follow_user_list",
            page(next=cursor(left=["zhangsan", "lissi"])),
        ),
        (
            "customers", cursor(left=["zhangsan", "lissi"]), recorded("batch_get_by_user"),
            'POST /cgi-bin/externalcontact/batch/get_by_user {"userid_list": ["zhangsan", "lissi"], "cursor": "", "limit": 100}',
            page(
                DirectoryPerson(LI, "李四", "customer", remark="李部长"), DirectoryPerson(WANG, "王五", "customer"),
                next=cursor(left=["zhangsan", "lissi"], cursor="r9FqSqsI8fgNbHLHE5QoCP50UIg2cFQbfma3l2QsmwI"),
            ),
        ),
        (
            "customers", cursor(left=["zhangsan"], cursor="r9Fq"), says(84061, "not external contact"),
            'POST /cgi-bin/externalcontact/batch/get_by_user {"userid_list": ["zhangsan"], "cursor": "r9Fq", "limit": 100}',
            page(),
        ),
        (
            "groups", "", recorded("groupchat_list"),
            'POST /cgi-bin/externalcontact/groupchat/list {"status_filter": 0, "cursor": "", "limit": 100}',
            page(next=cursor(left=[CHAT, "wrOgQhDgAAcwMTB7YmDkbeBsAAAA"], cursor="tJzlB9tdqfh-g7i_J-ehOz_TWcd7dSKa39_AqCIeMFw")),
        ),
        (
            "groups", cursor(left=[CHAT], cursor="tJzl"), recorded("groupchat_get"),
            f'POST /cgi-bin/externalcontact/groupchat/get {{"chat_id": "{CHAT}", "need_name": 1}}',
            page(groups=(NAMED,), next=cursor(left=[], cursor="tJzl")),
        ),
        (
            "groups", cursor(left=[CHAT], cursor=""), says(60011, "no privilege"),
            f'POST /cgi-bin/externalcontact/groupchat/get {{"chat_id": "{CHAT}", "need_name": 1}}',
            page(skipped=1),
        ),
    ],
)  # fmt: skip
def test_a_page_is_one_call(
    platform: Recorder, app: WeComApp, part: DirectoryPart, at: str, answer: Reply, call: str, expected: DirectoryPage
) -> None:
    platform.will(answer)
    assert app.read_page(part, at) == expected
    assert [described(one) for one in platform.requests] == [call]


def described(request: object) -> str:
    sent = request.body.decode() or "&".join(f"{k}={v}" for k, v in request.query.items() if k != "access_token")  # type: ignore[attr-defined]
    return f"{request.method} {request.path} {sent}".strip()  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("part", "entry", "answer", "expected"),
    [
        ("members", "zhangsan", recorded("user_get"), page(DirectoryPerson("zhangsan", "张三", departments=("1", "2")))),
        (
            "members", "zhangsan", says(0, userid="zhangsan", name="张三", status=5),
            page(DirectoryPerson("zhangsan", "张三", left=True)),
        ),
        ("members", "nobody", says(60111, "userid not found"), page(DirectoryPerson("nobody", left=True))),
        (
            "customers", "woAJ2GCAAAXtWyujaWJHDDGi0mACHAAA", recorded("externalcontact_get"),
            page(DirectoryPerson("woAJ2GCAAAXtWyujaWJHDDGi0mACHAAA", "李四", "customer", remark="李部长")),
        ),
        ("customers", LI, says(84061, "not external contact"), page(DirectoryPerson(LI, kind="customer", left=True))),
        ("groups", CHAT, recorded("groupchat_get"), page(groups=(NAMED,))),
        ("groups", CHAT, says(40050, "chatid does not exist"), page(groups=(DirectoryGroup(CHAT, gone=True),))),
        (
            "departments", "3", says(60003, "department not found"),
            page(departments=(DirectoryDepartment("3", gone=True),)),
        ),
    ],
)  # fmt: skip
def test_an_entry_is_one_call(
    platform: Recorder, app: WeComApp, part: DirectoryPart, entry: str, answer: Reply, expected: DirectoryPage
) -> None:
    platform.will(answer)
    assert app.read_entry(part, entry) == expected
    assert len(platform.requests) == 1


@pytest.mark.parametrize(
    ("part", "code", "words"),
    [
        ("departments", 60011, "可见范围"),
        ("members", 48002, "可见范围"),
        ("customers", 48002, "客户联系"),
        ("customers", 60011, "Apps that may call"),
        ("groups", 48004, "客户群"),
    ],
)
def test_what_is_not_granted_is_said_with_the_permission_that_is_missing(
    platform: Recorder, app: WeComApp, part: DirectoryPart, code: int, words: str
) -> None:
    platform.will(says(code, "api forbidden"))
    with pytest.raises(ChannelError) as caught:
        app.read_page(part, "")
    error = caught.value
    assert (error.capability, error.action, error.code) == (f"directory_{part}", Action.PERMANENT, f"directory_{part}")
    assert words in str(error)
    assert str(code) in str(error)
    assert len(platform.requests) == 1


def test_any_other_refusal_stays_what_it_is(platform: Recorder, app: WeComApp) -> None:
    platform.will(says(60020, "not allow to access from your ip, from ip: 203.0.113.7"))
    with pytest.raises(ChannelError) as caught:
        app.read_page("groups", "")
    assert (caught.value.code, caught.value.action, caught.value.capability) == ("60020", Action.CONFIG, "")


WO = "woAJ2GCAAAXtWyujaWJHDDGi0mAAAA"
CHANGES = {
    "change_contact__create_user": [("members", "zhangsan", False)],
    "change_contact__update_user": [("members", "zhangsan", True), ("members", "zhangsan001", False)],
    "change_contact__delete_user": [("members", "zhangsan", True)],
    "change_contact__create_party": [("departments", "2", False)],
    "change_contact__update_party": [("departments", "2", False)],
    "change_contact__delete_party": [("departments", "2", True)],
    "change_contact__update_tag": [],
    "change_external_contact__add_external_contact": [("customers", WO, False)],
    "change_external_contact__add_half_external_contact": [("customers", WO, False)],
    "change_external_contact__edit_external_contact": [("customers", WO, False)],
    "change_external_contact__del_external_contact": [("customers", WO, False)],
    "change_external_contact__del_follow_user": [("customers", WO, False)],
    "change_external_contact__transfer_fail": [],
    "change_external_contact__msg_audit_approved": [],
    "change_external_chat__create": [("groups", CHAT, False)],
    "change_external_chat__update_members": [("groups", CHAT, False)],
    "change_external_chat__update_members_flat": [("groups", CHAT, False)],
    "change_external_chat__update_one_member": [("groups", CHAT, False)],
    "change_external_chat__update_name": [("groups", CHAT, False)],
    "change_external_chat__dismiss": [("groups", CHAT, True)],
    "change_external_tag__create": [],
    "enter_agent__opened": [],
    "text__plain": [],
}


@pytest.mark.parametrize("name", fixtures("wecom_app"))
def test_an_event_names_the_entries_that_it_changed(name: str) -> None:
    plain = fixture("wecom_app", name)
    told = [tuple(change) for change in read(xml.parse(plain), plain).changes]
    assert told == CHANGES.get(name, [])
    assert name in CHANGES or not name.startswith(("change_contact", "change_external_c"))


@pytest.mark.parametrize(("age", "seconds"), [(0, 20), (12, 8), (19, 1), (20, 0), (3600, 0)])
def test_a_new_customer_comes_with_a_code_that_is_good_for_twenty_seconds(age: int, seconds: int) -> None:
    plain = fixture("wecom_app", "change_external_contact__add_external_contact")
    now = int(time.time())
    plain = plain.replace(b"1403610513", str(now - age).encode())
    inbound = read(xml.parse(plain), plain)
    assert "WELCOMECODE" not in json.dumps(inbound.raw)
    if not seconds:
        assert (inbound.peer, inbound.greets, inbound.reply_seconds) == (Peer("direct", "sys"), False, 0)
        return
    assert (inbound.peer, inbound.sender, inbound.greets) == (Peer("direct", WO, "WELCOMECODE"), WO, True)
    assert seconds - 2 <= inbound.reply_seconds <= seconds


def welcome(app: WeComApp, text: str, code: str = "CODE") -> Outgoing:
    (payload,) = app.render(Content(text))
    return Outgoing(Peer("direct", WO, code), payload)


@pytest.mark.parametrize("form", ["text", "markdown"])
def test_a_welcome_is_one_call_by_its_code(platform: Recorder, form: str) -> None:
    app = connected(platform, format=form)
    platform.will(recorded("send_welcome_msg"))
    assert app.send(welcome(app, "您好，很高兴认识您")).response["errcode"] == 0
    (request,) = platform.requests
    assert request.path == "/cgi-bin/externalcontact/send_welcome_msg"
    assert request.json == {"welcome_code": "CODE", "text": {"content": "您好，很高兴认识您"}}


def test_nothing_else_can_be_said_to_a_customer(platform: Recorder, app: WeComApp) -> None:
    with pytest.raises(ChannelError) as caught:
        app.send(welcome(app, "hi", code=""))
    assert (caught.value.code, platform.requests) == ("customer_only_welcomed", [])
    assert "a member confirms" in str(app.cannot_push(Peer("direct", WO)))
    assert not app.cannot_push(Peer("direct", "zhangsan"))
    assert (app.repeat_window(Peer("direct", WO), app.render(Content("hi"))[0])) == 0


def test_a_message_to_customers_is_one_request(platform: Recorder, app: WeComApp) -> None:
    platform.will(recorded("add_msg_template"), says(0, msgid="m2"))
    link = {"msgtype": "link", "link": {"title": "t", "url": "https://example.com"}}
    created = app.create_customer_message(CustomerMessage("direct", "zhangsan", (WO, LI), "hi", (link,)))
    assert (created.remote_id, created.left_out) == ("msgGCAAAXtWyujaWJHDDGi0mAAAA", ("wmqfasd1e1927831123109rBAAAA",))
    app.create_customer_message(CustomerMessage("group", "zhangsan", (CHAT,), "", (link,)))
    single, group = (request.json for request in platform.requests)
    assert single == {
        "chat_type": "single", "sender": "zhangsan", "external_userid": [WO, LI], "text": {"content": "hi"},
        "attachments": [link],
    }  # fmt: skip
    assert group == {"chat_type": "group", "sender": "zhangsan", "chat_id_list": [CHAT], "attachments": [link]}


@pytest.mark.parametrize(
    ("file", "kind"),
    [
        (Upload("image", "a.png", "image/png", b"\x89PNG\r\n\x1a\n" + b"x" * 20), "image"),
        (Upload("image", "a.gif", "image/gif", b"GIF89a......"), "file"),
        (Upload("voice", "a.amr", "audio/amr", b"#!AMR\n" + b"x" * 20), "file"),
    ],
)
def test_an_attachment_is_uploaded_as_what_customers_can_be_sent(
    platform: Recorder, app: WeComApp, file: Upload, kind: str
) -> None:
    platform.will(says(0, type=kind, media_id="M1"))
    assert app.upload_attachment(file) == {"msgtype": kind, kind: {"media_id": "M1"}}
    assert platform.requests[0].query["type"] == kind
