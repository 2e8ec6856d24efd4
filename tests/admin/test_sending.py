"""The button that stops all sending of an account: on its page, in the list, on the dashboard, and in what is recorded."""

from __future__ import annotations

from typing import TYPE_CHECKING

from auditlog.models import LogEntry
from django.urls import reverse

from accounts.models import ChannelAccount
from bridge.operations import sending
from tests.support import factories

if TYPE_CHECKING:
    from collections.abc import Callable

    from django.test import Client

LIST = "/admin/accounts/channelaccount/"


def url(name: str, account: ChannelAccount) -> str:
    return reverse(f"admin:accounts_channelaccount_{name}", args=[account.pk])


def page(client: Client, account: ChannelAccount) -> str:
    return client.get(url("change", account)).content.decode()


def test_one_click_stops_and_one_allows_again(boss: Client) -> None:
    account = factories.app()
    factories.to_send(account)
    assert "Allow sending again" not in page(boss, account)
    assert boss.post(url("stop_sending", account)).headers["Location"] == url("change", account)
    account.refresh_from_db()
    assert account.sending_stopped_at
    html = page(boss, account)
    for words in ("All sending is stopped", "1 delivery waits for it", "Allow sending again", "sending stopped"):
        assert words in html
    assert "Stop all sending</button>" not in html
    for other in (LIST, "/admin/part/sides/"):
        assert "sending stopped" in boss.get(other).content.decode(), other
    assert "1 delivery waits for it" in boss.get("/admin/part/sides/").content.decode()
    boss.post(url("allow_sending", account))
    assert "sending stopped" not in page(boss, account) + boss.get(LIST).content.decode()
    said = [str(entry.additional_data) for entry in LogEntry.objects.get_for_object(account).order_by("pk")]
    assert [words for words in said if "ending" in words] == [
        "{'action': 'All sending is stopped.'}",
        "{'action': 'Sending is allowed again.'}",
    ]


def test_pressing_it_twice_is_recorded_once(boss: Client) -> None:
    account = factories.app()
    for _time in range(2):
        assert boss.post(url("stop_sending", account)).status_code == 302
    assert LogEntry.objects.get_for_object(account).filter(additional_data__isnull=False).count() == 1


def test_who_may_not_change_accounts_sees_the_banner_and_no_button(staff: Callable[..., Client]) -> None:
    account = factories.app()
    sending.stop_sending(account)
    viewer = staff("accounts.view_channelaccount")
    html = page(viewer, account)
    assert "All sending is stopped" in html
    assert "Allow sending again</button>" not in html
    assert viewer.post(url("allow_sending", account)).status_code == 403
    assert ChannelAccount.objects.get(pk=account.pk).sending_stopped_at
