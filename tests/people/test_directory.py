"""A company's directory becomes names: page by page, once for each page whatever dies, and by one process at a time."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from datetime import timedelta
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import pytest
from django.conf import settings
from django.db import connection
from django.utils import timezone

from accounts import lease
from accounts.health import Health
from accounts.models import ChannelAccount, Restriction
from bridge.models import Contact, Conversation, CustomerGroup, Department, DirectoryChange, DirectoryRead
from bridge.people import directory, peers
from tests.support.factories import AGENT, NOWHERE, app, bot, conversation

if TYPE_CHECKING:
    from channels_wechat.simulator import SimulatorClient

pytestmark = pytest.mark.django_db
LI = "wmCustomerLi000000000000000"
WANG = "wmCustomerWang0000000000000"
CHAT = "wrGroupOfSales"


@pytest.fixture
def people(company: SimulatorClient) -> SimulatorClient:
    """Three members in two departments, two customers, a group of a member and a customer."""
    company.member("lisi", "李四", department=[1, 2])
    company.customer(LI, "李部长", followers={"zhangsan": "老李", "lisi": ""})
    company.customer(WANG, "王五", followers={"zhangsan": ""})
    company.customer_group(CHAT, "销售客服群", owner="zhangsan", members=["zhangsan", LI])
    company.settings(directory_page=2)
    return company


def read_all(most: int = 60) -> int:
    """Read until nothing is due. Return the number of runs."""
    for run in range(most):
        if not directory.read_due():
            return run
    raise AssertionError("the reading does not end")


def told(account: ChannelAccount) -> dict[str, tuple[str, str, bool]]:
    rows = account.contacts.order_by("external_id")
    return {row.external_id: (row.name, row.kind, row.left_at is not None) for row in rows}


EVERYBODY = {
    "zhangsan": ("张三", "member", False),
    "lisi": ("李四", "member", False),
    "wangwu": ("王五", "member", False),
    LI: ("李部长", "customer", False),
    WANG: ("王五", "customer", False),
}


def test_a_reading_names_members_customers_and_groups(people: SimulatorClient) -> None:
    account = app(people.url)
    robot = bot(people.url)
    peers.upsert_contacts(robot, "zhangsan", {})
    talks = [
        conversation(account, "lisi"),
        conversation(robot, "zhangsan"),
        conversation(account, "wangwu", title="老王"),
    ]
    group = conversation(account, CHAT, "group")
    read_all()
    assert told(account) == EVERYBODY
    assert Contact.objects.get(account=account, external_id="lisi").department == "模拟公司, 部门2"
    assert Contact.objects.get(account=account, external_id=LI).remark == "老李"
    assert told(robot) == {"zhangsan": ("张三", "", False)}
    for talk in [*talks, group]:
        talk.refresh_from_db()
    assert [talk.title for talk in [*talks, group]] == ["李四", "张三", "老王", "销售客服群"]
    stored = CustomerGroup.objects.get()
    assert (stored.name, stored.owner, [one["name"] for one in stored.members]) == (
        "销售客服群", "zhangsan", ["张三", "李部长"],
    )  # fmt: skip
    row = DirectoryRead.objects.get()
    assert {part: result["count"] for part, result in row.results.items()} == {
        "departments": 2, "members": 4, "customers": 3, "groups": 1,
    }  # fmt: skip
    assert row.finished_at
    assert row.next_reading_at > timezone.now() + timedelta(hours=23)
    before = len(people.calls())
    assert (directory.read_due(), len(people.calls())) == (0, before)


PATHS = [
    "department/list",
    "department/simplelist",
    "user/simplelist",
    "user/simplelist",
    "externalcontact/get_follow_user_list",
    "externalcontact/batch/get_by_user",
    "externalcontact/batch/get_by_user",
    "externalcontact/groupchat/list",
    "externalcontact/groupchat/get",
]


def test_each_run_makes_one_call_for_each_account(people: SimulatorClient) -> None:
    app(people.url)
    read_all()
    paths = [call["path"] for call in people.calls() if call["path"] != "gettoken"]
    assert paths == PATHS


def test_a_process_that_is_killed_costs_one_page(people: SimulatorClient) -> None:
    """The platform had answered, nothing was stored, and the lease of the dead process ends."""
    account = app(people.url)
    for _run in range(5):
        directory.read_due()
    row = DirectoryRead.objects.get()
    assert row.part == "customers"
    lease.acquire(DirectoryRead.objects.all(), "a process that died", 60)
    assert directory.read_due() == 0
    DirectoryRead.objects.update(owner_until=timezone.now() - timedelta(seconds=1))
    read_all()
    assert told(account) == EVERYBODY
    counted = [call["path"] for call in people.calls()].count("department/list")
    assert counted == 1


READING = """
import django
django.setup()
from bridge.people import directory
while True:
    directory.read_due()
