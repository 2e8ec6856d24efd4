"""What is shown to whom: texts, files and payloads only with the right to read them, secrets to nobody."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from accounts.models import ChannelAccount
from bridge.api.schema import Generator
from bridge.models import Attempt, Delivery, Message
from bridge.models.messages import Attachment
from openclaw.models import Gateway
from tests.api.conftest import calling_as, user_with
from tests.api.matrix import CALLS
from tests.support.factories import CANARIES

if TYPE_CHECKING:
    from django.test import Client
    from pytest_django import DjangoAssertNumQueries

    from tests.support.factories import World

# Words that stand in what people wrote, in files, payloads and answers.
WORDS = (
    "本周",
    "请查收",
    "chart.png",
    "报表",
    "sessionKey",
    "errcode",
    "hologram",
    "Report of Monday",
    "canary-in-an-error",
    "canary-in-a-reason",
)


def pages(client: Client, world: World) -> str:
    """Every answer to a reading request, as one text."""
    Message.objects.filter(pk=world.answer.pk).update(data={"title": "Report of Monday"})
    for model in (Delivery, Attempt, Attachment):
        model.objects.update(code_params={"text": "canary-in-an-error"})
    for side in (ChannelAccount, Gateway):
        side.objects.update(state_params={"text": "canary-in-a-reason"})
    reads = [each for each in CALLS if each.method == "GET" and "content" not in each.path]
    found = [client.get(each.at(world)).content.decode() for each in reads]
    for model in (Message, Delivery, Attachment):
        for pk in model.objects.values_list("pk", flat=True):
            answer = client.get(f"/api/v1/{'deliveries' if model is Delivery else model.__name__.lower() + 's'}/{pk}/")
            assert answer.status_code == 200
            found.append(answer.content.decode())
    return "\n".join(found)


def test_without_the_right_nothing_that_people_wrote_is_shown(viewer: Client, operator: Client, world: World) -> None:
    seen, withheld = pages(operator, world), pages(viewer, world)
    assert [word for word in WORDS if word not in seen] == []
    assert [word for word in WORDS if word in withheld] == []


def test_withheld_fields_are_null_and_the_rest_is_there(viewer: Client, world: World) -> None:
    message = viewer.get(f"/api/v1/messages/{world.question.pk}/").json()
    assert {name for name, value in message.items() if value is None} == {
        "text",
        "data",
        "raw",
        "reply_to",
        "occurred_at",
    }
    assert message["sender"] == "zhangsan"
    assert {file["name"] for file in message["attachments"]} == {None}
    delivery = viewer.get(f"/api/v1/deliveries/{world.dead.pk}/").json()
    assert delivery["payload"] is None
    assert {(attempt["request"], attempt["response"]) for attempt in delivery["attempts"]} == {(None, None)}
    assert delivery["attempts"][0]["code"] == "81013"


def test_a_message_as_a_reader_sees_it(operator: Client, world: World) -> None:
    message = operator.get(f"/api/v1/messages/{world.question.pk}/").json()
    assert message["text"] == world.question.text
    assert message["raw"] == {"msgid": "MSG1", "msgtype": "text"}
    assert message["peer"] == {"kind": "group", "id": "wrGROUP"}
    assert [file["name"] for file in message["attachments"]] == ["chart.png", "报表.html", "lost.pdf"]
    asked = world.question.deliveries.get()
    assert message["deliveries"] == [{"id": asked.pk, "target": "agent", "part": 0, "state": "delivered", "reason": ""}]


def test_searching_texts_takes_the_right_to_read_them(viewer: Client, operator: Client, world: World) -> None:
    refused = viewer.get("/api/v1/messages/?text=本周")
    assert (refused.status_code, refused.json()["code"]) == (403, "permission_denied")
    found = operator.get("/api/v1/messages/?text=本周").json()["results"]
    assert [row["id"] for row in found] == [world.answer.pk, world.question.pk]


def test_a_file_is_saved_and_never_shown(operator: Client, viewer: Client, world: World) -> None:
    url = "/api/v1/attachments/{}/content/"
    page = Attachment.objects.get(name="报表.html")
    described = Generator().get_schema()["paths"][url.format("{id}")]["get"]["responses"]["200"]["content"]
    for item, kind in ((world.picture, "image/png"), (page, "application/octet-stream")):
        answer: Any = operator.get(url.format(item.pk))
        assert answer.status_code == 200
        assert b"".join(answer) == item.file.read()
        item.file.close()
        assert answer["Content-Type"] == kind
        assert kind in described
        assert answer["Content-Disposition"].startswith("attachment")
        assert answer["X-Content-Type-Options"] == "nosniff"
        assert answer["Content-Security-Policy"] == "default-src 'none'; sandbox"
        assert viewer.get(url.format(item.pk)).status_code == 403
    assert operator.get(url.format(Attachment.objects.get(name="lost.pdf").pk)).status_code == 404


@pytest.mark.parametrize("role", ["Viewers", "Operators", "Admins", "boss"])
def test_no_secret_is_in_any_answer(world: World, role: str) -> None:
    user = user_with(role)
    everything = pages(calling_as(user), world)
    everything += calling_as(user_with("nobody")).get("/api/v1/schema/").content.decode()
    assert [name for name, secret in CANARIES.items() if secret in everything] == []
    assert "PRIVATE KEY" not in everything


@pytest.mark.parametrize("name", [each.path for each in CALLS if each.method == "GET" and "{" not in each.path])
def test_a_list_asks_the_same_few_queries_however_long_it_is(
    boss: Client, world: World, django_assert_max_num_queries: DjangoAssertNumQueries, name: str
) -> None:
    boss.get(f"/api/v1{name}")
    with django_assert_max_num_queries(10) as asked:
        assert boss.get(f"/api/v1{name}").status_code == 200
    if name.startswith("/stats/"):
        return
    with django_assert_max_num_queries(len(asked)):
        assert len(boss.get(f"/api/v1{name}?page_size=1").json()["results"]) == 1


def test_a_message_with_many_parts_asks_no_more(boss: Client, world: World, django_assert_max_num_queries: Any) -> None:
    url = f"/api/v1/deliveries/{world.delivered.pk}/"
    with django_assert_max_num_queries(10) as before:
        boss.get(url)
    for number in range(5, 15):
        Attempt.objects.create(delivery=world.delivered, number=number)
    with django_assert_max_num_queries(len(before)):
        assert len(boss.get(url).json()["attempts"]) == 11
