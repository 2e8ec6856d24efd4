"""Batches: however many messages wait, of however many peers, they are routed as if one came after the other."""

from __future__ import annotations

import itertools
import logging
import random
import threading
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from accounts import channels
from accounts.channels import cached_by_id
from accounts.models import ChannelAccount
from bridge.models import Attachment, Conversation, Delivery, Event, Message, Reason, Target
from bridge.pipeline.inbound import router, sql
from tests.support import factories
from tests.support.factories import GROUP, app, at_once, bot, endpoint, hear, picture, route, send, turn

if TYPE_CHECKING:
    from collections.abc import Callable

BY_ONE = "routed one by one"


@pytest.fixture
def account() -> ChannelAccount:
    return app()


def asked(message: Message) -> Delivery:
    return Delivery.objects.get(message_id=message.pk, target=Target.AGENT)


def statements() -> int:
    with CaptureQueriesContext(connection) as found:
        router.route_waiting()
    return len(found)


def in_order(account: ChannelAccount) -> None:
    """Each lane has its peer's messages, in the order of arrival, each once."""
    for talk in Conversation.objects.filter(account=account):
        rows = Delivery.objects.filter(lane=f"in:{talk.pk}").order_by("seq")
        heard = Message.objects.filter(account=account, peer_kind=talk.peer_kind, peer_id=talk.peer_id, direction="in")
        assert list(rows.values_list("message_id", flat=True)) == list(
            heard.order_by("id").values_list("pk", flat=True)
        )


# --- what it costs ------------------------------------------------------------------------------------------------------------


