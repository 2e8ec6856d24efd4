"""A conversation moves to another account: what goes along, what stays, what is refused, and what happens at the same moment."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

import pytest
from auditlog.models import LogEntry
from django.db import transaction
from django.utils import timezone

from bridge.admin.conversations.inbox import select_waiting
from bridge.models import Conversation, Delivery, FallbackSender, Message, Reason, Route, State
from bridge.operations import moving
from bridge.operations.moving import CannotMove, Destination, move_conversation
from bridge.pipeline.inbound import router
from tests.support import factories
from tests.support.factories import at_once, in_thread, turn

if TYPE_CHECKING:
    from accounts.models import ChannelAccount

Mode = Conversation.Mode


@pytest.fixture
def old(db: None) -> Conversation:
    """A group of a personal account's gateway, with a mapping of its own."""
    account = factories.own_connection(columns={"name": "Old"}, connection="old")
    talk = factories.conversation(account, "room-7", "group", title="Support", told_title="room")
    factories.route(account, peer_kind="group", peer_id="room-7", agent_id="support", trigger="mention", note="mine")
    return talk


@pytest.fixture
def bot(db: None) -> ChannelAccount:
    return factories.bot()


def move(talk: Conversation, account: ChannelAccount, peer_id: str = "wrNew", **more: Any) -> moving.Moved:
    farewell = more.pop("farewell", "")
    return move_conversation(talk, Destination(account, peer_id, **more), farewell=farewell, client="staff:1")


def refusal(talk: Conversation, account: ChannelAccount, peer_id: str = "wrNew", **more: Any) -> tuple[str, str]:
    """The field and the words; nothing was changed."""
    before = everything()
    with pytest.raises(CannotMove) as refused:
        move(talk, account, peer_id, **more)
    assert everything() == before
    return refused.value.field, str(refused.value)


def everything() -> list[Any]:
    models = (Conversation, Route, FallbackSender, Message, Delivery, LogEntry)
    return [list(model.objects.order_by("pk").values()) for model in models]


# --- what goes along


def test_mapping_title_and_mode_go_along_and_the_old_one_is_paused(old: Conversation, bot: ChannelAccount) -> None:
    Conversation.objects.filter(pk=old.pk).update(mode=Mode.HUMAN)
    moved = move(old, bot)
    new = moved.target
    assert (new.account, new.peer_kind, new.peer_id) == (bot, "group", "wrNew")
    assert (new.title, new.mode, new.moved_to) == ("Support", Mode.HUMAN, None)
    assert (old.mode, old.moved_to, bool(old.moved_at)) == (Mode.PAUSED, new, True)
    route = Route.objects.get()
    assert (route.account, route.peer_kind, route.peer_id) == (bot, "group", "wrNew")
    assert (route.agent_id, route.trigger, route.note) == ("support", "mention", "mine")
    assert moved.notes == ()


def test_what_waits_for_staff_waits_in_the_conversation_in_which_it_goes_on(
    old: Conversation, bot: ChannelAccount
) -> None:
    since = timezone.now()
    waiting = {"mode": Mode.HUMAN, "waiting_since": since, "waiting_count": 2}
    Conversation.objects.filter(pk=old.pk).update(**waiting)
    new = move(old, bot).target
    assert (new.waiting_since, new.waiting_count) == (since, 2)
    assert (old.waiting_since, old.waiting_count) == (None, 0)
    turn(old.account, sender="ann", group="room-7")  # somebody still writes there
    old.refresh_from_db()
    assert old.waiting_count == 1
    assert [talk.pk for talk in select_waiting()] == [new.pk]


def test_the_next_message_is_answered_there_and_no_more_here(old: Conversation, bot: ChannelAccount) -> None:
    move(old, bot)
    asked = turn(bot, sender="zhangsan", group="wrNew")
    assert (asked.state, asked.payload["agent_id"]) == (State.PENDING, "support")
    factories.route(old.account)  # one for everybody, which would answer
    assert turn(old.account, sender="ann", group="room-7").reason == Reason.PAUSED


