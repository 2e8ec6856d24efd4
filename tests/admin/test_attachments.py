"""Files of strangers: only for those who may read, and never run."""

from __future__ import annotations

from typing import TYPE_CHECKING

from django.test import Client
from django.urls import reverse

from bridge.models import Attachment
from tests.support import factories

if TYPE_CHECKING:
    from collections.abc import Callable


def url(attachment: Attachment) -> str:
    return reverse("admin:bridge_message_attachment", args=[attachment.uuid])


def test_a_picture_keeps_its_type_and_cannot_run(boss: Client, world: factories.World) -> None:
    response = boss.get(url(world.picture))
    assert response.headers["Content-Type"] == "image/png"
    assert response.headers["Content-Disposition"] == 'attachment; filename="chart.png"'
    assert response.headers["X-Content-Type-Options"] == "nosniff"
    assert response.headers["Content-Security-Policy"] == "default-src 'none'; sandbox"
    assert b"".join(response.streaming_content) == factories.png()


def test_anything_else_is_a_stream_of_bytes(boss: Client, world: factories.World) -> None:
    response = boss.get(url(Attachment.objects.get(mime="text/html")))
    assert response.headers["Content-Type"] == "application/octet-stream"
    assert response.headers["Content-Disposition"].startswith("attachment; filename*=utf-8''")
    response.close()


def test_a_file_that_is_not_there_is_not_found(boss: Client, world: factories.World) -> None:
    assert boss.get(url(Attachment.objects.get(name="lost.pdf"))).status_code == 404
    world.picture.file.storage.delete(world.picture.file.name)
    assert boss.get(url(world.picture)).status_code == 404


def test_the_right_to_read_is_needed(staff: Callable[..., Client], world: factories.World) -> None:
    assert staff("bridge.view_conversation").get(url(world.picture)).status_code == 403
    assert Client().get(url(world.picture)).status_code == 302
