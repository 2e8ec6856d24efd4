"""Fetches files from the platform before their addresses expire, stores them, and reads them again for agents and uploads."""

from __future__ import annotations

import logging
import uuid
from contextlib import suppress
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from django.core.files.base import ContentFile
from django.core.files.storage import default_storage
from django.utils import timezone

from accounts import capabilities, limits
from accounts.channels import build_channel
from accounts.health import CODE_LENGTH
from bridge.explanations.own import INTERNAL, OWN
from bridge.media import sql
from bridge.models import Attachment, AttachmentState
from bridge.security import logs
from bridge.security.redaction import redact_params
from channels_wechat.contract.capabilities import Downloads, Uploads
from channels_wechat.contract.errors import ChannelError
from channels_wechat.contract.explanations import Action
from channels_wechat.contract.filetypes import HEAD_BYTES, recognise, with_suffix
from channels_wechat.contract.messages import MediaItem, Upload
from channels_wechat.contract.text import sendable_name
from channels_wechat.wire.http import error_for_status, file_name

if TYPE_CHECKING:
    from collections.abc import Iterable

    from django.core.files.base import File as DjangoFile

    from channels_wechat.contract.channel import Channel
    from channels_wechat.contract.messages import Payload

log = logging.getLogger(__name__)
# Not the retry table of deliveries: those keep their place in a lane for hours, and the question waits for its files only half a minute. An
# AI bot's addresses expire after five minutes, an app's media ids after three days. A late try ends with the platform's error.
RETRY_SECONDS = (1, 3, 10, 30, 60, 120)
LEASE_SECONDS = 120
# A file of a stopped account is tried again after this. The stored refusal answers then, so the platform is not called.
CONFIGURATION_SECONDS = 60
MEDIA_ID_DAYS = 3
# The name that the platforms' tables of errors give to the right to fetch files by their id.
MEDIA = "media"
MAX_DOWNLOAD = 100 * 1024 * 1024
ADDRESS_TIMEOUT = (5.0, 60.0)
# The columns that are emptied when the file is stored or given up, because addresses and keys are secrets.
NO_SOURCE = {"source": "", "fallback": "", "key": ""}


def claim_files(limit: int) -> list[Attachment]:
    ids = [row.id for row in sql.CLAIM_FILES.fetch(owner=uuid.uuid4().hex, lease=LEASE_SECONDS, limit=limit)]
    return list(Attachment.objects.filter(pk__in=ids).select_related("message__account")) if ids else []


def fetch_file(item: Attachment) -> None:
    """Fetch, decrypt and store one file. Never raises: what went wrong becomes the attachment's state."""
    with logs.about(account=item.message.account_id, message=item.message_id):
        _fetch(item)


def _fetch(item: Attachment) -> None:
    try:
        channel = build_channel(item.message.account)
        if not isinstance(channel, Downloads):
            raise OWN.error("no_downloads")
        store_file(item, _download(channel, item))
    except ChannelError as error:
        _store_failure(item, error)
    except Exception as error:  # a broken body must not stop the other files
        log.exception("attachment %s", item.pk)
        _store_failure(item, OWN.error(INTERNAL, detail=f"{type(error).__name__}: {error}"))


def store_file(item: Attachment, upload: Upload) -> None:
    """Store the bytes, unless another worker took the file over, or it was erased: then they are deleted again."""
    item.file.save("", ContentFile(upload.content), save=False)
    kept = item.settle_as_held(
        state=AttachmentState.READY,
        file=item.file.name,
        name=(upload.name or item.name)[:255],
        mime=upload.mime[:100],
        size=len(upload.content),
        code="",
        code_params={},
        **NO_SOURCE,
    )
    if not kept:
        log.warning("the lease of attachment %s was lost", item.pk)
        delete_files([str(item.file.name)])


def read_attachment(ref: str | int) -> Upload:
    """Return the bytes of an attachment, to send them. Raises Attachment.DoesNotExist or OSError."""
    item = Attachment.objects.get(pk=int(ref))
    with item.file.open("rb") as file:
        return Upload(item.kind, item.name, item.mime, file.read())  # type: ignore[arg-type]


def get_or_upload_handle(channel: Uploads, ref: str) -> str:
    """Return the platform's id of the file, uploading it if need be. A retry uses the same id, so that the request stays the same."""
    item = Attachment.objects.get(pk=int(ref))
    fresh_until = timezone.now() - timedelta(seconds=channel.handle_seconds)
    if item.handle and item.handle_at and item.handle_at > fresh_until:
        return item.handle
    if pause := limits.count_call(channel.upload_limits, channel.identity.key, ""):
        raise OWN.error("rate_limit", Action.WAIT, retry_after=pause)
    item.handle, item.handle_at = channel.upload(read_attachment(ref)), timezone.now()
    item.save(update_fields=["handle", "handle_at"])
    return item.handle


