"""Search among rows: what is found, what is left out and said, and that each named query can use its index."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
from django.db import connection
from django.utils import timezone

from bridge.models import Contact, Conversation, Delivery, Message
from bridge.models.pairs import holds_pairs
from bridge.operations.dashboard import DEAD
from bridge.ui import search
from tests.million.fill import fill
from tests.million.texts import COMMON, RARE
from tests.support import factories

if TYPE_CHECKING:
    from collections.abc import Callable

    from django.db.models import QuerySet

pytestmark = pytest.mark.django_db


@pytest.fixture
def chat() -> Conversation:
    return factories.conversation(factories.account(), "wrGROUP", "group", title="市场部 · 周报讨论群")


def found(term: str, **options: Any) -> set[str]:
    ids = search.messages(Message.objects.all(), term, **options).ids
    return set(Message.objects.filter(pk__in=ids).values_list("idempotency_key", flat=True))


def add_newer(chat: Conversation, count: int, text: str) -> None:
    """Many messages at once, without a Python object for each."""
    first = factories.message(chat, text, "NEWER")
    same = [f.column for f in Message._meta.concrete_fields if f.column not in ("id", "uuid", "idempotency_key")]
    with connection.cursor() as cursor:
        cursor.execute(
            f"INSERT INTO bridge_message (uuid, idempotency_key, {', '.join(same)}) "  # noqa: S608 - our own columns
            f"SELECT gen_random_uuid(), 'N' || n, {', '.join(same)} FROM bridge_message, generate_series(2, %s) n WHERE id = %s",
            [count, first.pk],
        )


@pytest.mark.parametrize("term", ["三季度的预", "预算表", "budget", "BUDGET", "预算", "表"])
def test_a_text_is_found_by_any_part_of_it(chat: Conversation, term: str) -> None:
    factories.message(chat, "第三季度的预算表 Budget 请查收", "RIGHT")
    factories.message(chat, "别的事情", "OTHER")
    assert found(term) == {"RIGHT"}


def test_a_message_is_found_by_its_person_peer_and_platform_ids(chat: Conversation) -> None:
    said = factories.message(chat, "hello", "KEY1", sender="zhang.san")
    factories.delivery(said, target="channel", remote_id="REMOTE1")
    factories.message(factories.conversation(chat.account, "x", "group"), "hi", "KEY2")
    factories.contact(chat.account, "zhang.san", name="张三丰")
    assert [found(term) for term in ("KEY1", "zhang.san", "wrGROUP", "REMOTE1", "张三丰", "张三", "三丰")] == [
        {"KEY1"}
    ] * 7


def test_whoever_may_not_read_texts_finds_none_by_them(chat: Conversation) -> None:
    factories.message(chat, "a secret budget", "KEY1")
    assert found("secret", in_text=False) == set()
    assert found("KEY1", in_text=False) == {"KEY1"}


def test_two_chinese_characters_are_looked_for_in_all_messages_and_one_in_the_newest(chat: Conversation) -> None:
    factories.message(chat, "青花瓷茶具", "OLD")
    add_newer(chat, search.NEWEST - 1, "其他")
    assert (found("茶具"), found("茶")) == ({"OLD"}, {"OLD"})
    factories.message(chat, "其他", "ONE MORE")
    assert [found(term) for term in ("茶具", "花瓷", "青花 茶具", "茶")] == [{"OLD"}, {"OLD"}, set(), set()]
    assert [bool(search.messages(Message.objects.all(), term).note) for term in ("茶具", "花瓷茶", "茶", "ab")] == [
        False,
        False,
        True,
        True,
    ]
    assert "20,000" in search.messages(Message.objects.all(), "茶").note


@pytest.mark.parametrize("text", ["我要请假。", "请假", "OK请假ok", "事由：请假\n明天", "請問请假", "𠮷请假"])
def test_two_characters_are_found_wherever_they_stand(chat: Conversation, text: str) -> None:
    factories.message(chat, text, "RIGHT")
    factories.message(chat, "请问假期，请 假，假请", "OTHER")
    assert found("请假") == {"RIGHT"}


def test_what_is_stored_by_any_way_is_found(chat: Conversation) -> None:
    """The index is over an expression, so a bulk INSERT, an UPDATE and COPY are in it as well."""
    add_newer(chat, 3, "其他")
    Message.objects.filter(idempotency_key="N2").update(text="明天请假")
    assert found("请假") == {"N2"}


@pytest.mark.parametrize("by", ["#{delivery}", "{delivery}", "81013", "REMOTE1"])
def test_every_list_finds_by_number_code_and_platform_id(chat: Conversation, by: str) -> None:
    said = factories.message(chat, "hello", "KEY1", sender="zhangsan")
    other = factories.message(factories.conversation(chat.account, "x", "group"), "hi", "KEY2", sender="lisi")
    failed = factories.delivery(
        said, "dead", "permanent", code="81013", remote_id="REMOTE1", finished_at=timezone.now()
    )
    factories.delivery(other, "dead", "permanent", code="45015", finished_at=timezone.now())
    person, _else = factories.contact(chat.account, "zhangsan"), factories.contact(chat.account, "lisi")
    Delivery.objects.filter(pk=failed.pk).update(id=900_001)  # no other row has this number
    term = by.format(delivery=900_001)
    assert search.messages(Message.objects.all(), term).ids == [said.pk]
    assert search.deliveries(Delivery.objects.all(), term).ids == [900_001]
    assert search.conversations(Conversation.objects.all(), term).ids == [chat.pk]
    assert search.contacts(Contact.objects.all(), term).ids == [person.pk]


def test_a_number_finds_the_message_and_its_deliveries(chat: Conversation) -> None:
    said = factories.message(chat, "hello", "KEY1")
    deliveries = [factories.delivery(said, part=part).pk for part in (1, 0)]
    Message.objects.filter(pk=factories.message(chat, "bye", "KEY2").pk).update(id=900_002)
    assert search.messages(Message.objects.all(), f"#{said.pk}").ids == [said.pk]
    assert set(deliveries) <= set(search.deliveries(Delivery.objects.all(), f"#{said.pk}").ids)
    assert search.messages(Message.objects.all(), "900002").ids == [900_002]
    assert search.messages(Message.objects.all(), "9" * 40).ids == []


def test_more_finds_than_are_shown_are_cut_and_the_page_says_so(chat: Conversation) -> None:
    add_newer(chat, search.MAX_FOUND, "同样的话")
    everything = search.messages(Message.objects.all(), "同样的")
    assert (len(everything.ids), everything.note) == (search.MAX_FOUND, "")
    newest = factories.message(chat, "同样的话", "NEWEST")
    cut = search.messages(Message.objects.all(), "同样的")
    assert (len(cut.ids), cut.ids[0]) == (search.MAX_FOUND, newest.pk)
    assert f"newest {search.MAX_FOUND} results" in cut.note


@pytest.mark.parametrize(
    ("term", "hits"), [("周报讨", 1), ("市场", 1), ("讨论", 1), ("GROUP", 1), ("wr", 1), ("王五哥", 1)]
)
def test_conversations_are_found_by_title_id_and_person(chat: Conversation, term: str, hits: int) -> None:
    factories.conversation(chat.account, "wangwu", title="渠道")
    factories.conversation(factories.account("wecom_aibot"), "wangwu", title="别的")
    factories.contact(chat.account, "wangwu", name="王五哥")
    assert len(search.conversations(Conversation.objects.all(), term).ids) == hits


def test_contacts_are_found_by_parts_and_by_beginnings(chat: Conversation) -> None:
    person = factories.contact(chat.account, "user0031", name="欧阳修竹")
    assert [search.contacts(Contact.objects.all(), term).ids == [person.pk] for term in ("阳修竹", "欧", "0031", "us")]
    assert search.contacts(Contact.objects.all(), "修").ids == [person.pk]
    assert "begins" in search.contacts(Contact.objects.all(), "a").note
    assert search.contacts(Contact.objects.all(), "修").note == ""


def test_before_a_moment_is_found_however_much_came_after(chat: Conversation) -> None:
    moment = timezone.now() - timedelta(days=3)
    old = factories.message(chat, "old", "OLD", created_at=moment - timedelta(seconds=1))
    factories.message(chat, "at", "AT", created_at=moment)
    beside = factories.message(chat, "stored later", "BESIDE", created_at=moment - timedelta(seconds=2))
    assert set(search.before(Message.objects.all(), moment)) == {old, beside}
    assert search.before(Message.objects.all(), moment + timedelta(days=9)).count() == 3


NOW = timezone.now()
# What each index is for. The planner takes another way on a small table, so it is forbidden to read all of it.
QUERIES: dict[str, Callable[[], QuerySet[Any]]] = {
    "message_text": lambda: search.holding(Message.objects.all(), RARE),
    "message_pairs": lambda: search.holding(Message.objects.all(), "花瓷"),
    "conversation_pairs": lambda: Conversation.objects.filter(holds_pairs("title", ["周报"])),
    "contact_pairs": lambda: Contact.objects.filter(holds_pairs("name", ["伟明"])),
    "delivery_code": lambda: Delivery.objects.filter(code="81013").order_by("-id")[:50],
    "message_kind": lambda: Message.objects.filter(kind="image"),
    "message_source": lambda: Message.objects.filter(source="staff"),
    "message_sender": lambda: Message.objects.filter(sender="user0000003"),
    "message_age": lambda: Message.objects.filter(account=1).order_by("created_at")[:50],
    "message_day": lambda: Message.objects.filter(created_at__gte=NOW),
    "delivery_failures": lambda: Delivery.objects.filter(DEAD).order_by("-id").values("id"),
    "delivery_failed_lanes": lambda: Delivery.objects.filter(DEAD, lane="in:1"),
    "delivery_state": lambda: Delivery.objects.filter(state="dead").order_by("-id")[:50],
    "delivery_reason": lambda: Delivery.objects.filter(reason="no_route").order_by("-id")[:50],
    "delivery_hooks": lambda: Delivery.objects.filter(target="webhook").order_by("-id")[:50],
    "delivery_day": lambda: Delivery.objects.filter(created_at__gte=NOW),
    "delivery_dismissed": lambda: Delivery.objects.filter(dismissed_at__isnull=False).order_by("-id")[:50],
    "delivery_remote_id": lambda: Delivery.objects.filter(remote_id="remote7"),
    "conversation_newest": lambda: Conversation.objects.all()[:50],
    "conversation_peer_id": lambda: Conversation.objects.filter(peer_id="wrGROUP00000001"),
    "conversation_words": lambda: Conversation.objects.filter(title__icontains="周报讨论"),
    "contact_words": lambda: Contact.objects.filter(name__istartswith="赵"),
}


def test_every_query_can_use_its_index() -> None:
    plans: dict[str, dict[str, str]] = {}
    fill(1200)
    with connection.cursor() as cursor:
        for table in ("bridge_message", "bridge_delivery", "bridge_conversation", "bridge_contact"):
            cursor.execute(f"REINDEX TABLE {table}")  # an index full of what other tests left looks dear to the planner
            cursor.execute(f"ANALYZE {table}")  # else it goes by whatever rows were there when they were last counted
    for way in (
        "bitmapscan",
        "indexscan",
    ):  # a GIN index is read by a bitmap; two small indexes may look equally cheap for one
        with connection.cursor() as cursor:
            cursor.execute("SET LOCAL enable_seqscan = off")
            for other in ("bitmapscan", "indexscan"):
                cursor.execute(f"SET LOCAL enable_{other} = {'off' if other == way else 'on'}")
        plans[way] = {index: query().explain() for index, query in QUERIES.items()}
    assert [index for index in QUERIES if not any(index in plan[index] for plan in plans.values())] == []


def test_pg_trgm_cuts_chinese_into_letters() -> None:
    """In a database whose LC_CTYPE is plain C it does not, and every search would read the whole index."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT cardinality(show_trgm(%s)), cardinality(show_trgm(%s))", [COMMON, "abc"])
        assert cursor.fetchone() == (4, 4)


def test_titles_and_names_are_found_by_one_or_two_chinese_characters(db: None) -> None:
    account = factories.account()
    group = factories.conversation(account, "wr1", "group", title="产品讨论组")
    person = factories.contact(account, "zhangsan", name="张三")
    assert search.conversations(Conversation.objects.all(), "讨论").ids == [group.pk]
    assert search.contacts(Contact.objects.all(), "三").ids == [person.pk]


def test_of_namesakes_only_the_one_whose_message_is_named_is_found() -> None:
    """Two accounts have people with the same two ids, and one message of each account is named by the same id."""
    first, second = factories.app(), factories.app(agent_id=7)
    for account, sender in ((first, "ann"), (second, "ben")):
        for person in ("ann", "ben"):
            factories.contact(account, person, name=f"{person} of {account.pk}")
        asked = factories.message(factories.conversation(account, sender), "x", f"M{account.pk}", sender=sender)
        factories.delivery(asked, "dead", "permanent", code="81013")
    found = Contact.objects.filter(pk__in=search.contacts(Contact.objects.all(), "81013").ids)
    assert sorted(found.values_list("account", "external_id")) == [(first.pk, "ann"), (second.pk, "ben")]
