"""What a platform's directory tells: members, departments, customers and their groups, read one call after the other."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

from channels_wechat.contract.channel import Channel

if TYPE_CHECKING:
    from channels_wechat.contract.messages import Limit

DirectoryPart = Literal["departments", "members", "customers", "groups"]
PersonKind = Literal["member", "customer"]


@dataclass(frozen=True, slots=True)
class DirectoryPerson:
    """A member of the company, or a person outside it whom a member knows. id: as `Channel.person_id` gives it.

    departments: their ids; remark: what a member calls this customer; left: the platform knows the person no more.
    """

    id: str
    name: str = ""
    kind: PersonKind = "member"
    departments: tuple[str, ...] = ()
    remark: str = ""
    left: bool = False


@dataclass(frozen=True, slots=True)
class DirectoryDepartment:
    """gone: the company has it no more."""

    id: str
    name: str = ""
    parent: str = ""
    gone: bool = False


@dataclass(frozen=True, slots=True)
class DirectoryGroup:
    """A group chat with customers. gone: it was dismissed."""

    id: str
    name: str = ""
    owner: str = ""
    members: tuple[DirectoryPerson, ...] = ()
    gone: bool = False


@dataclass(frozen=True, slots=True)
class DirectoryPage:
    """The result of one call. next: the cursor of the next page, empty after the last one; skipped: what the platform would not show."""

    people: tuple[DirectoryPerson, ...] = ()
    departments: tuple[DirectoryDepartment, ...] = ()
    groups: tuple[DirectoryGroup, ...] = ()
    next: str = ""
    skipped: int = 0


class Directory(Channel):
    """The platform lists the people and groups of a company. Each method makes one call and raises ChannelError.

    Where the platform does not show a part to the account, the error has the capability `directory_<part>`.
    directory_parts: in the order in which they are read, departments before the members who are in them.
    """

    directory_parts: ClassVar[tuple[DirectoryPart, ...]] = ("departments", "members", "customers", "groups")
    directory_limits: ClassVar[tuple[Limit, ...]] = ()

    @abstractmethod
    def read_page(self, part: DirectoryPart, cursor: str) -> DirectoryPage:
        """Return the page of this part that the cursor names; the first one for an empty cursor."""

    @abstractmethod
    def read_entry(self, part: DirectoryPart, entry_id: str) -> DirectoryPage:
        """Return this entry alone as it is now."""
