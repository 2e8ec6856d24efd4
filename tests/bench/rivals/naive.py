"""One Celery task for each message: store it, ask the agent, store the answer, send it. And one task for each message to send."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING

import django
import requests
from celery import Celery
from django.apps import apps
from django.utils import timezone

if not apps.ready:
    os.environ["DJANGO_SETTINGS_MODULE"] = "tests.bench.rivals.settings"
    django.setup()

from bridge.models import Delivery, Message

if TYPE_CHECKING:
    from collections.abc import Callable

app = Celery(
    "naive", broker=os.environ["REDIS_URL"].replace("unix://", "redis+socket://", 1).replace("?db=", "?virtual_host=")
)
app.conf.broker_connection_retry_on_startup = True


@app.task(name="naive.handle")
def handle(key: str, sender: str, text: str) -> None:
    answer(store_question(key, sender, text), requests.post)


def answer(question: Message, post: Callable[..., requests.Response]) -> None:
    """Two calls and two rows; the loop does the same over a kept connection."""
    said = ask(question.text, question.sender, post)
    row = Message.objects.create(
        account_id=question.account_id, peer_kind="direct", peer_id=question.sender, direction="out", source="agent",
        idempotency_key=f"answer-{question.pk}", kind="text", text=said, reply_to=question,
    )  # fmt: skip
    send_text(question.sender, said, post)
    now = timezone.now()
    Message.objects.filter(pk__in=(row.pk, question.pk)).update(routed_at=now)


def store_question(key: str, sender: str, text: str) -> Message:
    row, _new = Message.objects.get_or_create(
        account_id=int(os.environ["ACCOUNT"]), direction="in", source="channel", client="", idempotency_key=key,
        defaults={"peer_kind": "direct", "peer_id": sender, "kind": "text", "text": text, "sender": sender},
    )  # fmt: skip
    return row


def ask(text: str, sender: str, post: Callable[..., requests.Response]) -> str:
    """The gateway's own HTTP way: a stream of chunks."""
    headers = {
        "Authorization": f"Bearer {os.environ['GATEWAY_TOKEN']}",
        "x-openclaw-session-key": f"agent:main:bench:{sender}",
    }
    body = {"model": "openclaw/main", "stream": True, "messages": [{"role": "user", "content": text}]}
    answer = post(f"{os.environ['GATEWAY']}/v1/chat/completions", json=body, headers=headers, timeout=30)
    lines = [line[6:] for line in answer.content.decode().splitlines() if line.startswith("data: {")]
    return "".join(json.loads(line)["choices"][0]["delta"].get("content", "") for line in lines)


def send_text(user: str, text: str, post: Callable[..., requests.Response], platform: str = "") -> None:
    body = {"touser": user, "msgtype": "text", "agentid": 1, "text": {"content": text}}
    address = f"{platform or os.environ['PLATFORM']}/cgi-bin/message/send?access_token=token"
    post(address, json=body, timeout=30).raise_for_status()


@app.task(name="naive.send")
def send(pk: int) -> None:
    """One waiting delivery: claim, POST, done."""
    if not Delivery.objects.filter(pk=pk, state="pending").update(
        state="sending", lease_until=timezone.now(), holder="celery"
    ):
        return
    delivery = Delivery.objects.select_related("message", "account").get(pk=pk)
    send_text(delivery.message.peer_id, delivery.message.text, requests.post, delivery.account.api_base_url)
    Delivery.objects.filter(pk=pk).update(state="delivered", lease_until=None, finished_at=timezone.now())
