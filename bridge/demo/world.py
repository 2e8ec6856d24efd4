"""The demo's world: accounts on the simulator, the stand-in gateway, mappings, and a first conversation printed as it happens."""

from __future__ import annotations

import secrets
import string
import sys
import time
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from django.conf import settings
from django.db.models import Max

from accounts.health import Health
from accounts.models import ChannelAccount, cleaned_credentials
from bridge.models import Conversation, Delivery, FallbackSender, Message, Route, State
from bridge.models.webhooks import new_secret
from bridge.pipeline.outbound import outbox
from channels_wechat import channel_class
from channels_wechat.contract.messages import Content
from channels_wechat.simulator.client import SimulatorClient
from openclaw.models import Gateway

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

CORP, AGENT, BOT = "wwdemo0000000001", 1000002, "demo-bot"
CONNECTED_BOT = "demo-connected-bot"
GROUP, GROUP_NAME = "wrDemoGroup01", "产品讨论组"
MEMBERS = {"zhangsan": "张三", "lisi": "李四"}
KF, CUSTOMER = "wkDemoService0001", ("wmDemoCustomer000000001", "小刚")
# A personal account behind a puppet service, its group, and somebody in it.
PERSONAL, ROOM, ROOM_NAME, HIKER = (
    "wxid_demo_xiaoqiao",
    "20000000001@chatroom",
    "周末徒步群",
    ("wxid_demo_xiaozhou", "小周"),
)
# A gateway of the company's own, a group behind it, and somebody in it.
OWN, OWN_GROUP, OWN_GROUP_NAME, GUEST = "demo-gateway", "demo-room-7", "客户支持群", ("demo-guest-1", "小林")
# Somebody in WeChat who scanned the code of their iLink bot.
SCANNER = ("demo-xiaomei@im.wechat", "小美")
# AppIDs, and whom each account talks to: OpenID and name.
NEWS, CLUB, SHOP = "wxdemonews0000001", "wxdemoclub0000001", "wxdemoshop0000001"
FOLLOWER, READER, BUYER = ("oDemoFollower01", "小红"), ("oDemoReader01", "小明"), ("oDemoBuyer01", "小兰")
SECONDS = 60


@dataclass(frozen=True, slots=True)
class World:
    """bot: by callback URL; connected_bot: by long connection. service: an account of customer service, whose notices come to the app.

    robot: of the group of the bots, where it sends what they cannot. news: an Official Account that is verified; club: one that is
    not, and answers in the reply to the callback; shop: a Mini Program. personal: an account behind a Wechaty puppet service.
    own: a gateway of the company's own. ilink: the bot of a person in WeChat.
    """

    simulator: SimulatorClient
    app: ChannelAccount
    bot: ChannelAccount
    connected_bot: ChannelAccount
    robot: ChannelAccount
    service: ChannelAccount
    news: ChannelAccount
    club: ChannelAccount
    shop: ChannelAccount
    personal: ChannelAccount
    own: ChannelAccount
    ilink: ChannelAccount


def build_from(env: Mapping[str, str]) -> World:
    """Build it where the launcher's environment says. Raises KeyError."""
    urls = env["DEMO_SIMULATOR_URL"], env["DEMO_GATEWAY_URL"]
    return build(*urls, env["DEMO_GATEWAY_TOKEN"], puppet_port=int(env["DEMO_PUPPET_PORT"]))