def read_images(channel: Channel, payload: Payload) -> tuple[Upload, ...]:
    """Return the pictures whose bytes are sent with the message itself. Raises as `read_attachment` does."""
    return tuple(read_attachment(ref) for ref in payload.images) if channel.inlines_images else ()


def forget_upload(ref: str) -> None:
    """Make the next attempt upload the file again. That is safe, because the message with the old upload was refused."""
    Attachment.objects.filter(pk=int(ref)).update(handle="", handle_at=None)


def change_kind(ref: str, kind: str) -> None:
    """Make the next upload declare the file as another kind, because the platform refused its present kind."""
    Attachment.objects.filter(pk=int(ref)).update(kind=kind, handle="", handle_at=None)


def delete_files(names: Iterable[str]) -> None:
    """Delete files from the storage. names: as rows have them. Never raises."""
    for name in names:
        try:
            default_storage.delete(name)
        except OSError as error:  # `retention.delete_orphan_files` tries again
            log.warning("a file could not be deleted: %s", type(error).__name__)


def has_unfetched_files(ids: list[int]) -> bool:
    return Attachment.objects.filter(pk__in=ids, state=AttachmentState.PENDING).exists()


def has_waiting_files() -> bool:
    """Whether a file is due to be fetched; the sweep asks."""
    return Attachment.objects.filter(state=AttachmentState.PENDING, due_at__lte=timezone.now()).exists()


def _download(channel: Downloads, item: Attachment) -> Upload:
    """Download from the file's first source; where that is not granted or fails, from its other one."""
    if not item.fallback:
        return _download_from(channel, item, item.source)
    if not capabilities.is_allowed(item.message.account_id, MEDIA):
        return _download_from(channel, item, item.fallback)
    try:
        return _download_from(channel, item, item.source)
    except ChannelError as error:
        capabilities.store_refusal(item.message.account, error)
        with suppress(ChannelError):
            return _download_from(channel, item, item.fallback)
        raise


def _download_from(channel: Downloads, item: Attachment, source: str) -> Upload:
    """Download from one source: an id for the channel or, of a kind whose files have ids, an address that anybody may fetch."""
    wanted = MediaItem(item.kind, source, item.name, item.mime, key=item.key)  # type: ignore[arg-type]
    if channel.names_files_by_id and source.startswith(("http://", "https://")):
        return _download_address(channel, wanted)
    return channel.download(wanted)


def _download_address(channel: Downloads, wanted: MediaItem) -> Upload:
    """Download from an address by the guarded client, because a stranger may have written it to reach our network. Raises ChannelError."""
    options: dict[str, Any] = {"follow": 3, "max_bytes": MAX_DOWNLOAD, "timeout": ADDRESS_TIMEOUT}
    answer = channel.http.request("GET", wanted.handle, **options, from_message=True)
    if answer.status != 200:
        raise error_for_status(answer, harmless=True)
    name = file_name(answer.headers.get("Content-Disposition", "")) or wanted.name
    mime = recognise(answer.body, name, answer.headers.get("Content-Type", "") or wanted.mime).mime
    return Upload(wanted.kind, with_suffix(name or wanted.kind, mime), mime, answer.body)


def _store_failure(item: Attachment, error: ChannelError) -> None:
    """Store a failure."""
    capabilities.store_refusal(item.message.account, error)
    again = error.action in (Action.RETRY, Action.WAIT, Action.UNKNOWN) and item.tries < len(RETRY_SECONDS)
    now = timezone.now()
    outcome: dict[str, Any] = {"code": error.code[:CODE_LENGTH], "code_params": redact_params(error.params)}
    if error.action == Action.CONFIG and _is_kept_by_platform(item):
        outcome |= {"tries": item.tries - 1, "due_at": now + timedelta(seconds=CONFIGURATION_SECONDS)}
    elif again:
        outcome |= {"due_at": now + timedelta(seconds=error.retry_after or RETRY_SECONDS[item.tries - 1])}
    else:
        outcome |= {"state": AttachmentState.FAILED, **NO_SOURCE}
    if not item.settle_as_held(**outcome):
        log.warning("the lease of attachment %s was lost", item.pk)


def _is_kept_by_platform(item: Attachment) -> bool:
    """Whether the platform still has the file: a media id lives for days, so the file can wait until staff mend the account."""
    recent = timezone.now() - item.message.created_at < timedelta(days=MEDIA_ID_DAYS)
    channel = build_channel(item.message.account)
    return recent and isinstance(channel, Downloads) and channel.names_files_by_id


def load_attachments(ids: list[int]) -> list[Attachment]:
    return list(Attachment.objects.filter(pk__in=ids).order_by("position"))


def read_upload(file: DjangoFile[Any]) -> Upload:
    """Return a file of a form or of the API with its bytes, which are kept nowhere."""
    content = file.read()
    name = sendable_name(file.name or "") or "file"
    kind, mime = recognise(content[:HEAD_BYTES], name, getattr(file, "content_type", None) or "")
    return Upload(kind, name[:255], mime, content)
