"""Stores pages of a directory: contacts, departments and customer groups, and the names that conversations have from them."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from django.db.models import Q
from django.utils import timezone

from accounts.models import ChannelAccount
from bridge.models import Contact, Conversation, CustomerGroup, Department
from channels_wechat.contract.directory import (
    DirectoryDepartment,
    DirectoryGroup,
    DirectoryPage,
    DirectoryPerson,
)
from channels_wechat.contract.text import clean

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from datetime import datetime

NAME_LENGTH = 200


def store_page(account: ChannelAccount, page: DirectoryPage, now: datetime) -> None:
    """Store what a page tells, in the caller's transaction. The same page twice changes nothing."""
    accounts = _accounts_of_company(account)
    _store_departments(account, page.departments, now)
    _store_groups(account, accounts, page.groups, now)
    in_groups = [person for group in page.groups for person in group.members]
    _store_people(account, accounts, [*in_groups, *page.people], now)


def build_gone(part: str, entry_id: str) -> DirectoryPage:
    """Return the page that says that an entry is no more."""
    if part == "groups":
        return DirectoryPage(groups=(DirectoryGroup(entry_id, gone=True),))
    if part == "departments":
        return DirectoryPage(departments=(DirectoryDepartment(entry_id, gone=True),))
    kind = "member" if part == "members" else "customer"
    return DirectoryPage((DirectoryPerson(entry_id, kind=kind, left=True),))  # type: ignore[arg-type]


def mark_missing(account: ChannelAccount, since: datetime, results: Mapping[str, Mapping[str, Any]]) -> None:
    """Mark what a whole reading did not find any more. A part that was not read whole says nothing about who is missing."""
    whole = {part for part, result in results.items() if not result.get("code") and not result.get("skipped")}
    now = timezone.now()
    unseen = Contact.objects.filter(account=account, left_at=None, directory_at__lt=since)
    if "members" in whole:
        unseen.filter(kind=Contact.Kind.MEMBER).update(left_at=now)
    if {"customers", "groups"} <= whole:  # somebody may be known from a group only
        unseen.filter(kind=Contact.Kind.CUSTOMER).update(left_at=now)
    if "groups" in whole:
        CustomerGroup.objects.filter(account=account, dismissed_at=None, read_at__lt=since).update(dismissed_at=now)
    if "departments" in whole:
        Department.objects.filter(account=account, read_at__lt=since).delete()


def _accounts_of_company(account: ChannelAccount) -> list[int]:
    """Return the accounts that speak to the same people: bots have no directory of their own."""
    company = account.credentials.get("corp_id")
    if not company:
        return [account.pk]
    others = ChannelAccount.objects.filter(enabled=True).exclude(pk=account.pk)
    same = [other.pk for other in others if other.credentials.get("corp_id") == company]
    return [account.pk, *same]


def _store_departments(account: ChannelAccount, told: Iterable[DirectoryDepartment], now: datetime) -> None:
    gone = [one.id for one in told if one.gone]
    if gone:
        Department.objects.filter(account=account, external_id__in=gone).delete()
    rows = {
        one.id: Department(
            account=account, external_id=one.id[:64], name=_fit(one.name), parent=one.parent[:64], read_at=now
        )
        for one in told
        if not one.gone
    }
    Department.objects.bulk_create(
        [rows[key] for key in sorted(rows)],
        update_conflicts=True,
        unique_fields=["account", "external_id"],
        update_fields=["name", "parent", "read_at"],
    )


def _store_people(account: ChannelAccount, accounts: list[int], told: Iterable[DirectoryPerson], now: datetime) -> None:
    """Store people of a page. What the platform leaves out of it stays as it was."""
    people = _merge(told)
    if not people:
        return
    known = {row.external_id: row for row in Contact.objects.filter(account=account, external_id__in=people)}
    departments = _load_departments(account, people.values())
    rows = [_build_contact(account, people[key], known.get(key), departments, now) for key in sorted(people)]
    Contact.objects.bulk_create(
        [row for row in rows if row.name or not people[row.external_id].left or row.external_id in known],
        update_conflicts=True,
        unique_fields=["account", "external_id"],
        update_fields=[
            "name",
            "told_name",
            "kind",
            "department",
            "remark",
            "left_at",
            "directory_at",
            "name_fetched_at",
        ],
    )
    _name_elsewhere(accounts, {row.external_id: row.name for row in rows if row.name}, now)