def build(simulator_url: str, gateway_url: str, gateway_token: str, *, puppet_port: int = 0) -> World:
    """Make what is missing and tell the simulator, which forgets everything at its end. Safe to repeat.

    puppet_port: at which the simulated puppet service listens; 0: any.
    """
    simulator = SimulatorClient(simulator_url)
    gateway = _gateway(gateway_url, gateway_token)
    app = _account("wecom_app", "Demo app", simulator_url, _app_fields())
    bot = _account("wecom_aibot", "Demo AI bot", simulator_url, _bot_fields())
    connected_bot = _account(
        "wecom_aibot", "Demo AI bot, connected", f"{simulator_url}/openws", _connected_bot_fields()
    )
    robot = _account("wecom_robot", "Demo group robot", simulator_url, _robot_fields())
    service = _account("wecom_kf", "Demo customer service", simulator_url, _service_fields(app))
    news = _account("official_account", "Demo news", simulator_url, _official_fields(NEWS, "messages"))
    club = _account("official_account", "Demo club", simulator_url, _official_fields(CLUB, "passive"))
    shop = _account("mini_program", "Demo shop", simulator_url, _weixin_fields(SHOP))
    personal = _personal_account(simulator, puppet_port)
    own = _own_connection(simulator)
    ilink = _bot_of_a_person(simulator)
    world = World(simulator, app, bot, connected_bot, robot, service, news, club, shop, personal, own, ilink)
    _populate(world)
    _map_all(world, gateway)
    _switch_on(world)
    return world


def _map_all(world: World, gateway: Gateway) -> None:
    _map(world.app, "direct", gateway, note="Everyone who writes to the app")
    _map(world.bot, "group", gateway, note="Groups that mention the bot", agent="support")
    _map(world.connected_bot, "group", gateway, note="Groups that mention the bot", agent="support")
    for each in (world.bot, world.connected_bot):
        talk, _new = Conversation.objects.update_or_create(
            account=each, peer_kind="group", peer_id=GROUP, defaults={"title": GROUP_NAME}
        )
        _fall_back(talk, world.robot)
    _map(world.service, "direct", gateway, note="Every customer")
    _map(world.news, "direct", gateway, note="Every follower")
    _map(world.club, "direct", gateway, note="Every follower")
    _map(world.personal, "group", gateway, note="Groups that mention the account", agent="support", trigger="mention")
    _map(world.own, "group", gateway, note="Groups that mention the account", agent="support", trigger="mention")
    _map(world.shop, "direct", gateway, note="Everyone who opens the chat of the Mini Program", agent="support")
    _map(world.ilink, "direct", gateway, note="Whoever scanned the code")


def callback_url(account: ChannelAccount) -> str:
    return f"{settings.PUBLIC_URL}/callbacks/{account.key}"


def converse(world: World, tell: Callable[[str], None]) -> bool:
    """One message on each surface, and its answer. False where one does not arrive."""
    answered = True
    for title, say in _scenes(world):
        before = Message.objects.aggregate(last=Max("pk"))["last"] or 0
        tell(title)
        answered = _follow(world, before, say(), tell) and answered
    return answered


def _scenes(world: World) -> list[tuple[str, Callable[[], Any]]]:
    """What happens, and what makes it happen."""
    return [*_scenes_of_wecom(world), *_scenes_of_wechat(world.simulator)]


def _scenes_of_wecom(world: World) -> list[tuple[str, Callable[[], Any]]]:
    simulator, say = world.simulator, world.simulator.say
    # "!slow" is a word to the stand-in agent: it spreads its answer over two seconds, so that the stream can be seen.
    slowly = "帮我看看今天的发布计划 !slow=2"
    one_to_one = "你好,请问周报什么时候交?"
    return [
        (f"{GROUP_NAME}: 张三 mentions the bot", partial(say, slowly, bot=BOT, from_="zhangsan", chat=GROUP)),
        (f"{GROUP_NAME}: 李四 mentions the bot with a long connection", partial(_say_connected, simulator, slowly)),
        (
            f"{GROUP_NAME}: the bot by callback URL cannot write first, so the group robot says it",
            partial(_report, world, "本周报告：一切正常。"),
        ),
        ("One to one: 李四 writes to the app", partial(say, one_to_one, app=AGENT, from_="lisi")),
        (
            f"Customer service: {CUSTOMER[1]} writes in ordinary WeChat",
            partial(say, "请问怎么退货?", kf=KF, from_=CUSTOMER[0]),
        ),
    ]


