"""A person who talked, so that there is something of theirs in every table."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

from django.core.files.base import ContentFile
from django.utils import timezone

from accounts.models import ReplyWindow
from bridge.media import storage
from bridge.models import (
    Attachment,
    Contact,
    Conversation,
)
from bridge.pipeline.outbound import outbox
from channels_wechat.contract.messages import Upload
from tests.support.factories import (
    FAN,
    endpoint,
    official,
    picture,
    route,
    turn,
)

if TYPE_CHECKING:
    from accounts.models import ChannelAccount


def account_with_a_talk() -> ChannelAccount:
    """An account with a person who talked: a question with a picture, an answer with a file, a webhook that was told of it."""
    account = official()
    route(account, peer_kind="direct", peer_id=FAN, note="红姐")
    route(account, allowed_senders=f"oOther\n{FAN}")
    endpoint()
    asked = turn(
        account, "geheimes Wort", FAN, media=(picture("MEDIA", "passport.png"),), raw={"Content": "geheimes Wort"}
    )
    Contact.objects.update(name="红姐")
    Conversation.objects.update(title="红姐")
    talk = Conversation.objects.get()
    talk.title = "红姐!"
    talk.save()  # noted in the audit
    storage.store_file(Attachment.objects.get(), Upload("image", "passport.png", "image/png", b"bytes of a picture"))
    file = ContentFile(b"bytes of a picture", "passport.png")
    question = asked.message
    assert question is not None
    outbox.send_answer(question, "Antwort darauf", source="agent", key="1", files=[file])
    ReplyWindow.objects.update_or_create(
        account=account, peer_id=FAN, defaults={"left": 4, "until": timezone.now() + timedelta(days=1)}
    )
    return account
