"""The alert address of the settings, and the deliveries that an earlier version queued for it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from bridge.models import Carrier, Delivery, Incident, Outcome, State, Target
from bridge.operations import incidents, replay
from bridge.pipeline.delivery import claims, settle
from bridge.pipeline.outbound import sender
from bridge.webhooks import alerts, post
from tests.channels.harness import Reply, recorder, says
from tests.support import factories
from tests.support.factories import claim, endpoint, row, shift, state

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.channels.harness import Recorder

pytestmark = pytest.mark.django_db


@pytest.fixture
def robot(settings) -> Iterator[Recorder]:
    with recorder() as server:
        settings.ALERT_WEBHOOK_URL = f"{server.url}/cgi-bin/webhook/send?key=robot-secret"
        yield server


@pytest.fixture
def plain(settings) -> Iterator[Recorder]:
    """An address that is not WeCom's own for robots."""
    with recorder() as server:
        settings.ALERT_WEBHOOK_URL = f"{server.url}/hooks/robot-secret"
        yield server


def carry_all() -> list[Delivery]:
    for delivery in claims.claim(Carrier.WEBHOOK, "test", 10):
        sender.process_delivery(delivery)
    return list(Delivery.objects.filter(target=Target.WEBHOOK).order_by("pk"))


@pytest.mark.parametrize(
    ("reply", "state", "code", "outcome"),
    [
        (Reply(b"busy", 503), State.PENDING, "http_503", Outcome.UNKNOWN),
        (Reply(b"busy", 429), State.PENDING, "http_429", Outcome.ERROR),
        (Reply(b"", fault="reset"), State.PENDING, "reset", Outcome.UNKNOWN),
        (Reply(b"no", 404), State.DEAD, "http_404", Outcome.ERROR),
        (says(93000, "invalid webhook url"), State.DEAD, "93000", Outcome.ERROR),
        (says(-1, "system busy"), State.PENDING, "-1", Outcome.UNKNOWN),
        (says(45009, "too often"), State.PENDING, "45009", Outcome.ERROR),
    ],
)
@pytest.mark.parametrize("address", ["robot", "plain"])
def test_what_the_address_answers_decides(
    request: pytest.FixtureRequest, address: str, reply: Reply, state: str, code: str, outcome: Outcome
) -> None:
    """Readers of a group know no repetition by an id: what may have arrived is sent again with a mark."""
    server: Recorder = request.getfixturevalue(address)
    server.will(reply)
    factories.alert_of_an_earlier_version("gone")

    (delivery,) = carry_all()

    attempt = delivery.attempts.get()
    assert (delivery.state, attempt.outcome, attempt.code) == (state, outcome, code)
    assert "robot-secret" not in f"{attempt.error} {attempt.response}"
    assert delivery.possibly_twice == (outcome is Outcome.UNKNOWN)


def test_a_robot_that_was_removed_is_said_in_the_robots_own_words(robot: Recorder) -> None:
    robot.will(says(93000, "invalid webhook url robot-secret"))
    factories.alert_of_an_earlier_version("gone")
    (delivery,) = carry_all()
    assert "robot was removed" in delivery.attempts.get().error
    assert [request.query for request in robot.requests] == [{"key": "robot-secret"}]


@pytest.mark.parametrize(
    "body", [b"thank you", b'{"errcode": "ok"}', b'{"errcode": [1]}', b'{"errcode": 1e999}', b'{"errcode": {"a": 1}}']
)
def test_a_body_that_names_no_error_is_fine(plain: Recorder, body: bytes) -> None:
    plain.will(Reply(body, 200))
    factories.alert_of_an_earlier_version("gone")
    assert [delivery.state for delivery in carry_all()] == [State.DELIVERED]


def test_a_number_longer_than_the_column_is_kept_by_its_beginning(plain: Recorder) -> None:
    plain.will(Reply(b'{"errcode": ' + b"7" * 80 + b"}", 200))
    factories.alert_of_an_earlier_version("gone")
    (delivery,) = carry_all()
    assert (delivery.state, delivery.code) == (State.DEAD, "7" * 64)
    assert delivery.error.startswith("The robot at the alert address refuses.")


@pytest.mark.parametrize("letter", ["x", "字"])
def test_a_long_alert_is_cut_to_what_a_robot_takes(letter: str) -> None:
    said = alerts.build_robot_body(letter * 3000)["text"]["content"]
    assert 1990 <= len(said.encode()) <= 2048
    assert set(said) == {letter}


def test_a_dead_alert_raises_no_alert_and_can_be_replayed(robot: Recorder) -> None:
    robot.will(Reply(b"no", 404))
    endpoint()
    dead = factories.alert_of_an_earlier_version("gone")
    carry_all()

    incidents.update_incidents()
    assert not Incident.objects.exists()
    assert not Delivery.objects.exclude(pk=dead.pk).exists(), "no webhook is told"

    assert replay.replay([dead.pk]).count == 1
    assert [delivery.state for delivery in carry_all()] == [State.DELIVERED]


@pytest.mark.parametrize("left", [True, False])
def test_an_alert_of_a_lost_process_may_be_read_twice_only_where_it_had_left(left: bool) -> None:
    queued = factories.alert_of_an_earlier_version("gone")
    (mine,) = claim(Carrier.WEBHOOK, "lost")
    if left:
        settle.open_attempt(mine, post.describe_request(mine))
    shift(mine, lease_until=-1)
    claims.sweep()
    assert (state(queued), row(queued).possibly_twice) == ("pending", left)


def test_a_private_address_is_refused_and_not_tried_again(settings) -> None:
    settings.ALERT_WEBHOOK_URL = "http://10.0.0.1/robot"
    factories.alert_of_an_earlier_version("gone")
    (delivery,) = carry_all()
    assert (delivery.state, delivery.attempts.get().code) == (State.DEAD, "address_private")


def test_without_an_address_it_is_dead(settings) -> None:
    settings.ALERT_WEBHOOK_URL = ""
    factories.alert_of_an_earlier_version("gone")
    (delivery,) = carry_all()
    assert (delivery.state, delivery.attempts.get().code) == (State.DEAD, "no_address")


def test_the_address_is_a_secret(robot: Recorder) -> None:
    robot.will(Reply(b"no", 404))
    delivery = factories.alert_of_an_earlier_version("gone")
    carry_all()
    attempt = delivery.attempts.get()
    assert (
        "robot-secret" not in f"{Delivery.objects.values().get()} {attempt.request} {attempt.response} {attempt.error}"
    )
