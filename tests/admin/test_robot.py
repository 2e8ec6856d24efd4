"""The pages and the API of an account that writes to one group and hears nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from django.urls import reverse

from accounts.models import ChannelAccount
from bridge.models import Conversation, Message, Route
from tests.support import factories
from tests.support.factories import ROBOT_KEY, robot

if TYPE_CHECKING:
    from django.test import Client

ADDRESS = f"https://qyapi.weixin.qq.com/cgi-bin/webhook/send?key={ROBOT_KEY}"
JSON = {"content_type": "application/json"}


def url(name: str, *args: Any) -> str:
    return reverse(f"admin:accounts_channelaccount_{name}", args=args)


def test_it_is_added_by_the_address_that_wecom_shows(boss: Client) -> None:
    fields = {"name": "Ops", "enabled": "on", "robot_key": ADDRESS, "format": "text"}
    boss.post(f"{url('add')}?kind=wecom_robot", fields)
    account = ChannelAccount.objects.get()
    assert account.credentials["robot_key"] == ROBOT_KEY
    page = boss.get(url("change", account.pk)).content.decode()
    assert ROBOT_KEY not in page
    assert ROBOT_KEY not in str(ChannelAccount.objects.values("external_id", "name", "sentences").get())


def test_its_page_offers_its_group_and_no_callback(boss: Client) -> None:
    account = robot()
    page = boss.get(url("change", account.pk)).content.decode()
    assert "Write to the group" in page
    assert 'name="peer_id"' not in page
    assert f"/callbacks/{account.key}" not in page
    assert "messages a minute" in page


def test_writing_opens_the_conversation_with_its_group(boss: Client) -> None:
    account = robot()
    for _twice in range(2):
        boss.post(url("write", account.pk), {"peer_id": "zhangsan"})
    talk = Conversation.objects.get()
    assert (talk.peer_kind, talk.peer_id, talk.title) == ("group", "group", account.name)
    assert boss.get(reverse("admin:bridge_conversation_change", args=[talk.pk])).status_code == 200


def test_no_mapping_is_offered_and_none_is_taken(boss: Client) -> None:
    account, other = robot(), factories.account("wecom_aibot", name="bot")
    page = boss.get(reverse("admin:bridge_route_add")).content.decode()
    assert f'<option value="{other.pk}"' in page
    assert f'<option value="{account.pk}"' not in page
    for peer_kind in ("", "group"):
        route = Route(
            account=account,
            peer_kind=peer_kind,
            gateway=factories.connected_gateway(name=f"G{peer_kind}"),
            agent_id="main",
        )
        with pytest.raises(Exception, match="It receives messages from: nothing"):
            route.full_clean()


@pytest.mark.parametrize("peer", [None, {"kind": "group", "id": "group"}])
def test_a_script_need_not_name_its_group(boss: Client, peer: dict[str, str] | None) -> None:
    account = robot()
    told = boss.get(f"/api/v1/accounts/{account.pk}/").json()
    assert (told["callback_url"], told["only_peer"]) == ("", {"kind": "group", "id": "group"})
    body = {"account": account.pk, "content": {"text": "hallo"}, **({"peer": peer} if peer else {})}
    answer = boss.post("/api/v1/messages/", body, headers={"Idempotency-Key": "1"}, **JSON)
    assert answer.status_code == 201, answer.content
    assert Message.objects.get().peer_id == "group"


def test_another_account_has_no_only_peer(boss: Client) -> None:
    account = factories.account()
    assert boss.get(f"/api/v1/accounts/{account.pk}/").json()["only_peer"] is None
    body = {"account": account.pk, "content": {"text": "hallo"}}
    answer = boss.post("/api/v1/messages/", body, headers={"Idempotency-Key": "1"}, **JSON)
    assert answer.status_code == 400
