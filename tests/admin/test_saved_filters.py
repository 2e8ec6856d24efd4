"""Filters of lists that staff save: whose they are, what is kept of them, and what becomes of those that do not work any more."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from auditlog.models import LogEntry
from django.contrib import admin
from django.contrib.auth.models import Permission, User
from django.db import IntegrityError, transaction
from django.test import Client
from django.urls import reverse

from accounts.models import ChannelAccount
from bridge.admin import saved_filters
from bridge.models import SavedFilter
from tests.admin.test_palette import found
from tests.support import factories

if TYPE_CHECKING:
    from collections.abc import Callable

DELIVERIES = "bridge_delivery_changelist"


def address(name: str) -> str:
    return reverse(f"admin:{name}")


def save(client: Client, query: str, name: str = "Mine", page: str = "bridge_delivery", **more: Any) -> str:
    """Press Save on a list, and return the page that follows."""
    url = f"{address(f'{page}_save_filter')}?{query}"
    return client.post(url, {"name": name, **more}, follow=True).content.decode()


def links(client: Client, page: str = DELIVERIES, query: str = "") -> list[str]:
    """The names of the filters above a list."""
    bar = client.get(f"{address(page)}?{query}").context["list_bar"]
    return [shown.row.name for shown in bar["filters"]]


def colleague(name: str, *permissions: str) -> Client:
    user = User.objects.create_user(name, is_staff=True)
    for permission in permissions:
        app, codename = permission.split(".")
        user.user_permissions.add(Permission.objects.get(content_type__app_label=app, codename=codename))
    client = Client()
    client.force_login(user)
    return client


def test_a_filter_is_saved_and_leads_to_what_it_showed(boss: Client, world: factories.World) -> None:
    page = save(boss, "state__exact=dead&open=dead&p=3&id__lt=99999&reason__exact=&_facets=True", "Dead ones")
    assert "The filter is saved." in page
    [row] = SavedFilter.objects.all()
    assert (row.list, row.name, row.query, row.shared) == (
        DELIVERIES,
        "Dead ones",
        "open=dead&state__exact=dead",
        False,
    )
    assert (
        f'href="{address(DELIVERIES)}?open=dead&amp;state__exact=dead"'
        in boss.get(address(DELIVERIES)).content.decode()
    )
    assert 'aria-current="page"' in boss.get(f"{address(DELIVERIES)}?state__exact=dead&open=dead").content.decode()
    assert links(boss) == ["Dead ones"]
    assert links(boss, "bridge_message_changelist") == []
    assert links(boss, "bridge_delivery_dead_letters") == []


def test_the_dead_letters_keep_their_own(boss: Client, world: factories.World) -> None:
    save(boss, "state__exact=uncertain", page="bridge_delivery_dead_letters")
    assert links(boss, "bridge_delivery_dead_letters") == ["Mine"]
    assert links(boss) == []


@pytest.mark.parametrize(
    ("query", "name", "said"),
    [
        ("", "Mine", "Choose a filter"),
        ("p=2", "Mine", "Choose a filter"),
        ("state__exact=dead", "", "Enter a name"),
        ("state__exact=dead", "x" * 61, "Enter a name"),
        (f"q={'x' * 2001}", "Mine", "too long"),
        ("account__id__exact=x", "Mine", "is not understood"),
        ("account__id__exact=999999", "Mine", "does not exist (any more): account"),
        ("state__exact=nonsense", "Mine", "does not exist (any more): state"),
        ("open=nonsense", "Mine", "does not exist (any more): open work"),
        ("from=nonsense", "Mine", "does not exist (any more): time"),
    ],
)
def test_what_is_no_filter_or_name_is_not_saved(
    boss: Client, world: factories.World, query: str, name: str, said: str
) -> None:
    assert said in save(boss, query, name)
    assert not SavedFilter.objects.exists()


@pytest.mark.parametrize(
    "query", ["message__text__startswith=a", "https://evil.example/=1", "account__credentials__exact=a"]
)
def test_no_other_address_and_no_lookup_that_the_list_does_not_offer_is_saved(boss: Client, query: str) -> None:
    assert boss.post(f"{address('bridge_delivery_save_filter')}?{query}", {"name": "x"}).status_code == 400
    assert not SavedFilter.objects.exists()


def test_what_is_sent_beside_the_name_says_neither_list_nor_owner(boss: Client, admin_user: User) -> None:
    other = User.objects.create_user("other", is_staff=True)
    sent = {
        "name": "x",
        "list": "https://evil.example/",
        "query": "//evil.example",
        "owner": other.pk,
        "next": "//evil",
    }
    answer = boss.post(f"{address('bridge_delivery_save_filter')}?state__exact=dead", sent)
    assert answer["Location"] == f"{address(DELIVERIES)}?state__exact=dead"
    [row] = SavedFilter.objects.all()
    assert (row.list, row.query, row.owner) == (DELIVERIES, "state__exact=dead", admin_user)


def test_a_name_is_there_once_for_a_person_and_list(boss: Client, staff: Callable[..., Client]) -> None:
    save(boss, "state__exact=dead")
    assert "with this name already" in save(boss, "state__exact=held")
    assert SavedFilter.objects.get().query == "state__exact=dead"
    save(boss, "direction__exact=in", page="bridge_message")
    save(staff("bridge.view_delivery"), "state__exact=dead")
    assert SavedFilter.objects.filter(name="Mine").count() == 3
    row = SavedFilter.objects.first()
    assert row
    with pytest.raises(IntegrityError), transaction.atomic():
        SavedFilter.objects.create(owner=row.owner, list=row.list, name=row.name, query="x=1")


def test_nobody_has_more_than_can_be_shown(boss: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(saved_filters, "MOST", 2)
    for number in range(2):
        save(boss, "state__exact=dead", f"Filter {number}")
    assert "Remove one first" in save(boss, "state__exact=dead", "Filter 3")
    assert SavedFilter.objects.count() == 2


def test_what_is_not_shared_is_seen_by_its_owner_only(boss: Client, staff: Callable[..., Client]) -> None:
    save(boss, "state__exact=dead")
    other = staff("bridge.view_delivery", "bridge.share_filter")
    assert links(other) == []
    assert found(other, "Mine") == {}
    row = SavedFilter.objects.get()
    assert other.post(address_of_removal(row)).status_code == 404
    assert SavedFilter.objects.exists()


def address_of_removal(row: SavedFilter) -> str:
    return reverse("admin:bridge_delivery_remove_filter", args=[row.pk])


def test_sharing_needs_a_right(staff: Callable[..., Client]) -> None:
    client = staff("bridge.view_delivery")
    assert "Share with all staff" not in client.get(f"{address(DELIVERIES)}?state__exact=dead").content.decode()
    url = f"{address('bridge_delivery_save_filter')}?state__exact=dead"
    assert client.post(url, {"name": "Ours", "shared": "on"}).status_code == 403
    assert not SavedFilter.objects.exists()
    assert client.post(url, {"name": "Mine"}).status_code == 302


def test_a_shared_filter_is_seen_by_all_and_removed_by_those_with_the_right(boss: Client) -> None:
    save(boss, "state__exact=dead", "Ours", shared="on")
    row = SavedFilter.objects.get()
    viewer, sharer = (
        colleague("viewer", "bridge.view_delivery"),
        colleague("sharer", "bridge.view_delivery", "bridge.share_filter"),
    )
    assert links(viewer) == links(sharer) == ["Ours"]
    assert "Remove the filter" not in viewer.get(address(DELIVERIES)).content.decode()
    assert viewer.post(address_of_removal(row)).status_code == 403
    assert SavedFilter.objects.exists()
    answer = sharer.post(address_of_removal(row), follow=True)
    assert "The filter is removed." in answer.content.decode()
    assert not SavedFilter.objects.exists()
    entries = LogEntry.objects.filter(content_type__model="savedfilter").order_by("pk")
    said = [(entry.actor.username, entry.object_repr, entry.additional_data["action"]) for entry in entries]
    assert said == [("admin", "Ours", "shared a filter"), ("sharer", "Ours", "removed a shared filter")]


def test_ones_own_is_removed_without_a_line_in_the_audit_log(boss: Client) -> None:
    save(boss, "state__exact=dead")
    boss.post(address_of_removal(SavedFilter.objects.get()))
    assert not SavedFilter.objects.exists()
    assert not LogEntry.objects.filter(content_type__model="savedfilter").exists()


def test_a_filter_of_another_list_is_not_removed_by_this_one(boss: Client) -> None:
    save(boss, "direction__exact=in", page="bridge_message")
    assert boss.post(address_of_removal(SavedFilter.objects.get())).status_code == 404


def test_who_may_not_see_a_list_has_no_filters_of_it(staff: Callable[..., Client]) -> None:
    boss = colleague("sharer", "bridge.view_delivery", "bridge.share_filter")
    save(boss, "state__exact=dead", "Ours", shared="on")
    other = staff("bridge.view_message")
    assert other.post(f"{address('bridge_delivery_save_filter')}?state__exact=dead", {"name": "x"}).status_code == 403
    assert other.post(address_of_removal(SavedFilter.objects.get())).status_code == 403
    assert found(other, "Ours") == {}


def test_a_filter_whose_account_was_deleted_says_so(boss: Client, world: factories.World) -> None:
    spare = factories.account(name="Spare", external_id="spare")
    query = f"account__id__exact={spare.pk}"
    save(boss, query, "Spare ones")
    ChannelAccount.objects.filter(pk=spare.pk).delete()
    page = boss.get(f"{address(DELIVERIES)}?{query}").content.decode()
    assert "does not exist (any more): account" in page


def test_a_filter_of_a_deleted_account_says_so_also_where_but_one_is_left(boss: Client) -> None:
    """Django leaves out a filter with one choice, and would show everything."""
    left, spare = factories.account(), factories.account(name="Spare", external_id="spare")
    factories.conversation(left, "zhangsan")
    spare_pk = spare.pk
    spare.delete()
    page = boss.get(f"{address('bridge_conversation_changelist')}?account__id__exact={spare_pk}").content.decode()
    assert "does not exist (any more): account" in page
    page = boss.get(f"{address('bridge_conversation_changelist')}?account__id__exact={left.pk}").content.decode()
    assert "does not exist" not in page


def test_a_filter_that_the_list_does_not_offer_any_more_says_so(boss: Client, admin_user: User) -> None:
    query = "remote_id__exact=a"
    url = f"{address(DELIVERIES)}?{query}"
    assert boss.get(url).status_code == 400
    SavedFilter.objects.create(owner=admin_user, list=DELIVERIES, name="Old one", query=query)
    answer = boss.get(url, follow=True)
    assert answer.redirect_chain == [(address(DELIVERIES), 302)]
    assert "The saved filter “Old one” does not work any more." in answer.content.decode()


def test_filters_are_found_in_the_palette(boss: Client, admin_user: User) -> None:
    save(boss, "state__exact=dead&q=发票", "Invoices 发票")
    SavedFilter.objects.create(owner=admin_user, list="bridge_gone_changelist", name="Invoices of old", query="x=1")
    assert found(boss, "invoic") == {f"{address(DELIVERIES)}?q=%E5%8F%91%E7%A5%A8&state__exact=dead": "Invoices 发票"}


def test_every_list_has_its_bar(boss: Client, world: factories.World) -> None:
    for model in admin.site._registry:
        answer = boss.get(address(f"{model._meta.app_label}_{model._meta.model_name}_changelist"))
        assert "Download as CSV" in answer.content.decode(), model
    assert "Download as CSV" in boss.get(address("bridge_delivery_dead_letters")).content.decode()