@pytest.mark.django_db
@pytest.mark.parametrize("listening", [False, True])
def test_fifty_messages_cost_the_statements_of_one(
    account: ChannelAccount, listening: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    route(account)
    if listening:
        endpoint()
        endpoint(account=account)
    monkeypatch.setattr(channels, "CACHE_SECONDS", 600)  # a busy machine needs longer than the moment that it is
    turn(account)  # the account is known from now on
    hear(account, media=(picture(),))
    one = statements()
    for number in range(50):
        hear(account, str(number), f"user{number % 20}", media=(picture(),) * (number % 3))
    assert statements() == one
    assert one <= (9 if listening else 6)
    assert router.route_waiting() == 0
    assert Delivery.objects.filter(target=Target.WEBHOOK).count() == (2 * 52 if listening else 0)


@pytest.mark.django_db
def test_nothing_to_route_costs_one_look(account: ChannelAccount) -> None:
    turn(account)
    assert statements() <= 3


# --- as if one came after the other -------------------------------------------------------------------------------------------


@pytest.mark.django_db
def test_many_peers_keep_their_order_over_many_batches(account: ChannelAccount) -> None:
    route(account)
    other = bot()
    for number in range(sql.BATCH_SIZE + 20):
        hear(random.choice([account, other]), str(number), f"user{number % 7}", group=random.choice(["", GROUP]))
    assert [router.route_waiting() for _batch in range(3)] == [sql.BATCH_SIZE, 20, 0]
    in_order(account)
    in_order(other)


@pytest.mark.django_db
def test_what_came_first_is_first_in_a_batch(account: ChannelAccount) -> None:
    route(account)
    said = [hear(account, str(number), f"user{number % 3}").pk for number in range(9)]
    router.route_waiting()
    assert list(Delivery.objects.order_by("seq").values_list("message_id", flat=True)) == said


@pytest.mark.django_db
def test_new_in_the_middle_of_a_batch(account: ChannelAccount) -> None:
    route(account)
    early, command, late, again, last = (hear(account, text) for text in ("1", "/new", "2", "/new", "3"))
    other = hear(account, "4", "lisi")
    assert router.route_waiting() == 6
    keys = [asked(message).payload["session_key"] for message in (early, late, last)]
    assert len(set(keys)) == 3
    assert [asked(message).reason for message in (command, again)] == [Reason.COMMAND] * 2
    assert dict(Conversation.objects.values_list("peer_id", "session_epoch")) == {"zhangsan": 2, "lisi": 0}
    assert asked(other).state == "pending"
    assert turn(account, "5").payload["session_key"] == keys[-1]
    assert Message.objects.filter(direction="out").count() == 2


@pytest.mark.django_db
def test_names_that_an_event_tells_are_used_in_the_same_batch(account: ChannelAccount) -> None:
    route(account)
    factories.contact(account, "zhangsan", name="老张")
    factories.contact(account, "wangwu", name="王五")
    hear(account, kind="event", sender="", contacts={"zhangsan": "张三", "lisi": "李四"})
    four = hear(account, "4", "wangwu", group=GROUP)
    one, two, three = hear(account, "1"), hear(account, "2", "lisi"), hear(account, "3", "lisi", group=GROUP)
    router.route_waiting()
    assert "张三 (user id zhangsan)" in asked(one).payload["extra_system_prompt"]
    assert "李四 (user id lisi)" in asked(two).payload["extra_system_prompt"]
    assert "李四 (lisi): 3" in asked(three).payload["message"]
    assert "王五 (wangwu): 4" in asked(four).payload["message"]
    assert Conversation.objects.get(peer_kind="direct", peer_id="lisi").title == "李四"
    assert Conversation.objects.get(peer_kind="group", peer_id=GROUP).title == ""


@pytest.mark.django_db
def test_each_message_has_its_own_files(account: ChannelAccount) -> None:
    route(account)
    none, two = hear(account, "1"), hear(account, "2", media=(picture("A", "a.png"), picture("B")))
    one = hear(account, "3", "lisi", media=(picture("C"),))
    router.route_waiting()
    for message in (none, two, one):
        files = Attachment.objects.filter(message=message).order_by("position").values_list("pk", flat=True)
        assert asked(message).payload["attachments"] == list(files)
    assert asked(two).payload["message"] == "2\n[image: a.png]\n[image]"


@pytest.mark.django_db
def test_a_turn_that_is_made_anew_for_a_replay_is_the_same(account: ChannelAccount) -> None:
    route(account, allow_links=True)
    factories.contact(account, "lisi", name="李四")
    message = hear(account, "1", "lisi", group=GROUP, media=(picture("A", "a.png"), picture("B", "b.png")))
    router.route_waiting()
    first = asked(message).payload
    assert ("李四 (lisi): 1" in first["message"], len(first["attachments"])) == (True, 2)
    message.refresh_from_db()
    assert router.route_again(message).payload == first


@pytest.mark.django_db
def test_a_conversation_knows_when_somebody_last_wrote(account: ChannelAccount) -> None:
    other = turn(account, sender="lisi").message.conversation
    turn(account)
    Conversation.objects.update(last_inbound_at=timezone.now() - timedelta(days=1))
    turn(account, "again")
    heard = Conversation.objects.filter(last_inbound_at__gt=timezone.now() - timedelta(hours=1))
    assert [talk.peer_id for talk in heard] == ["zhangsan"]
    assert other.pk not in [talk.pk for talk in heard]


@pytest.mark.django_db
def test_the_next_batch_knows_what_staff_changed(account: ChannelAccount) -> None:
    mine = route(account)
    assert turn(account).route == mine
    mine.peer_kind, mine.peer_id = "direct", "boss"
    mine.save()
    assert turn(account).reason == Reason.NO_ROUTE
    special = route(account, peer_kind="direct", peer_id="zhangsan", agent_id="support")
    route(account, peer_kind="direct", agent_id="main")
    assert turn(account).route == special
    Conversation.objects.update(mode="paused", title="x")
    paused = turn(account)
    assert (paused.reason, paused.route) == (Reason.PAUSED, special)


@pytest.mark.django_db
def test_an_event_s_endpoints_hear_of_their_own_account(account: ChannelAccount) -> None:
    other = bot()
    mine, all_of_them, deaf = endpoint(account=account), endpoint(), endpoint(events=[Event.DELIVERY_DEAD])
    endpoint(enabled=False)
    hear(account, media=(picture(),))
    hear(other, group=GROUP)
    hear(account, kind="event")
    router.route_waiting()
    rows = Delivery.objects.filter(target=Target.WEBHOOK).order_by("seq")
    assert [row.endpoint for row in rows] == [mine, all_of_them, all_of_them]
    assert [len(row.payload["body"]["data"]["attachments"]) for row in rows] == [1, 1, 0]
    assert not deaf.deliveries.exists()


@pytest.mark.django_db
def test_one_poisonous_message_in_a_batch(account: ChannelAccount, caplog: pytest.LogCaptureFixture) -> None:
    route(account)
    endpoint(events=[Event.MESSAGE_RECEIVED])
    said = [hear(account, text, who) for text, who in itertools.product(("1", "/new", "2"), ("zhangsan", "lisi"))]
    Message.objects.filter(pk=said[2].pk).update(raw={"_bridge": "not an object"})
    with caplog.at_level(logging.WARNING):
        assert router.route_waiting() == 6
    rows = [asked(message) for message in said]
    assert [row.state for row in rows] == ["pending", "pending", "dead", "skipped", "pending", "pending"]
    assert (rows[2].reason, rows[3].reason) == (Reason.INTERNAL, Reason.COMMAND)
    assert [row.seq for row in rows] == sorted(row.seq for row in rows)
    assert rows[2].message.conversation == rows[0].message.conversation
    answers = Message.objects.filter(direction="out").order_by("pk").values_list("peer_id", "text")
    assert sorted(answers) == [  # nobody is answered twice
        ("lisi", account.sentence("new_session")),
        ("zhangsan", account.sentence("failed")),
    ]
    assert Delivery.objects.filter(target=Target.WEBHOOK).count() == 6
    assert BY_ONE in caplog.text
    assert caplog.text.count("a message could not be routed") == 1


@pytest.mark.django_db
def test_an_account_is_known_for_a_moment(account: ChannelAccount) -> None:
    ChannelAccount.objects.update(enabled=False)
    found, channel = cached_by_id(account.pk)
    assert (found, found.enabled, channel.identity.key) == (account, False, str(account.key))
    with pytest.raises(ChannelAccount.DoesNotExist):
        cached_by_id(account.pk + 1)


# --- real threads -------------------------------------------------------------------------------------------------------------


@pytest.mark.django_db(transaction=True)
def test_routers_and_senders_at_once_never_lock_each_other_out(caplog: pytest.LogCaptureFixture) -> None:
    """The same people speak in all groups, so that routers want the same locks, conversations and contacts."""
    account, other = app(), bot()
    route(account)
    route(other)
    done = threading.Event()

    def speak(seed: int) -> Callable[[], None]:
        dice = random.Random(seed)

        def run() -> None:
            for number in range(60):
                group = dice.choice(["", f"{GROUP}{dice.randrange(8)}"])
                hear(dice.choice([account, other]), str(number), f"user{dice.randrange(30)}", group=group)

        return run

    def listen() -> None:
        while not done.is_set() or router.has_unrouted():
            router.route_waiting()

    def write() -> None:
        for number in range(40):
            send(account, "from staff", f"user{number % 30}")

    def all_said() -> None:
        at_once(speak(1), speak(2), write)
        done.set()

    with caplog.at_level(logging.WARNING):
        at_once(all_said, listen, listen, listen)
    assert BY_ONE not in caplog.text
    assert Message.objects.filter(direction="in", routed_at=None).count() == 0
    assert Delivery.objects.filter(target=Target.AGENT).count() == 120
    in_order(account)
    in_order(other)


@pytest.mark.django_db(transaction=True)
def test_who_waited_for_the_locks_sees_what_the_other_did(account: ChannelAccount) -> None:
    route(account)
    for number in range(30):
        hear(account, str(number), f"user{number % 3}")
    assert sorted(at_once(*[router.route_waiting] * 4)) == [0, 0, 0, 30]
    in_order(account)


@pytest.mark.django_db(transaction=True)
def test_a_conversation_made_by_staff_at_the_same_moment_is_the_same(account: ChannelAccount) -> None:
    route(account)
    heard = [hear(account, str(number), f"user{number}") for number in range(20)]
    said = at_once(
        *[lambda number=number: send(account, "x", f"user{number}") for number in range(4)], router.route_waiting
    )
    assert Conversation.objects.count() == 20
    assert said[0].conversation == asked(heard[0]).message.conversation
