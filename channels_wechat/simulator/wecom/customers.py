"""Customers of members, and their groups (facts: wecom.md 8.2)."""

from dataclasses import dataclass, field


@dataclass
class Customer:
    """Somebody outside the company. type: 1 uses WeChat, 2 uses WeCom; followers: member → how they call the customer."""

    external_userid: str
    name: str
    type: int = 1
    followers: dict[str, str] = field(default_factory=dict)


@dataclass
class CustomerGroup:
    """members: user ids of members and of customers."""

    chat_id: str
    name: str
    owner: str = ""
    members: list[str] = field(default_factory=list)
    status: int = 0


@dataclass
class WelcomeCode:
    """Good for one welcome within 20 seconds of the event that brought it."""

    external_userid: str
    userid: str
    expires: float
    spent: bool = False


WELCOME_SECONDS = 20


def chat_of(external_userid: str) -> str:
    return f"customer:{external_userid}"
