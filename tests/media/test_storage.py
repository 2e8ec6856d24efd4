"""Files: fetched before their addresses die, kept under random names, and given up in words."""

from __future__ import annotations

import logging
import os
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from django.conf import settings
from django.core.files.base import ContentFile
from django.core.files.storage import default_storage
from django.db import connection
from django.utils import timezone

from bridge.media import storage
from bridge.models import Attachment, Message
from bridge.runtime.conf.checks import _is_writable
from channels_wechat.contract.messages import MediaItem, Upload
from channels_wechat.weixin.errors import WEIXIN
from tests.support.factories import GROUP, app, bot, hear, picture

if TYPE_CHECKING:
    from pytest_django.fixtures import SettingsWrapper

    from accounts.models import ChannelAccount
    from channels_wechat.simulator import SimulatorClient

pytestmark = pytest.mark.django_db


def item_of(account: ChannelAccount, handle: str = "M1") -> Attachment:
    return hear(account, media=(picture(handle),)).attachments.get()


def fetched(item: Attachment) -> Attachment:
    for claimed in storage.claim_files(10):
        storage.fetch_file(claimed)
    item.refresh_from_db()
    return item


def again(item: Attachment) -> None:
    Attachment.objects.filter(pk=item.pk).update(due_at=timezone.now(), owner_until=None)


def upload(company: SimulatorClient, account: ChannelAccount) -> str:
    """A media id that the platform knows."""
    from accounts.channels import build_channel
    from openclaw.stub.answers import make_picture as png

    return build_channel(account).upload(Upload("image", "照片.png", "image/png", png(1)))  # type: ignore[attr-defined]


def test_it_is_kept_under_a_random_name(company: SimulatorClient) -> None:
    account = app(company.url)
    item = item_of(account, upload(company, account))
    assert storage.has_waiting_files()
    assert storage.has_unfetched_files([item.pk])
    fetched(item)
    assert (item.state, item.name, item.mime, item.source, item.error) == ("ready", "照片.png", "image/png", "", "")
    assert item.size == len(storage.read_attachment(item.pk).content) > 0
    assert storage.read_attachment(str(item.pk)).kind == "image"
    assert "照片" not in item.file.name
    assert (Path(settings.MEDIA_ROOT) / item.file.name).is_file()
    assert not storage.has_waiting_files()
    assert not storage.has_unfetched_files([item.pk])
    assert storage.load_attachments([item.pk]) == [item]


def test_only_what_is_due_is_claimed_once(company: SimulatorClient) -> None:
    item = item_of(app(company.url))
    assert [row.pk for row in storage.claim_files(10)] == [item.pk]
    assert storage.claim_files(10) == []
    Attachment.objects.update(owner_until=timezone.now())
    assert [row.tries for row in storage.claim_files(10)] == [2]
    Attachment.objects.update(owner_until=None, due_at=timezone.now() + timedelta(seconds=60))
    assert storage.claim_files(10) == []


def test_who_lost_a_file_to_another_worker_writes_nothing(company: SimulatorClient) -> None:
    """The first worker's lease ran out: whatever it meets then, the other one's result stays, and its own bytes are deleted."""
    account = app(company.url)
    item_of(account, upload(company, account))
    (first,) = storage.claim_files(10)
    Attachment.objects.update(owner_until=timezone.now())
    (second,) = storage.claim_files(10)
    assert (second.fence, first.owner == second.owner) == (first.fence + 1, False)
    storage.store_file(first, Upload("image", "late.png", "image/png", b"late"))
    storage._store_failure(first, WEIXIN.error("40005"))
    found = Attachment.objects.get()
    assert (found.state, found.file.name, found.error, found.owner) == ("pending", "", "", second.owner)
    assert not default_storage.exists(first.file.name)
    storage.fetch_file(second)
    second.refresh_from_db()
    assert (second.state, second.name, second.owner, second.owner_until) == ("ready", "照片.png", "", None)


def test_a_dead_media_id_is_given_up_in_words(company: SimulatorClient) -> None:
    item = item_of(app(company.url), "nonsense")
    Attachment.objects.update(tries=len(storage.RETRY_SECONDS) - 1)
    fetched(item)
    assert (item.state, item.source) == ("failed", "")
    assert "40007" in item.error


@pytest.mark.parametrize("kind", ["reset", "timeout_before", "html"])
def test_trouble_is_tried_again(company: SimulatorClient, kind: str) -> None:
    account = app(company.url)
    item = item_of(account, upload(company, account))
    company.fault("media/get", kind, seconds=0.1, status=502)
    fetched(item)
    assert (item.state, item.tries, item.owner_until) == ("pending", 1, None)
    assert item.error
    assert item.due_at > timezone.now()
    assert not storage.has_waiting_files()
    assert storage.claim_files(10) == []
    again(item)
    assert fetched(item).state == "ready"


