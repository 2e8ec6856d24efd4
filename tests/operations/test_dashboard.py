"""What the pages count."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

import pytest
from django.utils import timezone

from bridge.models import Message
from bridge.operations import dashboard
from bridge.pipeline.inbound import callback_stats
from tests.support import factories

if TYPE_CHECKING:
    from pathlib import Path

    import redis

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def _files(settings: object, tmp_path: Path) -> None:
    settings.MEDIA_ROOT = str(tmp_path)  # type: ignore[attr-defined]


def test_callbacks_are_noted_and_refusals_counted(valkey: redis.Redis) -> None:
    account = factories.account()
    factories.hear(factories.mini())
    assert callback_stats.last_callback(account) is None
    factories.note_callback(account, "signature", refused=True)
    factories.note_callback(account, "signature", refused=True)
    factories.note_callback(account, "stale", refused=True)
    factories.note_callback(account, "text", refused=False)
    when, result = callback_stats.last_callback(account) or (None, "")
    assert result == "text"
    assert when is not None
    assert abs((timezone.now() - when).total_seconds()) < 60
    assert callback_stats.refused_callbacks(account) == {"signature": 2, "stale": 1}


def test_the_last_callback_is_read_from_the_rows_when_valkey_has_forgotten(valkey: redis.Redis) -> None:
    world = factories.build_world()
    newest = Message.objects.filter(account=world.bot, direction="in").latest("id")
    assert callback_stats.last_callback(world.bot) == (newest.created_at, "ok")


def test_the_dashboard_counts_today(valkey: redis.Redis, django_assert_num_queries) -> None:
    world = factories.build_world()
    old = factories.message(world.group, "yesterday", "OLD")
    Message.objects.filter(pk=old.pk).update(created_at=timezone.now() - timedelta(days=1, minutes=1))
    replayed, sending = (
        factories.message(world.group, "again", key, routed_at=old.routed_at) for key in ("AGAIN", "GOES")
    )
    queued = timezone.now() - timedelta(hours=2)
    factories.delivery(replayed, "pending", created_at=queued - timedelta(days=3), queued_at=queued)
    factories.delivery(sending, "sending", lane="in:another", lease_until=timezone.now())
    with django_assert_num_queries(4):
        board = dashboard.read_dashboard()
    assert (board.incoming, board.outgoing) == (6, 3)
    assert (board.waiting, board.held, board.dead, board.uncertain) == (3, 0, 2, 1)
    assert board.oldest_waiting == queued


def test_each_refusal_is_counted_however_fast_they_come(valkey: redis.Redis) -> None:
    account = factories.account()
    for _time in range(3):
        factories.note_callback(account, "ok")
        factories.note_callback(account, "stale", refused=True)
    assert callback_stats.refused_callbacks(account) == {"stale": 3}
    assert 0 < valkey.ttl(f"callback:{account.key}") <= callback_stats.KEEP_SECONDS
    assert callback_stats.count_callback(str(account.key), "stale", True) is not None
    assert callback_stats.count_callback(str(account.key), "ok", False) is not None
    assert callback_stats.count_callback(str(account.key), "ok", False) is None