"""


@pytest.mark.django_db(transaction=True)
def test_after_kill_9_the_reading_goes_on_where_it_was(people: SimulatorClient) -> None:
    """The process is killed while the platform answers its seventh call."""
    account = app(people.url)
    people.fault("externalcontact/batch/get_by_user", "slow_after", times=1, seconds=60)
    database = urlsplit(os.environ["DATABASE_URL"])._replace(path=f"/{connection.settings_dict['NAME']}").geturl()
    env = {**os.environ, "DATABASE_URL": database, "REDIS_URL": settings.REDIS_URL}
    env |= {"DJANGO_SETTINGS_MODULE": "bridge.settings"}
    with subprocess.Popen([sys.executable, "-c", READING], env=env) as process:
        try:
            people.wait_for(lambda: people.calls("externalcontact/batch/get_by_user"), timeout=120)
            assert directory.read_due() == 0  # another process has the row
        finally:
            process.kill()
    row = DirectoryRead.objects.get()
    assert (row.part, bool(row.owner), set(told(account))) == ("customers", True, {"zhangsan", "lisi", "wangwu"})
    DirectoryRead.objects.update(owner_until=timezone.now())  # two minutes pass
    read_all()
    assert told(account) == EVERYBODY
    called = [call["path"] for call in people.calls() if call["path"] != "gettoken"]
    assert called == [*PATHS[:6], *PATHS[5:]]  # the page whose answer was lost is read once more, and no other


def test_a_process_that_was_held_up_past_its_lease_stores_nothing(people: SimulatorClient) -> None:
    account = app(people.url)
    directory.read_due()
    late = DirectoryRead.objects.get()
    lease.acquire(DirectoryRead.objects.all(), "late", 60)
    late.refresh_from_db()
    DirectoryRead.objects.update(owner_until=timezone.now() - timedelta(seconds=1))
    read_all()
    before = DirectoryRead.objects.values().get(), told(account)
    page = directory.directory_rows.build_gone("members", "zhangsan")
    directory._store(late, directory.Call("members"), page)
    assert (DirectoryRead.objects.values().get(), told(account)) == before


@pytest.mark.django_db(transaction=True)
def test_workers_at_once_read_each_page_once(people: SimulatorClient) -> None:
    """Each call takes long enough for the others to come meanwhile."""
    app(people.url)
    directory._add_rows()
    people.fault("*", "slow", times=0, seconds=0.1)

    def work() -> None:
        until = time.monotonic() + 60
        while DirectoryRead.objects.get().finished_at is None and time.monotonic() < until:
            directory.read_due()
        connection.close()

    workers = [threading.Thread(target=work) for _number in range(3)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(90)
    assert [call["path"] for call in people.calls() if call["path"] != "gettoken"] == PATHS
    assert told(ChannelAccount.objects.get()) == EVERYBODY


@pytest.mark.parametrize(
    ("path", "part", "missing", "words"),
    [
        ("department/list", "departments", set(), "可见范围"),
        ("department/simplelist", "members", {"lisi", "wangwu"}, "可见范围"),
        ("externalcontact/get_follow_user_list", "customers", {WANG}, "客户联系"),
        ("externalcontact/groupchat/list", "groups", set(), "客户群"),
    ],
)
def test_what_is_not_granted_is_a_restriction_and_the_rest_is_read(
    people: SimulatorClient, path: str, part: str, missing: set[str], words: str
) -> None:
    people.app(AGENT, refused={path: 48002})
    account = app(people.url)
    read_all()
    assert set(EVERYBODY) - set(told(account)) == missing
    found = Restriction.objects.get()
    assert (found.capability, words in found.text) == (f"directory_{part}", True)
    account.refresh_from_db()
    assert account.state != Health.STOPPED
    row = DirectoryRead.objects.get()
    assert (row.results[part]["code"], row.code) == (f"directory_{part}", "")
    DirectoryRead.objects.update(next_reading_at=timezone.now(), due_at=timezone.now())
    read_all()
    assert len(people.calls(path)) == 1  # what was refused is not asked again for a day
    people.app(AGENT, refused={})
    directory.request_reading(account)
    read_all()
    assert told(account) == EVERYBODY
    assert not Restriction.objects.exists()


def test_who_is_not_found_any_more_has_left_unless_the_reading_had_gaps(people: SimulatorClient) -> None:
    account = app(people.url)
    read_all()
    people.app(AGENT, members=["zhangsan", "lisi"])
    people.app(AGENT, refused={"externalcontact/groupchat/get": 60011})
    people.customer(WANG, "王五", followers={})
    directory.request_reading(account)
    read_all()
    assert [person for person, facts in told(account).items() if facts[2]] == ["wangwu"]  # the group could not be read
    people.app(AGENT, refused={}, members=None)
    people.customer_group(CHAT, "新名", members=["lisi"])
    directory.request_reading(account)
    read_all()
    assert [person for person, facts in told(account).items() if facts[2]] == [WANG]


def test_a_failure_waits_and_says_why(people: SimulatorClient) -> None:
    app(people.url)
    directory.read_due()
    people.fault("department/simplelist", "errcode", errcode=45009, errmsg="api freq out of limit, per hour")
    directory.read_due()
    row = DirectoryRead.objects.get()
    assert row.code == "45009"
    assert "limit" in row.failure
    assert row.due_at > timezone.now() + timedelta(minutes=55)
    assert (row.part, row.started_at is not None) == ("members", True)
    directory.queue_changes(row.account, [("members", "zhangsan", False)])
    assert directory.read_due() == 0  # nor is anything else asked meanwhile
    DirectoryRead.objects.update(due_at=timezone.now())
    read_all()
    row.refresh_from_db()
    assert (row.code, row.started_at) == ("", None)


def test_a_platform_that_is_away_is_not_asked_again_at_once() -> None:
    app(NOWHERE)
    assert (directory.read_due(), directory.read_due()) == (1, 0)
    assert DirectoryRead.objects.get().code == "connect"


@pytest.mark.parametrize("columns", [{"state": Health.STOPPED}, {"enabled": False}])
def test_an_account_that_is_stopped_reads_nothing(people: SimulatorClient, columns: dict[str, Any]) -> None:
    app(people.url, columns=columns)
    assert (directory.read_due(), people.calls()) == (0, [])


def test_an_entry_that_changed_is_read_alone(people: SimulatorClient) -> None:
    account = app(people.url)
    read_all()
    people.member("zhangsan", "张三丰")
    people.customer_group(CHAT, "大客户群", members=["zhangsan", LI, WANG])
    people.customer(WANG, "王五", followers={})
    group = Conversation.objects.create(account=account, peer_kind="group", peer_id=CHAT, title="销售客服群")
    changes = [("members", "zhangsan", False), ("customers", WANG, False), ("groups", CHAT, False)]
    directory.queue_changes(account, [*changes, ("members", "wangwu", True)])
    directory.queue_changes(account, changes)
    before = len(people.calls())
    assert read_all() == 4
    assert [call["path"] for call in people.calls()[before:]] == [
        "user/get", "externalcontact/get", "externalcontact/groupchat/get",
    ]  # fmt: skip
    now = told(account)
    assert (now["zhangsan"][0], now["wangwu"][2]) == ("张三丰", True)
    group.refresh_from_db()
    assert (group.title, len(CustomerGroup.objects.get().members)) == ("大客户群", 3)
    assert not DirectoryChange.objects.exists()


def test_a_name_that_staff_entered_stays_until_the_platform_tells_another_one(people: SimulatorClient) -> None:
    account = app(people.url)
    Contact.objects.create(account=account, external_id="lisi", name="lisi@old")
    read_all()
    assert told(account)["lisi"][0] == "李四"
    Contact.objects.filter(external_id="lisi").update(name="老李")
    directory.request_reading(account)
    read_all()
    assert told(account)["lisi"][0] == "老李"
    people.member("lisi", "李思", department=[1, 2])
    directory.request_reading(account)
    read_all()
    assert told(account)["lisi"][0] == "李思"


def test_an_event_that_comes_while_its_entry_is_read_is_not_lost(people: SimulatorClient) -> None:
    account = app(people.url)
    read_all()
    directory.queue_changes(account, [("members", "zhangsan", False)])
    call = directory.Call("members", DirectoryChange.objects.get())
    directory.queue_changes(account, [("members", "zhangsan", False)])
    directory._end_change(call)
    assert DirectoryChange.objects.get().events == 2


def test_a_department_is_named_and_goes(people: SimulatorClient) -> None:
    account = app(people.url)
    directory.queue_changes(account, [("departments", "2", False)])
    directory.read_due()
    directory.read_due()
    assert Department.objects.get(external_id="2").name == "部门2"
    directory.queue_changes(account, [("departments", "2", True)])
    directory.read_due()
    assert not Department.objects.filter(external_id="2").exists()


def test_the_limits_of_the_platform_are_kept_before_the_call(people: SimulatorClient) -> None:
    from accounts import limits
    from channels_wechat.wecom.app.channel import WeComApp

    account = app(people.url)
    for _call in range(3):
        limits.count_call(WeComApp.directory_limits, str(account.key), "")
    left = dict(limits.list_remaining(WeComApp.directory_limits, str(account.key)))
    assert [limit.count - (remaining or 0) for limit, remaining in left.items()] == [3, 3]
    directory.read_due()
    left = dict(limits.list_remaining(WeComApp.directory_limits, str(account.key)))
    assert [limit.count - (remaining or 0) for limit, remaining in left.items()] == [4, 4]
