"""The demo's world: accounts on the simulator, the stand-in gateway, mappings, and a first conversation printed as it happens."""

from __future__ import annotations

import secrets
import string
import sys
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from django.conf import settings
from django.db.models import Max
from django.urls import reverse

from accounts.models import ChannelAccount, Health, cleaned_credentials
from bridge.models import Conversation, Delivery, Message, Route, State
from channels_wechat import channel_class
from channels_wechat.simulator.client import SimulatorClient
from openclaw.models import Gateway

if TYPE_CHECKING:
    from collections.abc import Callable

CORP, AGENT, BOT = "wwdemo0000000001", 1000002, "demo-bot"
GROUP, GROUP_NAME = "wrDemoGroup01", "产品讨论组"
MEMBERS = {"zhangsan": "张三", "lisi": "李四"}
SECONDS = 60


@dataclass(frozen=True, slots=True)
class World:
    simulator: SimulatorClient
    app: ChannelAccount
    bot: ChannelAccount


def build(simulator_url: str, gateway_url: str, gateway_token: str) -> World:
    """Make what is missing and tell the simulator, which forgets everything at its end. Safe to repeat."""
    simulator = SimulatorClient(simulator_url)
    gateway = _gateway(gateway_url, gateway_token)
    app = _account("wecom_app", "Demo app", simulator_url, _app_fields())
    bot = _account("wecom_aibot", "Demo AI bot", simulator_url, _bot_fields())
    _populate(simulator, app, bot)
    _map(app, "direct", gateway, note="Everyone who writes to the app")
    _map(bot, "group", gateway, note="Groups that mention the bot", agent="support")
    Conversation.objects.update_or_create(account=bot, peer_kind="group", peer_id=GROUP, defaults={"title": GROUP_NAME})
    return World(simulator, app, bot)


def callback_url(account: ChannelAccount) -> str:
    return f"{settings.PUBLIC_URL}{reverse('callback', args=[account.key])}"


def converse(world: World, tell: Callable[[str], None]) -> bool:
    """A group message with a streamed answer and a one-to-one message. False where one does not arrive."""
    before = Message.objects.aggregate(last=Max("pk"))["last"] or 0
    tell(f"{GROUP_NAME}: 张三 mentions the bot")
    # "!slow" is a word to the stand-in agent: it spreads its answer over two seconds, so that the stream can be seen.
    group = world.simulator.say("帮我看看今天的发布计划 !slow=2", bot=BOT, from_="zhangsan", chat=GROUP)
    answered = _follow(world, before, group, tell)
    before = Message.objects.aggregate(last=Max("pk"))["last"]
    tell("One to one: 李四 writes to the app")
    direct = world.simulator.say("你好,请问周报什么时候交?", app=AGENT, from_="lisi")
    return _follow(world, before, direct, tell) and answered


def _follow(world: World, before: int, said: Any, tell: Callable[[str], None]) -> bool:
    """Print what a member sees and every change of the deliveries of messages after `before`, until the answer is complete."""
    seen: dict[str, str] = {}
    deadline = time.monotonic() + SECONDS
    while time.monotonic() < deadline:
        for name, line in [*_states(before), *_shown(world, said)]:
            if seen.get(name) != line:
                seen[name] = line
                tell(line)
        answers = _answers(world, said)
        if answers and not any(answer["streaming"] for answer in answers) and _settled(before):
            return True
        time.sleep(0.1)
    tell("No answer came in time. See the deliveries in the admin.")
    return False


def _answers(world: World, said: Any) -> list[dict[str, Any]]:
    """What a member sees after their message. An app's messages do not say what they answer, so order must do."""
    after = (entry for entry in world.simulator.transcript(said["chat"]) if entry["seq"] > said["entry"])
    return [entry for entry in after if entry["via"] != "member"]


def _shown(world: World, said: Any) -> list[tuple[str, str]]:
    lines = []
    for number, answer in enumerate(_answers(world, said)):
        mark = "…" if answer["streaming"] else "✓"
        text = str(answer["text"]).replace("\n", " ")
        lines.append((f"answer {number}", f"      bot {mark} {text}"))
    return lines


def _states(before: int) -> list[tuple[str, str]]:
    rows = Delivery.objects.filter(message__pk__gt=before).order_by("pk")
    return [
        (f"delivery {row.pk}", f"      delivery #{row.pk} to {row.get_target_display()}: {row.get_state_display()}")
        for row in rows
    ]


def _settled(before: int) -> bool:
    return not Delivery.objects.filter(message__pk__gt=before, state__in=(State.PENDING, State.SENDING)).exists()


def _populate(simulator: SimulatorClient, app: ChannelAccount, bot: ChannelAccount) -> None:
    for userid, name in MEMBERS.items():
        simulator.member(userid, name)
    simulator.group(GROUP, GROUP_NAME, members=list(MEMBERS))
    a, b = app.credentials, bot.credentials
    keys = {"token": a["token"], "aes_key": a["encoding_aes_key"], "callback_url": callback_url(app)}
    simulator.app(AGENT, corpid=CORP, secret=a["secret"], name="Demo app", **keys)
    keys = {"token": b["token"], "aes_key": b["encoding_aes_key"], "callback_url": callback_url(bot)}
    simulator.bot(BOT, name=b["bot_name"], **keys)


def _gateway(url: str, token: str) -> Gateway:
    fields = {"base_url": url, "token": token, "enabled": True}
    gateway, _new = Gateway.objects.get_or_create(name="Demo gateway (stand-in)", defaults=fields)
    gateway.revive()
    return gateway


def _account(kind: str, name: str, simulator_url: str, fields: dict[str, Any]) -> ChannelAccount:
    """An account keeps its secrets from one start to the next."""
    found = ChannelAccount.objects.filter(kind=kind, name=name).first()
    if found:
        ChannelAccount.objects.filter(pk=found.pk).update(api_base_url=simulator_url)
        found.refresh_from_db()
        found.revive()
        return found
    credentials = cleaned_credentials(kind, fields)
    external_id = channel_class(kind).external_id(credentials)
    common = {"name": name, "external_id": external_id, "api_base_url": simulator_url, "state": Health.NEW}
    return ChannelAccount.objects.create(kind=kind, credentials=credentials, **common)


def _map(account: ChannelAccount, peer_kind: str, gateway: Gateway, note: str, agent: str = "main") -> None:
    fields = {"gateway": gateway, "agent_id": agent, "note": note}
    Route.objects.get_or_create(account=account, peer_kind=peer_kind, peer_id="", defaults=fields)


def _app_fields() -> dict[str, Any]:
    secret, keys = secrets.token_urlsafe(32), _callback_keys()
    return {"corp_id": CORP, "agent_id": AGENT, "secret": secret, "format": "text", **keys}


def _bot_fields() -> dict[str, Any]:
    welcome = "你好,我是演示机器人,可以随时问我。"
    return {"bot_id": BOT, "bot_name": "小助手", "welcome": welcome, "corp_id": CORP, **_callback_keys()}


def _callback_keys() -> dict[str, str]:
    letters = string.ascii_letters + string.digits
    token, key = ("".join(secrets.choice(letters) for _ in range(size)) for size in (24, 42))
    return {"token": token, "encoding_aes_key": f"{key}A"}  # the last character carries four bits: A leaves none over


def show(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()