def test_a_file_beyond_the_platforms_rate_is_fetched_later(company: SimulatorClient) -> None:
    account = app(company.url)
    item = item_of(account, upload(company, account))
    company.fault("media/get", "errcode", errcode=45009)
    fetched(item)
    assert (item.state, item.tries) == ("pending", 1)
    again(item)
    assert fetched(item).state == "ready"


def test_trouble_without_end_is_given_up() -> None:
    item = item_of(app())
    for tries in range(1, len(storage.RETRY_SECONDS) + 1):
        assert item.state == "pending"
        again(item)
        assert fetched(item).tries == tries
    assert (item.state, item.source) == ("failed", "")


def test_what_is_given_up_leaves_no_address() -> None:
    item = item_of(app())
    Attachment.objects.update(fallback="https://wework.qpic.cn/1?token=canary", tries=len(storage.RETRY_SECONDS) - 1)
    assert (fetched(item).state, item.source, item.fallback) == ("failed", "", "")


def test_a_key_of_a_files_own_is_stored_encrypted_and_forgotten_with_its_address() -> None:
    account = app()
    item = hear(account, media=(MediaItem("image", "M1", key="canary key"),)).attachments.get()
    with connection.cursor() as cursor:
        stored = cursor.execute("SELECT key FROM bridge_attachment").fetchone()
    assert stored
    assert len(stored[0]) > len("canary key")
    assert "canary" not in stored[0]
    assert item.key == "canary key"
    Attachment.objects.update(tries=len(storage.RETRY_SECONDS) - 1)
    assert (fetched(item).state, item.key) == ("failed", "")
    kept = hear(account, media=(MediaItem("image", "M2", key="canary key"),)).attachments.get()
    storage.store_file(kept, Upload("image", "a.png", "image/png", b"x"))
    assert (kept.state, kept.key) == ("ready", "")


def test_the_platforms_own_pause_wins_and_its_secrets_are_not_kept() -> None:
    item = item_of(app())
    item.tries = 1
    storage._store_failure(item, WEIXIN.error("45009", detail="access_token=canary", retry_after=600))
    assert 590 < (item.due_at - timezone.now()).total_seconds() <= 600
    assert "(45009: access_token=•••" in item.error
    assert "canary" not in item.error


def test_an_address_is_no_secret_of_the_row_any_more() -> None:
    account = bot()
    item = hear(account, group=GROUP, media=(picture("http://127.0.0.1:9/file?access_token=canary"),)).attachments.get()
    fetched(item)
    assert "canary" not in item.error


def test_a_defect_does_not_stop_the_other_files(company: SimulatorClient, caplog: pytest.LogCaptureFixture) -> None:
    account = app(company.url)
    good = item_of(account, upload(company, account))
    broken = item_of(app(company.url, agent_id=7))
    broken.message.account.credentials = {}
    broken.message.account.save(update_fields=["credentials"])
    with caplog.at_level(logging.CRITICAL):
        fetched(good)
    broken.refresh_from_db()
    assert (good.state, broken.state) == ("ready", "failed")
    assert "KeyError" in broken.error


def test_a_file_waits_with_its_stopped_account(company: SimulatorClient) -> None:
    account = app(company.url)
    handle = upload(company, account)
    item = item_of(account, handle)
    account.token.failure_code, account.token.failure_params = "40001", {"detail": "the secret is wrong"}
    account.token.save()

    fetched(item)
    assert (item.state, item.source, item.tries) == ("pending", handle, 0)
    assert item.due_at > timezone.now() + timedelta(seconds=30)

    account.revive()
    again(item)
    assert fetched(item).state == "ready"


def test_a_file_waits_no_longer_than_the_platform_keeps_it(company: SimulatorClient) -> None:
    account = app(company.url)
    item = item_of(account, upload(company, account))
    account.token.failure_code, account.token.failure_params = "40001", {"detail": "the secret is wrong"}
    account.token.save()
    Message.objects.update(created_at=timezone.now() - timedelta(days=storage.MEDIA_ID_DAYS))
    assert (fetched(item).state, item.source) == ("failed", "")


def test_an_address_does_not_outlive_a_wrong_configuration() -> None:
    item = fetched(item_of(bot(), "http://10.0.0.1/file"))
    assert (item.state, item.source) == ("failed", "")


@pytest.mark.parametrize("umask", [0o000, 0o022])
def test_files_are_for_this_user_alone(settings: SettingsWrapper, tmp_path: Path, umask: int) -> None:
    """Wherever MEDIA_ROOT is, whatever the umask of the process: also where it is made by the storage itself."""
    settings.MEDIA_ROOT = str(tmp_path / "elsewhere")
    assert _is_writable(Path(settings.MEDIA_ROOT))
    before = os.umask(umask)
    try:
        name = default_storage.save("2026/11/secret.png", ContentFile(b"what somebody sent"))
    finally:
        os.umask(before)
    path = Path(settings.MEDIA_ROOT) / name
    modes = [
        oct(each.stat().st_mode & 0o777) for each in (path, path.parent, path.parent.parent, Path(settings.MEDIA_ROOT))
    ]
    assert modes == ["0o600", "0o700", "0o700", "0o700"]
