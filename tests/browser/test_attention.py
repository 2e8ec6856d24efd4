"""The first page and the pages of incidents with many problems open: they fit, in both languages, widths and colour schemes."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
from django.utils import timezone

from accounts.health import Health
from bridge.models import Conversation, Incident, Reason, State
from bridge.operations import incidents
from openclaw.models import Gateway
from tests.browser.camera import photograph
from tests.browser.clicks import LANGUAGES, start_session, use_session
from tests.browser.desk import Desk, chromium
from tests.support import factories

if TYPE_CHECKING:
    from pathlib import Path

    import redis
    from django.contrib.auth.models import User

    from accounts.models import ChannelAccount

pytestmark = [pytest.mark.heavy, pytest.mark.django_db(transaction=True)]


def break_everything(boss: User) -> None:
    """An open incident of nearly every code, with long names and sentences."""
    app = factories.app(columns={"name": "华东区售后服务与技术支持中心 · 企业微信应用"})
    app.set_state(Health.STOPPED, "60020", {"detail": "not allow to access from your ip, from ip: 203.0.113.9"})
    gateway = factories.gateway(name="OpenClaw at home")
    gateway.set_state(Health.FAILING, "unreachable")
    Gateway.objects.update(state_since=timezone.now() - timedelta(minutes=3))
    factories.delivery(factories.message(factories.conversation(app), "?", "1"), State.SKIPPED, Reason.NO_ROUTE)
    staffed = factories.conversation(app, "lisi", mode=Conversation.Mode.HUMAN)
    factories.delivery(factories.message(staffed, "有人吗", "2"), State.SKIPPED, Reason.HUMAN)
    fail(app, staffed)
    incidents.update_incidents()
    handled = {"acknowledged_at": timezone.now(), "acknowledged_by": boss, "owner": boss, "note": "问过网络组，明天改"}
    Incident.objects.filter(code="account_down").update(**handled)


def fail(app: ChannelAccount, talk: Conversation) -> None:
    for number, code in enumerate(("81013", "45009", "40058", "a_code_that_nobody_knows")):
        said = factories.message(talk, "您的报表好了", f"O{number}", direction="out", source="staff", sender="")
        factories.delivery(said, State.DEAD, Reason.PERMANENT, code=code)
    unsure = factories.message(talk, "请查收", "U", direction="out", source="staff", sender="")
    factories.delivery(unsure, State.UNCERTAIN, Reason.UNKNOWN, code="timeout")


@pytest.mark.parametrize("language", LANGUAGES)
def test_many_problems_fit_the_first_page_and_each_its_own(
    live_server: Any, valkey: redis.Redis, admin_user: User, pictures: Path, language: str
) -> None:
    break_everything(admin_user)
    shown = {code: Incident.objects.filter(code=code).first() for code in ("account_down", "account_failures")}
    session = start_session(admin_user)
    with chromium() as browser:
        desk = Desk(browser, live_server.url.replace("localhost", "127.0.0.1"), locale=LANGUAGES[language])
        use_session(desk, session)
        desk.go("/admin/")
        desk.page.wait_for_load_state("networkidle")
        assert desk.page.locator("#attention li").count() >= 8
        photograph(desk.page, f"attention-{language}", pictures)
        for code, incident in shown.items():
            assert incident
            desk.go(f"/admin/bridge/incident/{incident.pk}/change/")
            photograph(desk.page, f"incident-{code}-{language}", pictures)
        desk.go("/admin/bridge/incident/?open=1")
        photograph(desk.page, f"incidents-{language}", pictures)
        assert desk.complaints == []
        desk.close()
