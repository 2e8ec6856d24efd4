"""Lists as files: the rows that they show, for whom, in which language, and what it costs."""

from __future__ import annotations

import csv
import io
import threading
from typing import TYPE_CHECKING, Any

import pytest
from auditlog.models import LogEntry
from django.contrib import admin
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import translation

from accounts.fields import Encrypted
from bridge.admin import export
from bridge.admin.lists import ListAdmin
from bridge.models import Conversation, Delivery, Message
from bridge.ui import search
from tests.support import factories

if TYPE_CHECKING:
    from collections.abc import Callable

    from django.contrib.auth.models import User
    from django.test import Client

LISTS = [f"{model._meta.app_label}_{model._meta.model_name}" for model in admin.site._registry]
ADDRESSES = [*(f"{name}_export" for name in LISTS), "bridge_delivery_dead_letters_export"]
SECRET_NAMES = ("credentials", "password", "digest", "secret", "token_key", "raw", "payload", "reply_address")


def download(client: Client, name: str, query: str = "") -> Any:
    return client.post(f"{reverse(f'admin:{name}_export')}?{query}")


def read(answer: Any) -> list[dict[str, str]]:
    assert answer.status_code == 200, answer
    text = answer.getvalue().decode("utf-8")
    assert text.startswith("\ufeff")
    return list(csv.DictReader(io.StringIO(text[1:], newline="")))


def rows_of(client: Client, name: str, query: str = "") -> list[dict[str, str]]:
    return read(download(client, name, query))


def shown(client: Client, address: str, query: str) -> list[Any]:
    return [row.pk for row in client.get(f"{reverse(f'admin:{address}')}?{query}").context["cl"].result_list]


@pytest.mark.parametrize("name", LISTS)
def test_every_list_names_its_columns_and_no_secret_one(name: str) -> None:
    [page_admin] = [
        each
        for model, each in admin.site._registry.items()
        if name == f"{model._meta.app_label}_{model._meta.model_name}"
    ]
    assert isinstance(page_admin, ListAdmin)
    assert page_admin.exported
    hidden = {field.name for field in page_admin.model._meta.concrete_fields if isinstance(field, Encrypted)}
    names = {part for column in page_admin.exported for part in column.name.split(".")}
    assert names.isdisjoint({*SECRET_NAMES, *hidden})
    for language in ("en", "zh-hans"):
        with translation.override(language):
            labels = [column.find_label(page_admin) for column in page_admin.exported]
            assert len(set(labels)) == len(labels), "two columns with one name"


@pytest.mark.parametrize("address", ADDRESSES)
def test_a_file_has_the_rows_of_its_list_and_no_secret(boss: Client, world: factories.World, address: str) -> None:
    name = address.removesuffix("_export")
    page = name if name == "bridge_delivery_dead_letters" else f"{name}_changelist"
    listed = shown(boss, page, "")
    answer = download(boss, name)
    assert answer["Content-Type"] == "text/csv; charset=utf-8"
    assert "no-store" in answer["Cache-Control"]
    found = read(answer)
    if name == "auditlog_logentry":  # the line that says so is the first
        del found[0]
    assert len(found) == len(listed)
    if "Number" in (found or [{}])[0]:
        assert [int(row["Number"]) for row in found] == sorted(listed, reverse=True)
    text = str(found)
    assert [canary for canary, secret in factories.CANARIES.items() if secret in text] == []


@pytest.mark.parametrize(
    ("page", "query"),
    [
        ("bridge_delivery_changelist", "open=waiting"),
        ("bridge_delivery_changelist", "target__exact=webhook"),
        ("bridge_delivery_changelist", "state__exact=dead&q=zhangsan"),
        ("bridge_delivery_dead_letters", "state__exact=uncertain"),
        ("bridge_message_changelist", "direction__exact=out"),
        ("bridge_message_changelist", "q=EVENT1"),
        ("bridge_message_changelist", "day=yesterday"),
        ("bridge_conversation_changelist", "peer_kind__exact=group"),
        ("bridge_contact_changelist", "subscribed__exact=1"),
        ("accounts_channelaccount_changelist", "kind=wecom_app"),
    ],
)
def test_a_file_has_what_the_list_shows_with_its_filter_and_search(
    boss: Client, world: factories.World, page: str, query: str
) -> None:
    listed = shown(boss, page, query)
    found = rows_of(boss, page.removesuffix("_changelist"), query)
    assert [int(row["Number"]) for row in found] == sorted(listed, reverse=True)
    assert len(listed) < len(shown(boss, page, ""))