def test_of_a_general_mapping_a_copy_is_made(old: Conversation, bot: ChannelAccount) -> None:
    Route.objects.update(peer_kind="", peer_id="", scope="sender", allow_links=True)
    moved = move(old, bot)
    general, own = Route.objects.order_by("pk")
    assert (general.account, general.peer_id) == (old.account, "")
    assert (own.account, own.peer_kind, own.peer_id) == (bot, "group", "wrNew")
    copied = [field for field in moving.RULES if getattr(own, field) != getattr(general, field)]
    assert (copied, len(moved.notes)) == ([], 1)


def test_without_a_mapping_none_is_made(old: Conversation, bot: ChannelAccount) -> None:
    Route.objects.all().delete()
    assert len(move(old, bot).notes) == 1
    assert not Route.objects.exists()


@pytest.mark.parametrize(
    ("there", "told", "here", "told_here", "expected"),
    [
        ("", "", "Support", "", "Support"),
        ("", "", "Support", "Support", "Support"),
        ("New group", "New group", "Support", "", "Support"),  # the platform's there, staff's here
        ("New group", "New group", "Support", "Support", "New group"),
        ("Staff's", "New group", "Support", "", "Staff's"),
        ("Staff's", "", "Support", "", "Staff's"),
        ("Staff's", "", "", "", "Staff's"),
    ],
)
def test_whose_title_stays(
    old: Conversation, bot: ChannelAccount, there: str, told: str, here: str, told_here: str, expected: str
) -> None:
    Conversation.objects.filter(pk=old.pk).update(title=here, told_title=told_here)
    factories.conversation(bot, "wrNew", "group", title=there, told_title=told)
    assert move(old, bot).target.title == expected


def test_fallback_senders_go_behind_those_that_are_there(old: Conversation, bot: ChannelAccount) -> None:
    """Left out: what is there already, and the conversation itself, which was a fallback of the old one."""
    robot, new = factories.robot(), factories.conversation(bot, "wrNew", "group")
    group = {"account": robot, "peer_kind": "group"}
    for position, peer in enumerate(("one", "same", "two")):
        FallbackSender.objects.create(conversation=old, position=position, peer_id=peer, **group)
    FallbackSender.objects.create(conversation=old, position=3, account=bot, peer_kind="group", peer_id="wrNew")
    FallbackSender.objects.create(conversation=new, position=4, peer_id="same", **group)
    notes = move(old, bot).notes
    found = FallbackSender.objects.order_by("position").values_list("conversation", "position", "peer_id")
    assert list(found) == [(new.pk, 4, "same"), (new.pk, 5, "one"), (new.pk, 6, "two")]
    assert notes == ("2 fallback senders went along: check that they send to the new group.",)


def test_a_servicers_conversation_goes_on_with_the_agent(old: Conversation, bot: ChannelAccount) -> None:
    Conversation.objects.filter(pk=old.pk).update(mode=Mode.HUMAN, servicer="wangwu")
    assert move(old, bot).target.mode == Mode.BOT


def test_one_line_of_the_audit_log_says_it(old: Conversation, bot: ChannelAccount) -> None:
    LogEntry.objects.all().delete()
    new = move(old, bot).target
    (entry,) = LogEntry.objects.all()
    assert (entry.object_pk, entry.additional_data["action"]) == (
        str(old.pk),
        f"Moved to conversation {new.pk} of {bot.name}.",
    )


def test_what_waits_stays_and_a_sentence_is_left_behind(old: Conversation, bot: ChannelAccount) -> None:
    asked = turn(old.account, sender="ann", group="room-7")
    assert moving.count_waiting(old) == 1
    move(old, bot, farewell="We have moved to WeCom.")
    assert factories.row(asked).state == State.PENDING
    said = Message.objects.get(direction="out")
    assert (said.conversation, said.text, said.source) == (old, "We have moved to WeCom.", "staff")
    assert moving.count_waiting(old) == 2


