"""Accounts and people of the WeChat platform (facts: official_account.md 0, 13): Official Accounts, Mini Programs, who writes to them."""

import hashlib
import secrets
from dataclasses import dataclass, field
from typing import ClassVar

from channels_wechat.simulator.core.errors import ControlError
from channels_wechat.simulator.core.state import JSON

MODES = ("plaintext", "compatible", "safe")
FORMATS = ("xml", "json")
KINDS = ("service", "subscription")
SUGGESTIONS = ("pass", "review", "risky")

VERIFIED_ONLY = frozenset({"message/custom/send", "message/custom/typing", "user/info", "media/get"})
OFFICIAL_ONLY = frozenset({"user/info"})
MINI_ONLY = frozenset(
    {"wxa/msg_sec_check", "wxa/media_check_async", "message/subscribe/send", "wxaapi/newtmpl/gettemplate"}
)


def one_of(name: str, value: str, allowed: tuple[str, ...]) -> None:
    if value not in allowed:
        raise ControlError(f"{name} must be one of {', '.join(allowed)}")


@dataclass
class WeixinAccount:
    """What both kinds have. `denied`: paths refused with 48001. `daily_limits`: path → calls a day, over the usual ones."""

    appid: str
    secret: str = field(default="", repr=False)
    name: str = "Account"
    original_id: str = ""  # gh_…; made up where it is not given
    token: str = field(default="", repr=False)
    aes_key: str = field(default="", repr=False)
    callback_url: str = ""
    mode: str = "safe"
    format: str = "xml"
    denied: list[str] = field(default_factory=list)
    daily_limits: dict[str, int] = field(default_factory=dict)
    takes_ai_label: bool = True  # False: a message with aimsgcontext is refused with 47001

    prefix: ClassVar[str] = ""
    failure: ClassVar[str] = ""  # what its user reads when the developer's server gives no valid answer

    def __post_init__(self) -> None:
        one_of("mode", self.mode, MODES)
        one_of("format", self.format, FORMATS)
        self.original_id = self.original_id or "gh_" + hashlib.sha256(self.appid.encode()).hexdigest()[:12]

    @property
    def receiveid(self) -> str:
        return self.appid

    @property
    def id(self) -> str:
        return f"{self.prefix}:{self.appid}"

    def may(self, path: str) -> bool:
        return path not in self.denied


@dataclass
class OfficialAccount(WeixinAccount):
    """`ip_whitelist` None: every address may fetch a token. `menu_ids` False: a msgmenu's choice arrives with bizmsgmenuid 0."""

    kind: str = "service"
    verified: bool = True
    ip_whitelist: list[str] | None = None
    menu_ids: bool = True

    prefix = "official"
    failure = "该公众号暂时无法提供服务，请稍后再试"

    def __post_init__(self) -> None:
        super().__post_init__()
        one_of("kind", self.kind, KINDS)

    def may(self, path: str) -> bool:
        return super().may(path) and path not in MINI_ONLY and (self.verified or path not in VERIFIED_ONLY)


@dataclass
class MiniProgram(WeixinAccount):
    """`words`: what the content check finds, word → review or risky. `media_verdict`: what it says of every picture and sound.

    `templates` as gettemplate lists them; `pages` None: every page is released.
    """

    format: str = "json"
    words: dict[str, str] = field(default_factory=dict)
    media_verdict: str = "pass"
    templates: list[JSON] = field(default_factory=list)
    pages: list[str] | None = None

    prefix = "mini"
    failure = "该小程序提供的服务出现故障，请稍后再试"

    def __post_init__(self) -> None:
        super().__post_init__()
        for suggest in (self.media_verdict, *self.words.values()):
            one_of("a verdict", suggest, SUGGESTIONS)

    def may(self, path: str) -> bool:
        return super().may(path) and path not in OFFICIAL_ONLY


@dataclass
class Person:
    """A follower of an Official Account or a user of a Mini Program: the openid belongs to one account only.

    `remark`: what staff wrote about a follower in the console, all that the platform tells of a name.
    """

    account: str  # the appid
    name: str
    openid: str = ""
    subscribed: bool = True
    remark: str = ""

    def __post_init__(self) -> None:
        self.openid = self.openid or "o" + secrets.token_urlsafe(32).replace("_", "-")[:27]
