"""Two accounts of one kind know the same ids: the pages of one show and change nothing of the other."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
from auditlog.models import LogEntry
from django.urls import reverse
from django.utils import timezone

from accounts.models import AccessToken, ChannelAccount, Restriction
from bridge.models import Contact, Conversation, Route
from tests.support import factories

if TYPE_CHECKING:
    from django.test import Client

    from channels_wechat.simulator import RunningSimulator


def url(name: str, *args: Any) -> str:
    return reverse(f"admin:accounts_channelaccount_{name}", args=args)


@pytest.fixture
def other() -> ChannelAccount:
    return factories.account(name="Another", external_id="another")


@pytest.fixture
def group(boss: Client, app: ChannelAccount) -> Conversation:
    """Made by the app: zhangsan and lisi, who owns it."""
    form = {"name": "Launch", "members": "zhangsan, lisi\nzhangsan", "owner": "lisi", "group_id": "launch1"}
    boss.post(url("groups", app.pk), form)
    return Conversation.objects.get()


def members(boss: Client, app: ChannelAccount, group: Conversation) -> tuple[str, list[tuple[str, str]]]:
    """The owner, and id and name of each member, as the platform has them now."""
    shown = boss.get(url("group", app.pk, group.pk)).context
    return shown["group"].owner, shown["members"]


def test_the_groups_of_an_account_are_its_own(boss: Client, app: ChannelAccount, other: ChannelAccount) -> None:
    places = [(app, "group", "mine"), (app, "direct", "zhangsan"), (other, "group", "theirs")]
    mine, person, theirs = (factories.conversation(account, peer, kind) for account, kind, peer in places)
    assert list(boss.get(url("groups", app.pk)).context["rows"]) == [mine]
    for foreign in (theirs, person):
        assert boss.get(url("group", app.pk, foreign.pk)).status_code == 404
        assert boss.post(url("group", app.pk, foreign.pk), {"name": "Taken over"}).status_code == 404
        foreign.refresh_from_db()
        assert foreign.title == ""


def test_the_members_of_a_group_have_the_names_that_its_account_knows(
    boss: Client, app: ChannelAccount, other: ChannelAccount, group: Conversation
) -> None:
    factories.contact(app, "zhangsan", name="张三")
    factories.contact(other, "zhangsan", name="Another's name")
    factories.contact(other, "lisi", name="Another's name")
    assert members(boss, app, group) == ("lisi", [("zhangsan", "张三"), ("lisi", "")])


def test_each_field_of_a_groups_form_changes_what_it_names(
    boss: Client, app: ChannelAccount, group: Conversation, simulator: RunningSimulator
) -> None:
    page = url("group", app.pk, group.pk)
    assert boss.post(page, {"name": "", "owner": "", "add": "wangwu", "remove": ""}).status_code == 302
    assert members(boss, app, group) == ("lisi", [("zhangsan", ""), ("lisi", ""), ("wangwu", "")])
    boss.post(page, {"name": "", "owner": "wangwu", "add": "", "remove": "zhangsan"})
    owner, left = members(boss, app, group)
    assert (owner, sorted(who for who, _name in left)) == ("wangwu", ["lisi", "wangwu"])
    group.refresh_from_db()
    assert group.title == "Launch"
    simulator.client.fault("appchat/update", "errcode", errcode=86001, errmsg="no")
    refused = boss.post(page, {"name": "Other", "owner": "", "add": "", "remove": ""})
    assert "86001" in str(refused.context["form"].non_field_errors())
    deeds = [each.additional_data["action"] for each in LogEntry.objects.get_for_object(app) if each.additional_data]
    assert sorted(deeds) == ["Created the group “Launch”.", "The group is changed.", "The group is changed."]
    group.refresh_from_db()
    assert group.title == "Launch"


def test_a_token_is_shown_on_the_page_of_its_own_account(boss: Client, other: ChannelAccount) -> None:
    mini, second = factories.mini_with_a_token(), factories.mini_with_a_token(name="Second", external_id="wx-second")
    AccessToken.objects.filter(account=mini).update(generation=41, refreshed_at=timezone.now() - timedelta(hours=3))
    AccessToken.objects.filter(account=second).update(generation=42, expires_at=None)
    pages = {row: boss.get(url("change", row.pk)).content.decode() for row in (mini, second, other)}
    assert [("<dd>41</dd>" in page, "<dd>42</dd>" in page) for page in pages.values()] == [
        (True, False), (False, True), (False, False),
    ]  # fmt: skip
    expires = {row: page.partition("<dt>expires</dt>")[2].partition("</dd>")[0] for row, page in pages.items()}
    assert ">in 2" in expires[mini] or ">in 1" in expires[mini]
    assert "a new one is fetched with the next call" in expires[second]
    assert "None yet: it is fetched with the first call." in pages[other]


def test_a_restriction_is_shown_and_lifted_for_its_own_account(boss: Client) -> None:
    mini, second = factories.mini_with_a_token(), factories.mini_with_a_token(name="Second", external_id="wx-second")
    until = timezone.now() + timedelta(hours=5)
    for capability in ("typing", "user_info"):
        factories.restriction(mini, capability, code="48001", code_params={"text": f"no {capability}"}, until=until)
    page = boss.get(url("change", mini.pk)).content.decode()
    assert [name in page for name in ("the typing indicator", "names of people")] == [True, True]
    assert "no typing" not in boss.get(url("change", second.pk)).content.decode()
    boss.post(url("try_again", second.pk), {"capability": "typing"})
    assert Restriction.objects.count() == 2
    boss.post(url("try_again", mini.pk), {"capability": "typing"})
    assert [row.capability for row in Restriction.objects.all()] == ["user_info"]


def test_a_window_is_that_of_the_conversations_own_account(boss: Client) -> None:
    mini, second = factories.mini_with_a_token(), factories.mini_with_a_token(name="Second", external_id="wx-second")
    until = timezone.now() + timedelta(hours=1)
    for account, left in ((second, 4), (mini, 3)):
        factories.reply_window(account, "oUSER", left=left, until=until)
        factories.reply_window(account, "oOTHER", left=1, until=until)
    for account, left in ((second, 4), (mini, 3)):
        person = factories.conversation(account, "oUSER")
        page = boss.get(reverse("admin:bridge_conversation_change", args=[person.pk])).content.decode()
        assert f"WeChat accepts {left} more messages." in page


def test_a_contact_leads_to_a_conversation_with_that_person_alone(boss: Client, app: ChannelAccount) -> None:
    """A group may have the same id."""
    contact = factories.contact(app, "twin", name="Twin")
    page = reverse("admin:bridge_contact_change", args=[contact.pk])
    factories.conversation(app, "twin", "group")
    assert "Open the conversation" not in boss.get(page).content.decode()
    talk = factories.conversation(app, "twin")
    assert reverse("admin:bridge_conversation_change", args=[talk.pk]) in boss.get(page).content.decode()


def test_the_name_of_a_contact_is_all_that_is_written(boss: Client, app: ChannelAccount, other: ChannelAccount) -> None:
    contact = factories.contact(app, "lisi", name="Li", subscribed=True)
    form = {"name": "Li Si", "external_id": "wangwu", "account": other.pk, "follows": "no", "subscribed": ""}
    boss.post(reverse("admin:bridge_contact_change", args=[contact.pk]), form)
    found = Contact.objects.values_list("name", "external_id", "account", "subscribed")
    assert list(found) == [("Li Si", "lisi", app.pk, True)]


def test_a_mapping_has_no_title_of_another_accounts_group(
    boss: Client, app: ChannelAccount, other: ChannelAccount
) -> None:
    bot = factories.bot()
    mine = Route.objects.create(
        account=bot, peer_kind="group", peer_id="wrX", gateway=factories.connected_gateway(), agent_id="main"
    )
    factories.conversation(other, "wrX", "group", title="Their name for it")
    factories.conversation(bot, "wrX", title="A person")
    page = reverse("admin:bridge_route_change", args=[mine.pk])
    assert "Their name for it → main" not in boss.get(page).content.decode()
    assert "A person → main" not in boss.get(page).content.decode()
    factories.conversation(bot, "wrX", "group", title="Our name for it")
    assert "Our name for it → main" in boss.get(page).content.decode()
