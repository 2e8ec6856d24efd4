"""What a person's own deeds let an account say to them (facts: official_account.md 3.2).

The triggers do not add up. A new one leaves the larger of the count that was left and its own, and the later of the two ends.
"""

from dataclasses import dataclass, field

from channels_wechat.simulator.core.errors import PlatformError
from channels_wechat.simulator.weixin.accounts import OfficialAccount, WeixinAccount

HOUR = 3600.0
MESSAGE = (5, 48 * HOUR)
CLICK = (3, 60.0)
SESSION = (2, 60.0)

EVENTS = dict.fromkeys(("subscribe", "scan", "click", "scancode_push", "scancode_waitmsg"), CLICK)
MINI_EVENTS = {"user_enter_tempsession": SESSION}


def opened_by(account: WeixinAccount, event: str) -> tuple[int, float] | None:
    """(count, seconds) of an event's window; names differ in case from sample to sample."""
    return (EVENTS if isinstance(account, OfficialAccount) else MINI_EVENTS).get(event.lower())


@dataclass
class Standing:
    """How an account stands with a person. Times are the simulator's clock; `accepted`: notices agreed to, by template."""

    left: int = 0
    ends: float = 0.0
    seen: float = 0.0
    typing_until: float = 0.0
    accepted: dict[str, int] = field(default_factory=dict)

    def open(self, window: tuple[int, float], now: float) -> None:
        count, seconds = window
        self.left = max(self.left_at(now), count)
        self.ends = max(self.ends, now + seconds)

    def left_at(self, now: float) -> int:
        return self.left if now < self.ends else 0

    def take(self, now: float) -> None:
        """One message. 45015 outside of every window, 45047 when its count is used up."""
        if now >= self.ends:
            raise PlatformError(45015, "response out of time limit or subscription is canceled")
        if not self.left:
            raise PlatformError(45047, "out of response count limit")
        self.left -= 1