# --- allowed senders


@pytest.fixture
def named(old: Conversation) -> Conversation:
    Route.objects.update(allowed_senders="ann\nbob")
    return old


def test_ids_of_people_are_not_carried_over_silently(named: Conversation, bot: ChannelAccount) -> None:
    assert refusal(named, bot)[0] == "allowed_senders"
    assert refusal(named, bot, allowed_senders=" \u200b\n")[0] == "allowed_senders"


def test_new_ids_take_their_place(named: Conversation, bot: ChannelAccount) -> None:
    moved = move(named, bot, allowed_senders=" zhangsan \n\nlisi")
    assert (Route.objects.get().allowed_senders, len(moved.notes)) == ("zhangsan\nlisi", 1)


def test_everybody_may_talk_only_where_that_is_said(named: Conversation, bot: ChannelAccount) -> None:
    move(named, bot, everybody=True)
    assert Route.objects.get().allowed_senders == ""


def test_within_an_account_the_ids_mean_the_same(named: Conversation) -> None:
    move(named, named.account, "room-8")
    assert Route.objects.get().allowed_senders == "ann\nbob"


# --- what is refused


def test_a_mapping_there_is_replaced_only_where_that_is_said(old: Conversation, bot: ChannelAccount) -> None:
    theirs = factories.route(bot, peer_kind="group", peer_id="wrNew", agent_id="other")
    assert refusal(old, bot)[0] == "replaces_mapping"
    move(old, bot, replaces_mapping=True)
    assert not Route.objects.filter(pk=theirs.pk).exists()
    assert Route.objects.get().agent_id == "support"


def test_a_general_mapping_there_is_in_nobodys_way(old: Conversation, bot: ChannelAccount) -> None:
    factories.route(bot, agent_id="other")
    move(old, bot)
    assert Route.objects.filter(account=bot).count() == 2


@pytest.mark.parametrize(
    "make",
    [factories.app, factories.official, factories.robot],
    ids=["hears persons only", "persons too", "hears nobody"],
)
def test_an_account_that_hears_no_groups_is_refused(old: Conversation, make: Any) -> None:
    field, words = refusal(old, make())
    assert (field, "receives no such messages" in words) == ("account", True)


def test_a_kind_that_is_gone_is_refused(old: Conversation) -> None:
    gone = factories.bot()
    gone.kind = "gone"
    gone.save()
    assert refusal(old, gone) == ("account", "This kind of account is no longer supported.")


def test_the_same_conversation_is_refused(old: Conversation) -> None:
    assert refusal(old, old.account, "room-7")[0] == "peer_id"


@pytest.mark.parametrize("peer_id", ["", " \u200b", "a\nb", "x" * 201])
def test_what_is_no_id_is_refused(old: Conversation, bot: ChannelAccount, peer_id: str) -> None:
    assert refusal(old, bot, peer_id)[0] == "peer_id"


def test_many_people_at_once_are_no_conversation(db: None, bot: ChannelAccount) -> None:
    talk = factories.conversation(factories.own_connection(), "ann")
    assert refusal(talk, factories.app(), "@all")[0] == "peer_id"


def test_what_has_moved_moves_no_more(old: Conversation, bot: ChannelAccount) -> None:
    move(old, bot)
    assert refusal(old, bot, "wrOther")[0] == ""


def test_nothing_goes_to_where_somebody_has_left(old: Conversation, bot: ChannelAccount) -> None:
    gone = factories.conversation(bot, "wrGone", "group")
    elsewhere = factories.conversation(bot, "wrElsewhere", "group")
    Conversation.objects.filter(pk=gone.pk).update(moved_to=elsewhere)
    assert refusal(old, bot, "wrGone")[0] == "peer_id"


def test_an_erased_person_goes_nowhere(db: None, bot: ChannelAccount) -> None:
    assert refusal(factories.conversation(factories.mini(), "erased-1"), bot, "zhangsan")[0] == ""


