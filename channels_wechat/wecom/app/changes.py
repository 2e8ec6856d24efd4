"""What events tell of the company's directory: which entry changed, and the code by which a new customer is welcomed. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from channels_wechat.contract.inbound_fields import whole_number, word
from channels_wechat.contract.messages import EntryChange
from channels_wechat.wecom.person_ids import person_id

if TYPE_CHECKING:
    from collections.abc import Iterator

    from channels_wechat.wire.xml import Node

# For so long after the customer was added, and for one message, the code is good.
WELCOME_SECONDS = 20
# These two say of a customer that one member has them no more; others may still have them.
MAY_HAVE_LEFT = frozenset({"del_external_contact", "del_follow_user"})
CHANGED = MAY_HAVE_LEFT | {"add_external_contact", "add_half_external_contact", "edit_external_contact"}


def list_changes(node: Node) -> tuple[EntryChange, ...]:
    """Return the entries of the directory that an event names; none for whatever else a callback brings."""
    read = CHANGES.get(word(node, "Event").lower())
    return tuple(read(node, word(node, "ChangeType"))) if read else ()


def _of_address_book(node: Node, change: str) -> Iterator[EntryChange]:
    """The id of a member whose id was changed is gone under the old one."""
    verb, _underscore, what = change.partition("_")
    user, new, department = (word(node, name) for name in ("UserID", "NewUserID", "Id"))
    if what == "user" and user:
        yield EntryChange("members", person_id(user), verb == "delete" or bool(new))
        if new:
            yield EntryChange("members", person_id(new))
    if what == "party" and department:
        yield EntryChange("departments", department, verb == "delete")


def _of_customers(node: Node, change: str) -> Iterator[EntryChange]:
    if change in CHANGED and (customer := word(node, "ExternalUserID")):
        yield EntryChange("customers", person_id(customer))


def _of_groups(node: Node, change: str) -> Iterator[EntryChange]:
    if group := word(node, "ChatId"):
        yield EntryChange("groups", group, change == "dismiss")


CHANGES = {
    "change_contact": _of_address_book,
    "change_external_contact": _of_customers,
    "change_external_chat": _of_groups,
}


def find_welcome(node: Node, now: float) -> tuple[str, str, int]:
    """Return the new customer, the code for a welcome, and the seconds that are left to use it; empty where none are."""
    customer, code = word(node, "ExternalUserID"), word(node, "WelcomeCode")
    left = WELCOME_SECONDS - max(0, int(now) - whole_number(word(node, "CreateTime")))
    is_new = word(node, "Event").lower() == "change_external_contact" and customer and code
    return (person_id(customer), code, left) if is_new and left > 0 else ("", "", 0)
