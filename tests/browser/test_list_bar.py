"""The bar above a list: a filter is saved, followed, shared and removed, and the rows are downloaded, in both languages."""

from __future__ import annotations

import csv
from typing import TYPE_CHECKING, Any

import pytest

from tests.browser.camera import photograph
from tests.browser.clicks import LANGUAGES, start_session, use_session
from tests.browser.desk import Desk, chromium
from tests.support import factories

if TYPE_CHECKING:
    from pathlib import Path

    import redis
    from django.contrib.auth.models import User

pytestmark = [pytest.mark.heavy, pytest.mark.django_db(transaction=True)]
LIST = "/admin/bridge/delivery/"
# By language: how the pages call what is pressed and said.
WORDS = {
    "en": {
        "open": "Save this filter",
        "save": "Save",
        "share": "Share with all staff",
        "saved": "The filter is saved.",
        "remove": "Remove the filter 失败 · failed",
        "removed": "The filter is removed.",
        "download": "Download as CSV",
        "number": "Number",
    },
    "zh-hans": {
        "open": "保存此筛选条件",
        "save": "保存",
        "share": "与所有客服人员共享",
        "saved": "筛选条件已保存。",
        "remove": "移除筛选条件“失败 · failed”",
        "removed": "筛选条件已移除。",
        "download": "下载 CSV",
        "number": "编号",
    },
}


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_filter_is_kept_and_its_rows_are_downloaded(
    live_server: Any, valkey: redis.Redis, admin_user: User, pictures: Path, tmp_path: Path, language: str
) -> None:
    words, session, world = WORDS[language], start_session(admin_user), factories.build_world()
    with chromium() as browser:
        desk = Desk(browser, live_server.url.replace("localhost", "127.0.0.1"), locale=LANGUAGES[language])
        use_session(desk, session)
        desk.go(f"{LIST}?state__exact=dead")
        desk.page.get_by_text(words["open"], exact=True).click()
        photograph(desk.page, f"list-bar-form-{language}", pictures)
        save(desk, words, "失败 · failed", shared=True)
        desk.go(f"{LIST}?target__exact=webhook")
        save(desk, words, "Webhook")
        desk.go(LIST)
        desk.follow("失败 · failed")
        assert desk.page.url.endswith("?state__exact=dead")
        photograph(desk.page, f"list-bar-{language}", pictures)
        with desk.page.expect_download() as started:
            desk.page.get_by_role("button", name=words["download"]).click()
        started.value.save_as(tmp_path / "rows.csv")
        assert started.value.suggested_filename.startswith("delivery-")
        with (tmp_path / "rows.csv").open(encoding="utf-8-sig", newline="") as file:
            numbers = [int(row[words["number"]]) for row in csv.DictReader(file)]
        assert world.dead.pk in numbers
        desk.page.on("dialog", lambda dialog: dialog.accept())
        desk.press(words["remove"])
        desk.sees(words["removed"])
        assert "失败 · failed" not in desk.page.inner_text("#main-content")
        for name in ("conversation", "message"):
            desk.go(f"/admin/bridge/{name}/?account__id__exact={world.app.pk}")
            photograph(desk.page, f"list-bar-{name}-{language}", pictures)


def save(desk: Desk, words: dict[str, str], name: str, *, shared: bool = False) -> None:
    if not desk.page.locator(".b-save-filter[open]").count():
        desk.page.get_by_text(words["open"], exact=True).click()
    desk.page.locator("#filter-name").fill(name)
    if shared:
        desk.page.get_by_label(words["share"]).check()
    desk.page.locator(".b-save-filter").get_by_role("button", name=words["save"]).click()
    desk.sees(words["saved"])
