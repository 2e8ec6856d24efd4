"""Files of messages, for those who may read the messages. Nothing a stranger sent can run here: it is saved, not shown."""

from __future__ import annotations

from typing import TYPE_CHECKING

from django.core.exceptions import PermissionDenied
from django.http import FileResponse, Http404, HttpResponse
from django.shortcuts import get_object_or_404
from django.utils.translation import gettext as _

from bridge.admin.desk import user_of
from bridge.models import Attachment, AttachmentState

if TYPE_CHECKING:
    from uuid import UUID

    from django.http import HttpRequest

# Pictures a browser decodes without running anything; all else is named a stream of bytes.
PICTURES = frozenset({"image/png", "image/jpeg", "image/gif", "image/webp"})


def is_picture(attachment: Attachment) -> bool:
    return attachment.mime in PICTURES and attachment.state == AttachmentState.READY


def download(request: HttpRequest, uuid: UUID) -> HttpResponse | FileResponse:
    """The bytes. A page may use them as the source of an <img>; opened by themselves they are a download."""
    if not user_of(request).has_perm("bridge.view_message"):
        raise PermissionDenied
    attachment = get_object_or_404(Attachment, uuid=uuid)
    try:
        content = attachment.file.open("rb")
    except (OSError, ValueError) as error:
        raise Http404(_("The file is not stored.")) from error
    mime = attachment.mime if attachment.mime in PICTURES else "application/octet-stream"
    response = FileResponse(content, as_attachment=True, filename=attachment.name or attachment.kind, content_type=mime)
    response["X-Content-Type-Options"] = "nosniff"
    response["Content-Security-Policy"] = "default-src 'none'; sandbox"
    response["Cross-Origin-Resource-Policy"] = "same-origin"
    response["Cache-Control"] = "private, max-age=3600"
    return response
