"""Who wins when the pruning of old messages and somebody else want the same row."""

from __future__ import annotations

import math
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pytest
from django.db import transaction

from bridge.models import Delivery, Message, State
from bridge.operations import retention
from bridge.operations.replay import replay
from tests.operations.old_messages import DAYS, age, left, prune
from tests.support.factories import answer, app, in_thread, route, row, turn, wait_for_a_waiter

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from pytest_django.fixtures import SettingsWrapper

    from accounts.models import ChannelAccount

pytestmark = pytest.mark.django_db


@pytest.fixture
def account() -> ChannelAccount:
    return app(columns={"retention_days": DAYS})


@pytest.fixture(autouse=True)
def _own_files(settings: SettingsWrapper, tmp_path: Path) -> None:
    settings.MEDIA_ROOT = str(tmp_path)


def skipped(account: ChannelAccount) -> Delivery:
    """A question that no mapping took, long ago: it can be replayed, and it can be pruned."""
    delivery = turn(account)
    age(delivery.message)
    return row(delivery)


@pytest.mark.django_db(transaction=True)
def test_a_replay_that_was_first_keeps_the_message(account: ChannelAccount) -> None:
    delivery = skipped(account)
    route(account)
    with ThreadPoolExecutor(1) as pool, transaction.atomic():
        assert replay([delivery.pk]).count == 1
        assert pool.submit(in_thread(prune)).result(30) == 0
    assert row(delivery).state == State.PENDING
    assert prune() == 0


@pytest.mark.django_db(transaction=True)
def test_a_replay_under_way_keeps_its_own_message_only(account: ChannelAccount) -> None:
    """Another message of the batch goes at once: pruning neither waits for the replay nor gives the batch up."""
    delivery, other = skipped(account), skipped(account)
    route(account)
    with ThreadPoolExecutor(1) as pool, transaction.atomic():
        assert replay([delivery.pk]).count == 1
        assert (
            pool.submit(
                in_thread(lambda: retention._repeat_until_done(lambda: retention._prune_messages(account), math.inf))
            ).result(30)
            == 1
        )
    assert set(Delivery.objects.values_list("pk", "state")) == {(delivery.pk, State.PENDING)}
    assert not Message.objects.filter(pk=other.message_id).exists()


def test_what_was_replayed_since_the_look_is_kept(account: ChannelAccount) -> None:
    delivery, other = skipped(account), skipped(account)
    route(account)
    chosen = [delivery.message_id, other.message_id]
    assert replay([delivery.pk]).count == 1
    assert retention._lock_finished(chosen) == [other.message_id]


@pytest.mark.django_db(transaction=True)
def test_a_replay_that_comes_second_finds_it_gone(account: ChannelAccount) -> None:
    delivery = skipped(account)
    route(account)
    with ThreadPoolExecutor(1) as pool:
        with transaction.atomic():
            assert retention._prune_messages(account) == 1
            second = pool.submit(in_thread(lambda: replay([delivery.pk])))
            wait_for_a_waiter()
        refused = second.result(30)
    assert (refused.count, refused.refused) == (0, [(delivery.pk, "It no longer exists.")])
    assert left() == 0


@pytest.mark.django_db(transaction=True)
def test_replays_and_prunes_at_once_lose_nothing_and_never_fail(account: ChannelAccount) -> None:
    deliveries = [skipped(account) for _number in range(60)]
    route(account)
    over = threading.Event()

    def prune_all() -> int:
        count = 0
        while not over.is_set():
            count += prune()
            time.sleep(0.02)
        return count + prune()

    def replay_some(mine: list[Delivery]) -> list[int]:
        return [each.pk for each in mine if replay([each.pk]).count]

    jobs: list[Callable[[], Any]] = [lambda part=part: replay_some(deliveries[part::3]) for part in range(3)]
    with ThreadPoolExecutor(5) as pool:
        pruners = [pool.submit(in_thread(prune_all)) for _pruner in range(2)]
        replayed = [done.result(60) for done in [pool.submit(in_thread(job)) for job in jobs]]
        over.set()
        pruned = sum(done.result(60) for done in pruners)
    kept = {pk for each in replayed for pk in each}
    assert pruned + len(kept) == 60
    assert set(Delivery.objects.values_list("pk", "state")) == {(pk, "pending") for pk in kept}


@pytest.mark.django_db(transaction=True)
def test_it_gives_way_to_whoever_holds_an_answer_of_the_message(account: ChannelAccount) -> None:
    """The answer's link to the question would have to be cut: pruning waits half a second, and comes again."""
    route(account)
    question = age(turn(account).message)
    young = answer(question)
    with ThreadPoolExecutor(1) as pool, transaction.atomic():
        Message.objects.select_for_update().get(pk=young.pk)
        assert pool.submit(in_thread(prune)).result(30) == 0
    assert left() == 2
    assert (prune(), left()) == (1, 1)