def _merge(told: Iterable[DirectoryPerson]) -> dict[str, DirectoryPerson]:
    """Return id → person; somebody whom several members know, or who is in several groups, stands in a page more than once."""
    people: dict[str, DirectoryPerson] = {}
    for person in told:
        if not person.id or len(person.id) > NAME_LENGTH:
            continue
        known = people.get(person.id, person)
        people[person.id] = replace(person, name=person.name or known.name, remark=known.remark or person.remark)
    return people


def _build_contact(
    account: ChannelAccount,
    person: DirectoryPerson,
    known: Contact | None,
    departments: Mapping[str, str],
    now: datetime,
) -> Contact:
    old = known or Contact(account=account, external_id=person.id)
    told = _fit(person.name)
    names = ", ".join(departments[one] for one in person.departments if departments.get(one))
    return Contact(
        account=account,
        external_id=person.id,
        name=told if told and told != old.told_name else old.name,
        told_name=told or old.told_name,
        kind=person.kind,
        department=_fit(names) or old.department,
        remark=_fit(person.remark) or old.remark,
        left_at=(old.left_at or now) if person.left else None,
        directory_at=now,
        name_fetched_at=now,
    )


def _load_departments(account: ChannelAccount, people: Iterable[DirectoryPerson]) -> dict[str, str]:
    wanted = {one for person in people for one in person.departments}
    rows = Department.objects.filter(account=account, external_id__in=wanted)
    return dict(rows.values_list("external_id", "name"))


def _name_elsewhere(accounts: list[int], names: Mapping[str, str], now: datetime) -> None:
    """Name these people at all accounts of the company, and call their conversations by them, unless staff named them."""
    nameless = list(Contact.objects.filter(account__in=accounts, external_id__in=names, name=""))
    for contact in nameless:
        contact.name, contact.name_fetched_at = names[contact.external_id], now
    Contact.objects.bulk_update(nameless, ["name", "name_fetched_at"])
    untitled = list(Conversation.objects.filter(account__in=accounts, peer_kind="direct", title="", peer_id__in=names))
    for talk in untitled:
        talk.title = names[talk.peer_id]
    Conversation.objects.bulk_update(untitled, ["title"])


def _store_groups(account: ChannelAccount, accounts: list[int], told: Iterable[DirectoryGroup], now: datetime) -> None:
    for group in told:
        known = CustomerGroup.objects.filter(account=account, external_id=group.id[:NAME_LENGTH]).first()
        if group.gone:
            if known and not known.dismissed_at:
                CustomerGroup.objects.filter(pk=known.pk).update(dismissed_at=now, read_at=now)
            continue
        members = [{"id": one.id, "name": _fit(one.name), "kind": one.kind} for one in group.members]
        values = {
            "name": _fit(group.name),
            "owner": group.owner[:NAME_LENGTH],
            "members": members,
            "dismissed_at": None,
            "read_at": now,
        }
        CustomerGroup.objects.update_or_create(account=account, external_id=group.id[:NAME_LENGTH], defaults=values)
        _title_group(accounts, group, known.name if known else "")


def _title_group(accounts: list[int], group: DirectoryGroup, old: str) -> None:
    """Call its conversations by the group's new name, where they had the old one or none."""
    if group.name and group.name != old:
        unnamed = Q(title="") | Q(title=old)
        talks = Conversation.objects.filter(unnamed, account__in=accounts, peer_kind="group", peer_id=group.id)
        talks.update(title=_fit(group.name))


def _fit(text: str) -> str:
    return clean(text).strip()[:NAME_LENGTH]
