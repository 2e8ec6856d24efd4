"""The company's address book, its customers and their groups, as far as WeCom shows them to the app (pages 90200 to 92122).

The cursor of a page is JSON and holds all that is still to be read: members are listed by department, customers by up to a hundred
members at once, groups by pages of ids that are read one by one. So every page is one call, and nothing is kept in memory.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from channels_wechat.contract.directory import (
    DirectoryDepartment,
    DirectoryGroup,
    DirectoryPage,
    DirectoryPerson,
)
from channels_wechat.contract.errors import ChannelError
from channels_wechat.wecom.errors import WECOM_APP
from channels_wechat.wecom.person_ids import person_id

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from channels_wechat.contract.directory import DirectoryPart
    from channels_wechat.wecom.api import WeComApi


# What WeCom answers where the app was not granted the whole part.
NOT_GRANTED = frozenset({"48002", "48004", "60011"})
NO_DEPARTMENT, NO_GROUP, NO_MEMBER = "60003", "40050", "60111"
# The member knows no customers, or nobody knows this customer any more; or there is no customer with this id.
NO_CUSTOMER = frozenset({"84061", "40096"})
# One department or group that the app may not see says nothing about the others.
OUT_OF_SIGHT = frozenset({NO_DEPARTMENT, NO_GROUP, "60011"})
# At most so many members in one call, customers in one answer, and ids of groups in one answer.
MEMBERS_AT_ONCE, CUSTOMERS_AT_ONCE, GROUPS_AT_ONCE = 100, 100, 100
LEFT_COMPANY = 5  # user/get: status
NOT_DISMISSED = 0  # groupchat/list: status_filter
INTERNAL = 1  # groupchat/get: type of a member


def read_page(api: WeComApi, part: DirectoryPart, cursor: str) -> DirectoryPage:
    try:
        return PAGES[part](api, json.loads(cursor) if cursor else {})
    except ChannelError as error:
        raise name_refusal(part, error) from error


def read_entry(api: WeComApi, part: DirectoryPart, entry_id: str) -> DirectoryPage:
    try:
        return ENTRIES[part](api, entry_id)
    except ChannelError as error:
        raise name_refusal(part, error) from error


def name_refusal(part: DirectoryPart, error: ChannelError) -> ChannelError:
    """Return the error that names the permission which staff have to grant; any other error as it is."""
    if error.code not in NOT_GRANTED:
        return error
    name = f"directory_{part}"
    return WECOM_APP.error(
        name, detail=error.detail, params={"errcode": error.code}, response=error.response, capability=name
    )


def _departments_page(api: WeComApi, _cursor: Mapping[str, Any]) -> DirectoryPage:
    return _read_departments(api, {})


def _read_departments(api: WeComApi, query: Mapping[str, str]) -> DirectoryPage:
    rows = api.call("GET", "cgi-bin/department/list", query=query).get("department") or ()
    return DirectoryPage(departments=tuple(_department(row) for row in rows))


def _members_page(api: WeComApi, cursor: Mapping[str, Any]) -> DirectoryPage:
    """The first call lists the departments, each later one the members of one department."""
    if "left" not in cursor:
        rows = api.call("GET", "cgi-bin/department/simplelist").get("department_id") or ()
        return DirectoryPage(next=_next(left=[str(row["id"]) for row in rows]))
    first, *others = cursor["left"]
    following = _next(left=others)
    try:
        answer = api.call("GET", "cgi-bin/user/simplelist", query={"department_id": first})
    except ChannelError as error:
        if error.code not in OUT_OF_SIGHT:
            raise
        return DirectoryPage(next=following, skipped=1)
    return DirectoryPage(tuple(_member(row) for row in answer.get("userlist") or ()), next=following)


def _customers_page(api: WeComApi, cursor: Mapping[str, Any]) -> DirectoryPage:
    """The first call lists the members who have customers, each later one customers of the first of these members."""
    if "left" not in cursor:
        answer = api.call("GET", "cgi-bin/externalcontact/get_follow_user_list")
        return DirectoryPage(next=_next(left=list(answer.get("follow_user") or ())))
    members: list[str] = cursor["left"]
    now, later = members[:MEMBERS_AT_ONCE], members[MEMBERS_AT_ONCE:]
    body = {"userid_list": now, "cursor": cursor.get("cursor", ""), "limit": CUSTOMERS_AT_ONCE}
    try:
        answer = api.call("POST", "cgi-bin/externalcontact/batch/get_by_user", json=body, harmless=True)
    except ChannelError as error:
        if error.code not in NO_CUSTOMER:
            raise
        return DirectoryPage(next=_next(left=later))
    rows = answer.get("external_contact_list") or ()
    following = str(answer.get("next_cursor") or "")
    people = tuple(_customer(row.get("external_contact") or {}, [row.get("follow_info") or {}]) for row in rows)
    return DirectoryPage(people, next=_next(left=members, cursor=following) if following else _next(left=later))


def _groups_page(api: WeComApi, cursor: Mapping[str, Any]) -> DirectoryPage:
    """A call lists ids of groups, or reads the first group of those that were listed."""
    if not cursor.get("left"):
        body = {"status_filter": NOT_DISMISSED, "cursor": cursor.get("cursor", ""), "limit": GROUPS_AT_ONCE}
        answer = api.call("POST", "cgi-bin/externalcontact/groupchat/list", json=body, harmless=True)
        listed = [str(row["chat_id"]) for row in answer.get("group_chat_list") or ()]
        return DirectoryPage(next=_next(left=listed, cursor=str(answer.get("next_cursor") or "")))
    first, *others = cursor["left"]
    following = _next(left=others, cursor=cursor.get("cursor", ""))
    try:
        return DirectoryPage(groups=(_read_group(api, first),), next=following)
    except ChannelError as error:
        if error.code not in OUT_OF_SIGHT:
            raise
        return DirectoryPage(next=following, skipped=1)


def _next(**cursor: Any) -> str:
    """Return the cursor as text; empty where nothing is left."""
    return json.dumps(cursor, ensure_ascii=False) if any(cursor.values()) else ""


PAGES: dict[DirectoryPart, Callable[[WeComApi, Mapping[str, Any]], DirectoryPage]] = {
    "departments": _departments_page,
    "members": _members_page,
    "customers": _customers_page,
    "groups": _groups_page,
}


def _department_entry(api: WeComApi, entry_id: str) -> DirectoryPage:
    try:
        return _read_departments(api, {"id": entry_id})
    except ChannelError as error:
        if error.code != NO_DEPARTMENT:
            raise
        return DirectoryPage(departments=(DirectoryDepartment(entry_id, gone=True),))


def _member_entry(api: WeComApi, entry_id: str) -> DirectoryPage:
    try:
        return DirectoryPage((_member(api.call("GET", "cgi-bin/user/get", query={"userid": entry_id})),))
    except ChannelError as error:
        if error.code != NO_MEMBER:
            raise
        return DirectoryPage((DirectoryPerson(entry_id, left=True),))


def _customer_entry(api: WeComApi, entry_id: str) -> DirectoryPage:
    """The remark is that of the first members who know the customer; the platform tells them in pages."""
    try:
        answer = api.call("GET", "cgi-bin/externalcontact/get", query={"external_userid": entry_id})
    except ChannelError as error:
        if error.code not in NO_CUSTOMER:
            raise
        return DirectoryPage((DirectoryPerson(entry_id, kind="customer", left=True),))
    return DirectoryPage((_customer(answer.get("external_contact") or {}, answer.get("follow_user") or []),))


def _group_entry(api: WeComApi, entry_id: str) -> DirectoryPage:
    try:
        return DirectoryPage(groups=(_read_group(api, entry_id),))
    except ChannelError as error:
        if error.code != NO_GROUP:
            raise
        return DirectoryPage(groups=(DirectoryGroup(entry_id, gone=True),))


ENTRIES: dict[DirectoryPart, Callable[[WeComApi, str], DirectoryPage]] = {
    "departments": _department_entry,
    "members": _member_entry,
    "customers": _customer_entry,
    "groups": _group_entry,
}


def _read_group(api: WeComApi, chat_id: str) -> DirectoryGroup:
    body = {"chat_id": chat_id, "need_name": 1}
    row = api.call("POST", "cgi-bin/externalcontact/groupchat/get", json=body, harmless=True).get("group_chat") or {}
    people = tuple(_group_member(one) for one in row.get("member_list") or ())
    return DirectoryGroup(chat_id, str(row.get("name", "")), person_id(str(row.get("owner", ""))), people)


def _group_member(row: Mapping[str, Any]) -> DirectoryPerson:
    kind = "member" if row.get("type") == INTERNAL else "customer"
    return DirectoryPerson(person_id(str(row.get("userid", ""))), str(row.get("name", "")), kind)  # type: ignore[arg-type]


def _department(row: Mapping[str, Any]) -> DirectoryDepartment:
    return DirectoryDepartment(str(row["id"]), str(row.get("name", "")), str(row.get("parentid", "")))


def _member(row: Mapping[str, Any]) -> DirectoryPerson:
    departments = tuple(map(str, row.get("department") or ()))
    left = row.get("status") == LEFT_COMPANY
    return DirectoryPerson(person_id(str(row["userid"])), str(row.get("name", "")), "member", departments, left=left)


def _customer(row: Mapping[str, Any], followers: list[Mapping[str, Any]]) -> DirectoryPerson:
    name, remark = str(row.get("name", "")), next((str(one["remark"]) for one in followers if one.get("remark")), "")
    return DirectoryPerson(person_id(str(row.get("external_userid", ""))), name, "customer", remark=remark)
