"""The accounts of the simulated WeChat, who writes to them, and how each account stands with each person."""

from channels_wechat.simulator.core.errors import ControlError
from channels_wechat.simulator.core.state import JSON, World
from channels_wechat.simulator.weixin.accounts import MiniProgram, OfficialAccount, Person, WeixinAccount
from channels_wechat.simulator.weixin.reply_windows import Standing


class WeixinWorld:
    def __init__(self, world: World) -> None:
        self.world = world
        self.accounts: dict[str, OfficialAccount | MiniProgram] = {}  # by appid
        self.persons: dict[str, Person] = {}  # by openid
        self.standings: dict[str, Standing] = {}

    def account(self, ref: JSON) -> WeixinAccount:
        """The account a control request names by `official` or `mini`."""
        kind, name = (OfficialAccount, "official") if "official" in ref else (MiniProgram, "mini")
        account = self.accounts.get(str(ref[name]))
        if not isinstance(account, kind):
            raise ControlError("no such Official Account or Mini Program")
        return account

    def person(self, account: WeixinAccount, openid: object) -> Person | None:
        """None where the openid is another account's, too: the platform tells no difference."""
        person = self.persons.get(str(openid))
        return person if person and person.account == account.appid else None

    def standing(self, person: Person) -> Standing:
        return self.standings.setdefault(person.openid, Standing())


def single_chat(account: WeixinAccount, openid: str) -> str:
    """An openid is case-sensitive."""
    return f"{account.id}:{openid}"
