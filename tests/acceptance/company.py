"""The company of a run: the demo's accounts and gateway, with as many groups and members as are wanted. Needs Django."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from bridge.demo import world as demo
from openclaw.models import Gateway

if TYPE_CHECKING:
    from accounts.models import ChannelAccount
    from bridge.runtime.launcher.launch import Plan
    from channels_wechat.simulator import SimulatorClient

JSON = dict[str, object]


@dataclass(frozen=True)
class Company:
    world: demo.World

    @property
    def simulator(self) -> SimulatorClient:
        return self.world.simulator

    def group_says(self, number: int, member: int, text: str) -> JSON:
        """A group's message in the simulator's control API."""
        return {"bot": demo.BOT, "from": member_id(member), "chat": group_id(number), "text": text}

    def member_says(self, member: int, text: str) -> JSON:
        return {"app": demo.AGENT, "from": member_id(member), "text": text}


def found(plan: Plan, *, groups: int, members: int, turns: int) -> Company:
    """turns: how many the gateway runs at a time."""
    env = plan.env
    world = demo.build_from(env)
    Gateway.objects.update(max_in_flight=turns)
    world.simulator.app(demo.AGENT, callback_url=addresses(plan, world.app))
    world.simulator.bot(demo.BOT, callback_url=addresses(plan, world.bot))
    for number in range(members):
        world.simulator.member(member_id(number), f"成员{number}")
    for number in range(groups):
        world.simulator.group(group_id(number), f"群{number}", members=[member_id(n) for n in range(members)])
    return Company(world)


def addresses(plan: Plan, account: ChannelAccount) -> str:
    """Copies of a callback go to both processes that take them."""
    return " ".join(f"http://127.0.0.1:{plan.ports[name]}/callbacks/{account.key}" for name in ("web", "callbacks"))


def unlimited(company: Company) -> None:
    """The platform's own rate limits off: the bridge's limits hold it back, or nothing does."""
    company.simulator.settings(max_exchanges=0, member_per_minute=100_000, member_per_hour=1_000_000)


def group_id(number: int) -> str:
    return f"wrGroup{number:04d}"


def member_id(number: int) -> str:
    return f"member{number:04d}"
