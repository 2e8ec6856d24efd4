"""Sends a message's file to a browser. A browser saves it and does not show it, so that nothing a stranger sent can run."""

from __future__ import annotations

from typing import TYPE_CHECKING

from django.http import FileResponse

if TYPE_CHECKING:
    from bridge.models import Attachment

# Pictures a browser decodes without running anything; all else is named a stream of bytes.
PICTURES = ("image/png", "image/jpeg", "image/gif", "image/webp")


def build_response(attachment: Attachment) -> FileResponse:
    """Return a response with the bytes. A page may use it as the source of an <img>. Raises OSError, ValueError."""
    mime = attachment.mime if attachment.mime in PICTURES else "application/octet-stream"
    content = attachment.file.open("rb")
    answer = FileResponse(content, as_attachment=True, filename=attachment.name or attachment.kind, content_type=mime)
    answer["X-Content-Type-Options"] = "nosniff"
    answer["Content-Security-Policy"] = "default-src 'none'; sandbox"
    answer["Cross-Origin-Resource-Policy"] = "same-origin"
    answer["Cache-Control"] = "private, max-age=3600"
    return answer
