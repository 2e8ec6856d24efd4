"""From the first page: at most three clicks to why something is wrong, and at most five until it is mended and replayed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from django.utils.translation import override

from bridge.models import Incident
from bridge.operations import incidents
from tests.browser.clicks import LANGUAGES, Walk, elsewhere, start_session, use_session
from tests.browser.desk import Desk, chromium
from tests.browser.troubles import TROUBLES, Place, is_over
from tests.support.factories import eventually

if TYPE_CHECKING:
    from collections.abc import Callable

    from django.contrib.auth.models import User

    from channels_wechat.simulator import SimulatorClient
    from openclaw.stub import RunningStub

pytestmark = [pytest.mark.heavy, pytest.mark.django_db(transaction=True)]
MOST_TO_WHY, MOST_TO_REPLAYED = 3, 5


def in_language(incident: Incident, language: str) -> tuple[str, str]:
    """Its title, and why, as a page shows it."""
    with override(language):
        return incident.title, " ".join(incident.detail.split())


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("trouble", TROUBLES, ids=lambda trouble: trouble.__name__)
def test_why_and_the_cure_are_few_clicks_away(
    live_server: Any,
    company: SimulatorClient,
    stub: RunningStub,
    settings: Any,
    admin_user: User,
    trouble: Callable[..., Any],
    language: str,
) -> None:
    settings.ALLOWED_PRIVATE_HOSTS = settings.ALLOWED_PRIVATE_MEDIA_HOSTS = ["127.0.0.1:*"]
    with trouble(Place(company, stub)) as made:
        incidents.update_incidents()
        incident = Incident.objects.get(code=made.code, closed_at=None)
        title, why = in_language(incident, language)
        assert language == "en" or title != in_language(incident, "en")[0]
        session = start_session(admin_user)
        with chromium() as browser:
            desk = Desk(browser, live_server.url.replace("localhost", "127.0.0.1"), locale=LANGUAGES[language])
            use_session(desk, session)
            walk = Walk(desk, incident)
            walk.press(walk.title)
            assert title in desk.page.inner_text("body")
            assert why in " ".join(desk.page.inner_text("body").split())
            to_why = walk.clicks
            walk = Walk(desk, incident)
            made.mend(walk)
            elsewhere(lambda: eventually(lambda: is_over(made), seconds=90, pause=0.3))
            print(f"{trouble.__name__} ({language}): why {to_why}, replayed {walk.clicks}")
            assert (to_why <= MOST_TO_WHY, walk.clicks <= MOST_TO_REPLAYED) == (True, True)
            assert desk.complaints == []
            desk.close()