def _scenes_of_wechat(simulator: SimulatorClient) -> list[tuple[str, Callable[[], Any]]]:
    say = simulator.say
    return [
        (
            f"Official Account, verified: its follower {FOLLOWER[1]} writes",
            partial(say, "今天有什么新闻?", official=NEWS, from_=FOLLOWER[0]),
        ),
        (
            f"Official Account, not verified: its follower {READER[1]} is answered in the reply to the callback",
            partial(say, "周末有活动吗?", official=CLUB, from_=READER[0]),
        ),
        (
            f"Mini Program: its user {BUYER[1]} writes in the customer-service chat",
            partial(say, "我的订单到哪了?", mini=SHOP, from_=BUYER[0]),
        ),
        (f"{ROOM_NAME} (Wechaty): {HIKER[1]} mentions the personal account", partial(_say_in_room, simulator)),
        (
            f"iLink: {SCANNER[1]} writes to the bot of the code that they scanned",
            partial(say, "提醒我明天开会", ilink=SCANNER[0]),
        ),
        (
            f"{OWN_GROUP_NAME} (own gateway): {GUEST[1]} mentions the account",
            partial(simulator.own_say, OWN, GUEST[0], "今天几点开门?", name=GUEST[1], chat=OWN_GROUP, addressed=True),
        ),
    ]


def _report(world: World, text: str) -> dict[str, Any]:
    """What an agent says of its own accord, in the bot's group. Return the place in the chat behind which it appears."""
    last = max((entry["seq"] for entry in world.simulator.transcript(GROUP)), default=0)
    outbox.send(world.bot, "group", GROUP, Content(text=text), source=Message.Source.AGENT)
    return {"chat": GROUP, "entry": last}


def _say_connected(simulator: SimulatorClient, text: str) -> Any:
    """A bot's platform keeps nothing for one that is not connected, so its connector is waited for."""
    simulator.wait_connected(CONNECTED_BOT, SECONDS)
    return simulator.say(text, bot=CONNECTED_BOT, from_="lisi", chat=GROUP)


def _say_in_room(simulator: SimulatorClient) -> Any:
    """What is said while no connection listens is lost."""
    simulator.wait_listening(PERSONAL, SECONDS)
    return simulator.say("周六几点集合?", wechaty=PERSONAL, from_=HIKER[0], chat=ROOM, mentions=[PERSONAL])


def _follow(world: World, before: int, said: Any, tell: Callable[[str], None]) -> bool:
    """Print what a member sees and every change of the deliveries of messages after `before`, until the answer is complete."""
    seen: dict[str, str] = {}
    deadline = time.monotonic() + SECONDS
    while time.monotonic() < deadline:
        # Looked at first, so that the last of them is printed too.
        settled, answers = (
            _settled(before),
            _answers(world, said),
        )
        for name, line in [*_states(before), *_text_and_carrier(answers)]:
            if seen.get(name) != line:
                seen[name] = line
                tell(line)
        if settled and answers and not any(answer["streaming"] for answer in answers):
            return True
        time.sleep(0.1)
    tell("No answer came in time. See the deliveries in the admin.")
    return False


def _answers(world: World, said: Any) -> list[dict[str, Any]]:
    """What a member sees after their message. An app's messages do not say what they answer, so order must do."""
    after = (entry for entry in world.simulator.transcript(said["chat"]) if entry["seq"] > said["entry"])
    return [entry for entry in after if entry["via"] != "member"]


def _text_and_carrier(answers: list[dict[str, Any]]) -> list[tuple[str, str]]:
    lines = []
    for number, answer in enumerate(answers):
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


