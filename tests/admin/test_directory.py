"""The panel of a company's directory: what was read, what is refused, and reading it now."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

from auditlog.models import LogEntry as AuditEntry
from django.core.files.uploadedfile import SimpleUploadedFile
from django.urls import reverse
from django.utils import timezone

from accounts import capabilities
from accounts.models import Restriction
from bridge.models import Contact, CustomerGroup, CustomerMessage, DirectoryRead
from channels_wechat.wecom.errors import WECOM_APP
from tests.admin.test_words import words

if TYPE_CHECKING:
    from collections.abc import Callable

    from django.test import Client

    from accounts.models import ChannelAccount
    from channels_wechat.simulator import RunningSimulator
    from tests.support import factories

LI = "wmCustomerLi000000000000000"
REFUSED = WECOM_APP.error(
    "directory_customers", detail="api forbidden", params={"errcode": "48002"}, capability="directory_customers"
)


def read(world: factories.World) -> DirectoryRead:
    at = timezone.now().isoformat()
    results = {"departments": {"count": 7, "at": at}, "members": {"count": 41, "skipped": 3, "at": at}}
    return DirectoryRead.objects.create(account=world.app, results=results, finished_at=timezone.now())


def test_the_page_says_what_was_read_and_which_permission_is_missing(
    boss: Client, staff: Callable[..., Client], world: factories.World
) -> None:
    assert "departments never –" in words(boss, "accounts_channelaccount_change", world.app.pk)
    read(world)
    capabilities.restrict(world.app, "directory_customers", REFUSED)
    said = words(boss, "accounts_channelaccount_change", world.app.pk)
    assert "departments just now 7 –" in said
    assert "members just now 41 not shown to the account: 3" in said
    assert "customers to this app (48002)." in said
    assert "Customers → API → Apps that may call" in said
    assert "Directory" not in words(boss, "accounts_channelaccount_change", world.bot.pk)
    viewer = staff("accounts.view_channelaccount")
    seen = words(viewer, "accounts_channelaccount_change", world.app.pk)
    assert "api forbidden" not in seen
    assert "Read now" not in seen


def test_the_limits_of_reading_stand_with_the_others(boss: Client, world: factories.World) -> None:
    assert "reads of the directory a minute 10000" in words(boss, "accounts_channelaccount_change", world.app.pk)


def test_a_failure_is_shown_until_a_call_succeeds(boss: Client, world: factories.World) -> None:
    row = read(world)
    DirectoryRead.objects.update(
        code="45009", code_params={"detail": "per hour"}, part="members", started_at=row.due_at
    )
    said = words(boss, "accounts_channelaccount_change", world.app.pk)
    assert "limit for calls is reached." in said
    assert "Being read now: members." in said


def test_read_now_makes_the_reading_due_and_asks_again_what_was_refused(boss: Client, world: factories.World) -> None:
    read(world)
    later = timezone.now() + timedelta(days=1)
    DirectoryRead.objects.update(due_at=later, next_reading_at=later)
    capabilities.restrict(world.app, "directory_customers", REFUSED)
    capabilities.restrict(world.app, "custom_send", REFUSED)
    boss.post(reverse("admin:accounts_channelaccount_read_directory", args=[world.app.pk]))
    row = DirectoryRead.objects.get()
    assert row.due_at <= timezone.now()
    assert row.next_reading_at <= timezone.now()
    assert [one.capability for one in Restriction.objects.all()] == ["custom_send"]
    page = boss.post(reverse("admin:accounts_channelaccount_read_directory", args=[world.bot.pk]))
    assert page.status_code == 404


def test_customer_groups_are_listed_with_their_members(boss: Client, world: factories.World) -> None:
    members = [{"id": "zhangsan", "name": "张三", "kind": "member"}, {"id": "wmX", "name": "<b>", "kind": "customer"}]
    CustomerGroup.objects.create(account=world.app, external_id="wr1", name="销售群", owner="zhangsan", members=members)
    CustomerGroup.objects.create(account=world.bot, external_id="wr2", name="别人的")
    page = boss.get(reverse("admin:accounts_channelaccount_customer_groups", args=[world.app.pk])).content.decode()
    assert "销售群" in page
    assert "&lt;b&gt;" in page
    assert "别人的" not in page


def test_a_contact_says_who_it_is(boss: Client, world: factories.World) -> None:
    contact = Contact.objects.get(account=world.app)
    Contact.objects.filter(pk=contact.pk).update(
        kind="customer", remark="老李", department="研发部", left_at=timezone.now()
    )
    said = words(boss, "bridge_contact_change", contact.pk)
    assert "customer · left" in said
    assert "老李" in said
    assert "研发部" in said
    assert "customer · left" in words(boss, "bridge_contact_changelist")


FORM = {"peer_kind": "direct", "sender": "zhangsan", "recipients": LI, "text": "上新了 <b>", "key": "page-1"}


def post_message(client: Client, account: ChannelAccount, **changes: Any) -> Any:
    path = reverse("admin:accounts_channelaccount_customer_messages", args=[account.pk])
    return client.post(path, {**FORM, **changes}, follow=True)


def test_a_member_is_asked_from_the_page_and_it_says_that_nothing_goes_out_yet(
    boss: Client, app: ChannelAccount, simulator: RunningSimulator
) -> None:
    simulator.client.member("zhangsan", "张三")
    simulator.client.customer(LI, "李部长", followers={"zhangsan": ""})
    links = "https://example.com/a 新品 一\n"
    page = post_message(
        boss,
        app,
        recipients=f"{LI}, wmNobody00000000000000000000",
        links=links,
        uploads=SimpleUploadedFile("a.txt", b"hello"),
    )
    said = page.content.decode()
    assert "Nothing goes out until zhangsan confirms it in WeCom." in said
    assert "上新了 &lt;b&gt;" in said
    assert "wmNobody00000000000000000000" in said
    row = CustomerMessage.objects.get()
    assert (row.state, row.left_out, row.remote_id in said) == ("created", ["wmNobody00000000000000000000"], True)
    assert row.attachments[0] == {"msgtype": "link", "link": {"title": "新品 一", "url": "https://example.com/a"}}
    deeds = [entry.additional_data for entry in AuditEntry.objects.get_for_object(app) if entry.additional_data]
    assert deeds == [{"action": "Asked zhangsan to send a message to 2 recipients."}]
    post_message(
        boss,
        app,
        recipients=f"{LI}, wmNobody00000000000000000000",
        links=links,
        uploads=SimpleUploadedFile("a.txt", b"hello"),
    )
    assert CustomerMessage.objects.count() == 1


def test_what_is_wrong_in_the_form_stands_at_its_field(boss: Client, app: ChannelAccount) -> None:
    for change, words_ in (
        ({"links": "https://example.com"}, "Give each link a title"),
        ({"links": "ftp://x y"}, "must begin with http"),
        ({"text": ""}, "Write something"),
        ({"text": "好" * 1334}, "At most 4000 bytes"),
        ({"recipients": ""}, "This field is required"),
    ):
        assert words_ in post_message(boss, app, **change).content.decode()
    assert not CustomerMessage.objects.exists()


def test_what_the_platform_refuses_is_shown(boss: Client, app: ChannelAccount, simulator: RunningSimulator) -> None:
    simulator.client.member("zhangsan", "张三")
    assert "There is no contact between this member and this customer." in post_message(boss, app).content.decode()
    assert "Could not ask zhangsan" in str(
        [entry.additional_data for entry in AuditEntry.objects.get_for_object(app) if entry.additional_data]
    )


def test_whoever_may_not_read_messages_sees_no_text(
    staff: Callable[..., Client], app: ChannelAccount, simulator: RunningSimulator
) -> None:
    client = staff("accounts.view_channelaccount", "bridge.send_to_many")
    assert "上新了" not in post_message(client, app).content.decode()
    assert CustomerMessage.objects.exists()
