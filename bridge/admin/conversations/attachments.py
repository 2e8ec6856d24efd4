"""Files of messages, for those who may read the messages."""

from __future__ import annotations

from typing import TYPE_CHECKING

from django.core.exceptions import PermissionDenied
from django.http import FileResponse, Http404, HttpResponse
from django.shortcuts import get_object_or_404
from django.utils.translation import gettext_lazy as _

from bridge.admin.base import user_of
from bridge.models import Attachment, AttachmentState
from bridge.security.downloads import PICTURES, build_response
from bridge.security.permissions import may_read

if TYPE_CHECKING:
    from uuid import UUID

    from django.http import HttpRequest


def is_picture(attachment: Attachment) -> bool:
    return attachment.mime in PICTURES and attachment.state == AttachmentState.READY


def download(request: HttpRequest, uuid: UUID) -> HttpResponse | FileResponse:
    """Serve the bytes of an attachment. A page may use them as the source of an <img>; opened by themselves they are a download."""
    user = user_of(request)
    if not (user.has_perm("bridge.view_message") and may_read(user)):
        raise PermissionDenied
    attachment = get_object_or_404(Attachment, uuid=uuid)
    try:
        return build_response(attachment)
    except (OSError, ValueError) as error:
        raise Http404(_("The file is not stored.")) from error