def _populate(world: World) -> None:
    simulator = world.simulator
    for userid, name in MEMBERS.items():
        simulator.member(userid, name)
    simulator.group(GROUP, GROUP_NAME, members=list(MEMBERS))
    app, bot = world.app.credentials, world.bot.credentials
    simulator.app(AGENT, corpid=CORP, secret=app["secret"], name=world.app.name, **_known(world.app))
    simulator.kf_account(KF, AGENT, name=world.service.name, servicers=list(MEMBERS))
    simulator.kf_customer(*CUSTOMER)
    simulator.bot(BOT, name=bot["bot_name"], **_known(world.bot))
    simulator.robot(GROUP, key=world.robot.credentials["robot_key"], name=world.robot.name)
    connected = world.connected_bot.credentials
    simulator.bot(CONNECTED_BOT, name=connected["bot_name"], mode="connection", secret=connected["secret"])
    for account, (openid, name), make, more in (
        (world.news, FOLLOWER, simulator.official, {"verified": True}),
        (world.club, READER, simulator.official, {"verified": False, "kind": "subscription"}),
        (world.shop, BUYER, simulator.mini, {}),
    ):
        secret = account.credentials["app_secret"]
        make(account.external_id, secret=secret, name=account.name, **_known(account), **more)
        simulator.person(account.external_id, name, openid)


def _switch_on(world: World) -> None:
    """Let the bridge work with the accounts. Sooner, the clock would ask for their tokens, be refused and stop them."""
    for account in (getattr(world, name) for name in World.__slots__):
        if isinstance(account, ChannelAccount):
            ChannelAccount.objects.filter(pk=account.pk).update(enabled=True)
            account.refresh_from_db()
            account.revive()


def _known(account: ChannelAccount) -> dict[str, str]:
    """What the platform has to know to call us."""
    keys = account.credentials
    return {"token": keys["token"], "aes_key": keys["encoding_aes_key"], "callback_url": callback_url(account)}


def _gateway(url: str, token: str) -> Gateway:
    fields = {"base_url": url, "token": token, "enabled": True}
    gateway, _new = Gateway.objects.get_or_create(name="Demo gateway (stand-in)", defaults=fields)
    gateway.revive()
    return gateway


def _account(kind: str, name: str, simulator_url: str, fields: dict[str, Any]) -> ChannelAccount:
    """An account keeps its secrets from one start to the next. It is off until the simulator knows it (`_switch_on`)."""
    found = ChannelAccount.objects.filter(kind=kind, name=name).first()
    if found:
        ChannelAccount.objects.filter(pk=found.pk).update(api_base_url=simulator_url, enabled=False)
        found.refresh_from_db()
        return found
    credentials = cleaned_credentials(kind, fields)
    external_id = channel_class(kind).external_id(credentials)
    common = {"name": name, "external_id": external_id, "api_base_url": simulator_url, "state": Health.NEW}
    sentences = {"welcome": "你好，我是演示机器人，可以随时问我。"} if kind in ("wecom_aibot", "wecom_kf") else {}
    return ChannelAccount.objects.create(
        kind=kind, credentials=credentials, sentences=sentences, enabled=False, **common
    )


def _personal_account(simulator: SimulatorClient, port: int) -> ChannelAccount:
    """The service gets its port anew at each start of the simulator. It keeps no pauses, so that the demo does not wait."""
    fields = {"token": f"insecure_{uuid4()}", "endpoint": "127.0.0.1:1", "tls": "off", "knows_risk": True}
    account = _account("wechaty", "Demo personal account", "", fields)
    service = simulator.wechaty(PERSONAL, account.credentials["token"], name="小桥", port=port)
    simulator.wechaty_contact(*HIKER)
    simulator.wechaty_room(ROOM, ROOM_NAME, [PERSONAL, HIKER[0]])
    account.credentials = {**account.credentials, "endpoint": service["endpoint"]}
    account.save(update_fields=["credentials"])
    return account


