"""Alerts are set up in the browser and tested there, in both languages; their pages fit each width and colour scheme."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from tests.browser.camera import photograph
from tests.browser.clicks import LANGUAGES, start_session, use_session
from tests.browser.desk import Desk, chromium
from tests.channels.harness import Recorder, Reply, recorder
from tests.support import factories

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import redis
    from django.contrib.auth.models import User

pytestmark = [pytest.mark.heavy, pytest.mark.django_db(transaction=True)]
# By language: how the pages call what is pressed and what is told.
WORDS = {
    "en": {
        "save": "Save",
        "done": "Done",
        "once": "Copy the secret now",
        "test": "Send a test",
        "accepted": "was accepted",
        "refused": "was not accepted",
        "minutes": "Minutes",
    },
    "zh-hans": {
        "save": "保存",
        "done": "已完成",
        "once": "请立即复制密钥",
        "test": "发送测试",
        "accepted": "已被接收",
        "refused": "未被接收",
        "minutes": "分钟",
    },
}


@pytest.fixture
def server(settings: Any) -> Iterator[Recorder]:
    settings.ALERT_EMAIL, settings.ALERT_WEBHOOK_URL = [], ""
    with recorder() as found:
        yield found


def add_channel(desk: Desk, server: Recorder, words: dict[str, str], pictures: Path, language: str) -> None:
    """Add a signed webhook, whose secret is shown once, and open its page."""
    desk.go("/admin/bridge/alertchannel/add/")
    desk.page.locator("select[name=kind]").select_option("webhook")
    desk.fill(name="值班室 · operations", url=f"{server.url}/hook/in-the-address")
    photograph(desk.page, f"alert-channel-add-{language}", pictures)
    desk.press(words["save"])
    desk.sees(words["once"], "whsec_")
    desk.secrets |= {desk.page.locator("#secret").inner_text(), "in-the-address"}
    desk.follow(words["done"])


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_channel_is_added_and_tested(
    live_server: Any, valkey: redis.Redis, admin_user: User, pictures: Path, server: Recorder, language: str
) -> None:
    words, session, addresses = WORDS[language], start_session(admin_user), told_pages()
    with chromium() as browser:
        desk = Desk(browser, live_server.url.replace("localhost", "127.0.0.1"), locale=LANGUAGES[language])
        use_session(desk, session)
        add_channel(desk, server, words, pictures, language)
        desk.press(words["test"])
        desk.sees(words["accepted"])
        assert [request.json["type"] for request in server.requests] == ["alert.test"]
        server.will(Reply(b"", status=404))
        desk.press(words["test"])
        desk.sees(words["refused"])
        photograph(desk.page, f"alert-channel-{language}", pictures)
        change_address(desk, server, words)
        for name, address in addresses.items():
            desk.go(address)
            photograph(desk.page, f"{name}-{language}", pictures)
            if name == "alert-rule":
                assert desk.page.get_by_label(words["minutes"]).is_visible()
        assert desk.complaints == []
        desk.close()


def change_address(desk: Desk, server: Recorder, words: dict[str, str]) -> None:
    """Saving keeps an address that was left empty, and takes another one on the same host."""
    address = desk.page.url
    for entered, path in (("", "/hook/in-the-address"), (f"{server.url}/other", "/other")):
        desk.fill(url=entered)
        desk.press(words["save"])
        desk.go(address)
        desk.press(words["test"])
        assert server.requests[-1].path == path


def told_pages() -> dict[str, str]:
    """Return the addresses of the lists, of a rule, and of an incident of which a channel told."""
    incident = factories.incident("account:1", "account_down", code_params={"name": "客服", "because": ""})
    factories.alert_told(incident)
    return {
        "alert-channels": "/admin/bridge/alertchannel/",
        "alert-rules": "/admin/bridge/alertrule/",
        "alert-rule": f"/admin/bridge/alertrule/{factories.alert_rule('failure_rate').pk}/change/",
        "alert-told": f"/admin/bridge/incident/{incident.pk}/change/",
    }