def test_a_file_of_a_search_that_was_cut_says_so_and_the_audit_log_too(
    boss: Client, world: factories.World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(search, "MAX_FOUND", 2)
    said = [factories.message(world.person, "invoice", f"I{number}") for number in range(3)]
    listed = boss.get(reverse("admin:bridge_message_changelist"), {"q": "invoice"}).content.decode()
    note = "These are the newest 2 results."
    assert f'title="{note}' in listed
    *found, last = rows_of(boss, "bridge_message", "q=invoice")
    assert [int(row["Number"]) for row in found] == [said[2].pk, said[1].pk]
    assert last["Number"].startswith(note)
    download = LogEntry.objects.filter(action=LogEntry.Action.ACCESS).latest("pk").additional_data["download"]
    assert (download["rows"], download["is_whole"]) == (2, False)

    Message.objects.filter(pk=said[0].pk).delete()
    assert len(rows_of(boss, "bridge_message", "q=invoice")) == 2
    assert LogEntry.objects.filter(action=LogEntry.Action.ACCESS).latest("pk").additional_data["download"]["is_whole"]


def test_the_right_to_download_is_one_of_its_own(staff: Callable[..., Client], world: factories.World) -> None:
    client = staff("bridge.view_delivery", "bridge.read_content")
    assert download(client, "bridge_delivery").status_code == 403
    assert "export.csv" not in client.get(reverse("admin:bridge_delivery_changelist")).content.decode()
    assert LogEntry.objects.filter(action=LogEntry.Action.ACCESS).count() == 0


def test_the_right_to_download_opens_no_list(staff: Callable[..., Client], world: factories.World) -> None:
    assert download(staff("bridge.export_list", "bridge.view_message"), "bridge_delivery").status_code == 403


def test_a_file_cannot_be_had_by_a_link(boss: Client) -> None:
    assert boss.get(reverse("admin:bridge_delivery_export")).status_code == 405


@pytest.mark.parametrize(
    ("name", "view", "hidden"),
    [
        ("bridge_message", "bridge.view_message", {"Text"}),
        ("bridge_delivery", "bridge.view_delivery", {"Text", "Explanation"}),
        ("bridge_conversation", "bridge.view_conversation", {"Text of the last message"}),
        ("bridge_contactrequest", "bridge.view_contact", {"Text"}),
        ("accounts_channelaccount", "accounts.view_channelaccount", {"Reason"}),
        ("openclaw_gateway", "openclaw.view_gateway", {"Reason"}),
    ],
)
def test_what_people_wrote_is_for_those_who_may_read_it(
    staff: Callable[..., Client], boss: Client, world: factories.World, name: str, view: str, hidden: set[str]
) -> None:
    everything, without = rows_of(boss, name), rows_of(staff(view, "bridge.export_list"), name)
    assert set(everything[0]) - set(without[0]) == hidden
    for row in everything:
        assert any(row[column] for column in hidden) or len(everything) > 1
    said = {row[column] for row in everything for column in hidden} - {""}
    assert said
    assert said.isdisjoint(value for row in without for value in row.values())


def test_names_and_texts_are_no_formulas(boss: Client, world: factories.World) -> None:
    Conversation.objects.filter(pk=world.group.pk).update(title='=HYPERLINK("http://evil.example","click")')
    Message.objects.filter(pk=world.question.pk).update(text="@SUM(1+1)*cmd|' /C calc'!A0")
    [group] = [row for row in rows_of(boss, "bridge_conversation") if row["Number"] == str(world.group.pk)]
    assert group["Title"] == '\'=HYPERLINK("http://evil.example","click")'
    [said] = [row for row in rows_of(boss, "bridge_message") if row["Number"] == str(world.question.pk)]
    assert said["Text"].startswith("'@SUM")
    assert said["Conversation"].startswith("'=")


def test_a_file_is_in_the_readers_language_on_whatever_thread_it_is_read(
    boss: Client, world: factories.World, transactional_db: None
) -> None:
    answer = boss.post(reverse("admin:bridge_delivery_export"), headers={"Accept-Language": "zh-hans"})
    read_there: list[list[dict[str, str]]] = []

    def run() -> None:
        try:
            read_there.append(read(answer))
        finally:
            connection.close()

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    [found] = read_there
    assert {"编号", "状态", "原因", "会话"} <= set(found[0])
    [dead] = [row for row in found if row["编号"] == str(world.dead.pk)]
    assert dead["状态"] == "失败"
    assert dead["创建时间"].endswith("+08:00")


def test_one_line_in_the_audit_log_says_what_was_downloaded(
    boss: Client, admin_user: User, world: factories.World
) -> None:
    answer = download(boss, "bridge_message", "direction__exact=out&q=zhangsan&p=7")
    [entry] = LogEntry.objects.filter(action=LogEntry.Action.ACCESS)
    begun = boss.get(reverse("admin:auditlog_logentry_change", args=[entry.pk])).content.decode()
    assert "Began to download" in begun
    count = len(read(answer))
    [entry] = LogEntry.objects.filter(action=LogEntry.Action.ACCESS)
    assert (entry.actor, entry.content_type.model, entry.remote_addr) == (admin_user, "message", "127.0.0.1")
    assert entry.additional_data["download"] == {
        "list": "bridge_message_changelist",
        "filter": "direction__exact=out&q=***",
        "rows": count,
        "is_whole": True,
    }
    page = boss.get(reverse("admin:auditlog_logentry_change", args=[entry.pk])).content.decode()
    assert f"Downloaded {count} row" in page
    assert "zhangsan" not in page
    [line] = rows_of(boss, "auditlog_logentry", f"action__exact={LogEntry.Action.ACCESS}")[1:]
    assert f"Downloaded {count} row" in line["Action"]


def test_who_stops_in_the_middle_is_in_the_audit_log_with_what_they_have(
    boss: Client, monkeypatch: Any, transactional_db: None
) -> None:
    monkeypatch.setattr(export, "PAGE_ROWS", 10)
    person = factories.conversation(factories.account(), "zhangsan")
    for number in range(25):
        factories.message(person, f"message {number}", f"KEY{number}")
    answer = download(boss, "bridge_message")
    next(answer.streaming_content)
    next(answer.streaming_content)
    answer.close()
    [entry] = LogEntry.objects.filter(action=LogEntry.Action.ACCESS)
    assert (entry.additional_data["download"]["rows"], entry.additional_data["download"]["is_whole"]) == (20, False)
    assert "then stopped" in boss.get(reverse("admin:auditlog_logentry_change", args=[entry.pk])).content.decode()


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ("from=nonsense", "does not exist (any more): time"),
        ("account__id__exact=999999", "does not exist (any more): account"),
        ("account__id__exact=x", "is not understood"),
    ],
)
def test_a_filter_that_does_not_work_is_said_as_on_the_list(
    boss: Client, world: factories.World, query: str, said: str
) -> None:
    answer = boss.post(f"{reverse('admin:bridge_delivery_export')}?{query}", follow=True)
    assert said in answer.content.decode()
    on_the_list = boss.get(f"{reverse('admin:bridge_delivery_changelist')}?{query}", follow=True).content.decode()
    assert said in on_the_list
    assert LogEntry.objects.filter(action=LogEntry.Action.ACCESS).count() == 0