def _bot_of_a_person(simulator: SimulatorClient) -> ChannelAccount:
    """The simulator forgets logins at its end; then the person logs in again, as by another scan."""
    simulator.ilink_person(*SCANNER)
    standing, name = simulator.ilink_standing(SCANNER[0]), "Demo iLink bot"
    known = ChannelAccount.objects.filter(kind="ilink", name=name).first()
    fields = dict(known.credentials) if known else {"user_id": SCANNER[0]}
    if not standing["logged_in"] or standing["bot"] != fields.get("bot_id"):
        login = simulator.log_in_ilink(SCANNER[0])
        fields |= {"bot_id": login["ilink_bot_id"], "bot_token": login["bot_token"]}
    account = _account("ilink", name, simulator.url, fields)
    account.credentials = {**account.credentials, **fields}
    account.save(update_fields=["credentials"])
    return account


def _own_connection(simulator: SimulatorClient) -> ChannelAccount:
    """Each side has both secrets. Where the simulator listens may be new at each start."""
    fields: dict[str, Any] = {f"{way}_secret": new_secret() for way in ("inbound", "outbound")}
    fields |= {"connection": OWN, "address": f"{simulator.url}/own/{OWN}", "format": "text", "text_bytes": 2000}
    account = _account("webhook_account", "Demo own gateway", "", {**fields, "repetitions": "repeat"})
    keys = {name: account.credentials[name] for name in ("inbound_secret", "outbound_secret")}
    gateway = simulator.own_gateway(OWN, callback_url=callback_url(account), **keys)
    account.credentials = {**account.credentials, "address": gateway["address"]}
    account.save(update_fields=["credentials"])
    return account


def _map(
    account: ChannelAccount, peer_kind: str, gateway: Gateway, note: str, agent: str = "main", trigger: str = "all"
) -> None:
    fields = {"gateway": gateway, "agent_id": agent, "note": note, "trigger": trigger}
    Route.objects.get_or_create(account=account, peer_kind=peer_kind, peer_id="", defaults=fields)


def _fall_back(conversation: Conversation, robot: ChannelAccount) -> None:
    only = channel_class(robot.kind).only_peer
    if only is None:
        raise ValueError("a robot has one group")
    place = {"account": robot, "peer_kind": only.kind, "peer_id": only.id}
    FallbackSender.objects.get_or_create(conversation=conversation, **place, defaults={"position": 0})


def _app_fields() -> dict[str, Any]:
    secret, keys = secrets.token_urlsafe(32), _callback_keys()
    return {"corp_id": CORP, "agent_id": AGENT, "secret": secret, "format": "text", **keys}


def _service_fields(app: ChannelAccount) -> dict[str, Any]:
    """The app may call the interface and gets the notices, so its secret, Token and key are entered here too."""
    return {
        "open_kfid": KF,
        **{name: app.credentials[name] for name in ("corp_id", "secret", "token", "encoding_aes_key")},
    }


def _bot_fields() -> dict[str, Any]:
    return {"bot_id": BOT, "bot_name": "小助手", "corp_id": CORP, **_callback_keys()}


def _connected_bot_fields() -> dict[str, Any]:
    secret = secrets.token_urlsafe(32)
    return {"bot_id": CONNECTED_BOT, "bot_name": "小连", "mode": "connection", "secret": secret, "corp_id": CORP}


def _robot_fields() -> dict[str, Any]:
    return {"robot_key": secrets.token_urlsafe(24), "format": "markdown_v2"}


def _official_fields(app_id: str, answers: str) -> dict[str, Any]:
    return {**_weixin_fields(app_id), "answers": answers}


def _weixin_fields(app_id: str) -> dict[str, Any]:
    return {"app_id": app_id, "app_secret": secrets.token_hex(16), "mode": "safe", **_callback_keys()}


def _callback_keys() -> dict[str, str]:
    letters = string.ascii_letters + string.digits
    token, key = ("".join(secrets.choice(letters) for _ in range(size)) for size in (24, 42))
    return {"token": token, "encoding_aes_key": f"{key}A"}  # the last character carries four bits: A leaves none over


def show(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()