def test_a_farewell_that_cannot_be_sent_stops_the_move(bot: ChannelAccount) -> None:
    """A bot by callback URL does not speak first."""
    talk = factories.conversation(bot, "wrOld", "group")
    field, words = refusal(talk, factories.own_connection(), "room-9", farewell="We have moved.")
    assert (field, bool(words)) == ("farewell", True)


# --- back again


def test_it_moves_back_and_there_again(old: Conversation, bot: ChannelAccount) -> None:
    new = move(old, bot).target
    back = move(new, old.account, "room-7").target
    assert (back, back.mode, back.moved_to) == (old, Mode.BOT, None)
    assert (new.mode, new.moved_to) == (Mode.PAUSED, old)
    assert Route.objects.get().account == old.account
    again = move(back, bot).target
    assert (again, again.mode, again.moved_to) == (new, Mode.BOT, None)


def test_after_several_moves_it_may_go_back_to_any_of_them(old: Conversation, bot: ChannelAccount) -> None:
    second = move(old, bot).target
    third = move(second, bot, "wrThird").target
    assert moving.find_earlier(third) == {old.pk, second.pk}
    back = move(third, old.account, "room-7").target
    second.refresh_from_db()
    assert (back, back.mode, back.moved_to) == (old, Mode.BOT, None)
    assert (second.moved_to, third.moved_to) == (third, old)
    assert moving.find_earlier(back) == {second.pk, third.pk}
    assert refusal(third, bot)[1] == "It has moved already: move the conversation in which it goes on."


# --- at the same moment


@pytest.mark.django_db(transaction=True)
def test_of_two_who_move_it_one_does(transactional_db: None) -> None:
    account, bots = factories.own_connection(), [factories.bot(bot_id=f"BOT{number}") for number in range(2)]
    talk = factories.conversation(account, "room-7", "group")
    factories.route(account, peer_kind="group", peer_id="room-7")

    def mover(account: ChannelAccount) -> Any:
        def run() -> str:
            try:
                return str(move(Conversation.objects.get(pk=talk.pk), account).target.account.name)
            except CannotMove as refused:
                return refused.field

        return run

    done = at_once(*map(mover, bots))
    assert sorted(done)[0] == ""
    talk.refresh_from_db()
    assert talk.moved_to is not None
    assert talk.moved_to.account.name == sorted(done)[1]
    assert Route.objects.get().account == talk.moved_to.account


@pytest.mark.django_db(transaction=True)
def test_two_that_change_places_do_not_wait_for_each_other_for_ever(transactional_db: None) -> None:
    account = factories.own_connection()
    talks = [factories.conversation(account, peer, "group") for peer in ("room-1", "room-2")]

    def mover(talk: Conversation, to: str) -> Any:
        def run() -> str:
            try:
                return move(Conversation.objects.get(pk=talk.pk), account, to).target.peer_id
            except CannotMove:
                return ""

        return run

    for _again in range(5):
        Conversation.objects.update(moved_to=None, moved_at=None, mode=Mode.BOT)
        at_once(mover(talks[0], "room-2"), mover(talks[1], "room-1"))
        assert Conversation.objects.filter(moved_to=None).count() == 1


@pytest.mark.django_db(transaction=True)
def test_a_message_that_arrives_meanwhile_is_routed_after_the_move(transactional_db: None) -> None:
    """The router waits for the mover's lock, and then finds the conversation paused."""
    account, bot = factories.own_connection(), factories.bot()
    talk = factories.conversation(account, "room-7", "group")
    factories.route(account)
    factories.hear(account, sender="ann", group="room-7")
    done: list[int] = []
    with transaction.atomic():  # so that the move is not committed yet
        move(talk, bot)
        routing = threading.Thread(target=in_thread(lambda: done.append(router.route_waiting())))
        routing.start()
        factories.wait_for_a_waiter()
        assert done == []
    routing.join(20)
    assert done == [1]
    assert Delivery.objects.get().reason == Reason.PAUSED
