"""The directory that WeCom shows to an app: one call a page, and permissions that are named when they are missing."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from channels_wechat.contract.directory import (
    DirectoryDepartment,
    DirectoryGroup,
    DirectoryPage,
    DirectoryPerson,
)
from channels_wechat.contract.errors import ChannelError
from channels_wechat.contract.explanations import Action
from tests.channels.harness import FIXTURES, Recorder, Reply, says

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
        ("customers", 60011, "可调用应用"),
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