def test_a_lookup_that_no_filter_offers_is_refused_as_on_the_list(boss: Client) -> None:
    assert download(boss, "bridge_delivery", "message__text__startswith=a").status_code == 400


def fill(count: int) -> None:
    """Messages of some people, each with a delivery that failed."""
    account = factories.account()
    people = [factories.conversation(account, f"user{number}") for number in range(10)]
    for number in range(10):
        factories.contact(account, f"user{number}", name=f"Name {number}")
    said = [
        factories.message(person, f"text {number}", f"KEY{number}", sender=person.peer_id)
        for number, person in enumerate(people)
    ]
    spare = [*said]
    for message in spare:
        factories.delivery(message, "dead", "permanent", code="81013")
    copies = [
        Message(**{**values(message), "idempotency_key": f"COPY{number}-{message.pk}"})
        for number in range(count // 10 - 1)
        for message in said
    ]
    made = Message.objects.bulk_create(copies, batch_size=2000)
    pattern = Delivery.objects.order_by("pk").first()
    assert pattern
    Delivery.objects.bulk_create(
        [Delivery(**{**values(pattern), "message_id": message.pk, "seq": 10_000 + number}) for number, message in enumerate(made)],
        batch_size=2000,
    )  # fmt: skip


def values(row: Any) -> dict[str, Any]:
    return {
        field.attname: getattr(row, field.attname)
        for field in row._meta.concrete_fields
        if field.name not in ("id", "uuid") and not isinstance(field, Encrypted)
    }


@pytest.mark.parametrize("name", ["bridge_message", "bridge_delivery", "bridge_delivery_dead_letters"])
def test_a_long_list_is_read_in_pages_with_few_queries(
    boss: Client, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(export, "PAGE_ROWS", 300)
    fill(1000)
    answer = download(boss, name)
    with CaptureQueriesContext(connection) as asked:
        found = read(answer)
    assert len(found) == 1000
    numbers = [int(row["Number"]) for row in found]
    assert numbers == sorted(set(numbers), reverse=True)
    assert len(asked) <= 4 * 8 + 2, [query["sql"][:150] for query in asked]
    assert not [query["sql"] for query in asked if " OFFSET " in query["sql"]]


def test_who_comes_while_a_file_is_read_is_not_in_it_twice_or_instead(boss: Client, monkeypatch: Any) -> None:
    monkeypatch.setattr(export, "PAGE_ROWS", 5)
    person = factories.conversation(factories.account(), "zhangsan")
    old = [factories.message(person, "old", f"OLD{number}").pk for number in range(12)]
    answer = download(boss, "bridge_message")
    pieces = [next(answer.streaming_content)]
    factories.message(person, "new", "NEW")
    Message.objects.filter(pk=old[0]).delete()
    pieces += answer.streaming_content
    found = list(csv.DictReader(io.StringIO(b"".join(pieces).decode("utf-8-sig"), newline="")))
    assert [int(row["Number"]) for row in found] == sorted(old[1:], reverse=True)
