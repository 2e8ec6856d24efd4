"""What staff do on their first day with the bridge, in order, by the pages alone. The simulator plays the members of the company.

Each step is a function of the day; `STEPS` at the end is their order.
"""

from __future__ import annotations

import secrets
import string
from dataclasses import dataclass
from typing import TYPE_CHECKING

from channels_wechat.simulator import SimulatorClient

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from tests.acceptance.stage import Stage
    from tests.browser.desk import Desk

CORP, AGENT, BOT, BOT_NAME = "ww00c0ffee00c0ffee", 1000007, "aib-team", "小助手"
GROUP, GROUP_NAME = "wrVbN3CQAA7p1x", "市场部 · 周报讨论群"
MEMBERS = {"zhangsan": "张三", "lisi": "李四"}
NOBODY = 81013  # errcode: none of the recipients can be reached
ADMIN = "/admin"
DEAD_LETTERS = f"{ADMIN}/bridge/delivery/dead-letters/"


def word(size: int) -> str:
    return "".join(secrets.choice(string.ascii_letters + string.digits) for _ in range(size))


@dataclass
class Keys:
    """What the platform's console shows for an account. An AES key's last character carries four bits: A leaves none over."""

    token: str
    aes_key: str
    secret: str = ""

    @classmethod
    def new(cls) -> Keys:
        return cls(word(24), f"{word(42)}A", word(43))


class Day:
    """The staff's browser, the company, and the addresses of what was made: name → path."""

    def __init__(self, stage: Stage, desk: Desk) -> None:
        self.env, self.desk = stage.plan.env, desk
        self.company = SimulatorClient(self.env["DEMO_SIMULATOR_URL"])
        self.bot, self.app = Keys.new(), Keys.new()
        self.paths: dict[str, str] = {}
        desk.secrets |= {self.env["DEMO_GATEWAY_TOKEN"], self.app.secret}
        desk.secrets |= {secret for keys in (self.bot, self.app) for secret in (keys.token, keys.aes_key)}

    def here(self, name: str) -> str:
        """Remember the address of the page that is open."""
        self.paths[name] = self.desk.page.url.removeprefix(self.desk.web).partition("?")[0]
        return self.paths[name]

    def members_see(self, chat: str, text: str) -> dict[str, Any]:
        """Wait until a finished entry that is no member's holds the text; it is there once."""
        find = lambda: [e for e in self._shown(chat) if text in e["text"] and not e["streaming"]]  # noqa: E731
        (entry,) = self.company.wait_for(find)
        return entry

    def _shown(self, chat: str) -> list[dict[str, Any]]:
        return [entry for entry in self.company.transcript(chat) if entry["via"] != "member"]


def log_in(day: Day) -> None:
    day.desk.go("/")
    day.here("login")
    day.desk.fill(username="admin", password="wrong")
    day.desk.press("Log in")
    day.desk.sees("Please enter the correct username and password")
    day.desk.fill(username="admin", password=day.env["ADMIN_PASSWORD"])
    day.desk.press("Log in")
    day.desk.sees("First steps", "No message yet in this time", "Add the first account", "Add the first gateway")


def add_the_bot(day: Day) -> None:
    desk = day.desk
    desk.follow("Add an account: the WeChat identity the agents speak as.")
    desk.sees("Receive group messages")
    desk.follow("Add: WeCom AI bot")
    known = {"name": "AI bot", "bot_id": BOT, "bot_name": BOT_NAME, "corp_id": CORP, "token": day.bot.token}
    desk.fill(**known, encoding_aes_key=day.bot.aes_key[:-1], api_base_url=day.company.url)
    desk.press("Save")
    desk.sees("43 characters")
    desk.fill(token=day.bot.token, encoding_aes_key=day.bot.aes_key)
    desk.press("Save")
    desk.sees("was added successfully")
    day.here("bot")
    desk.sees("not used yet", "none yet. After you save the address in the console")
    day.company.bot(BOT, name=BOT_NAME, token=day.bot.token, aes_key=day.bot.aes_key, callback_url=_callback_url(desk))
    day.company.verify(bot=BOT)
    desk.go(day.paths["bot"])
    desk.sees("accepted")


def add_the_app(day: Day) -> None:
    desk = day.desk
    desk.go(f"{ADMIN}/accounts/channelaccount/add/?kind=wecom_app")
    known = {"name": "Company app", "corp_id": CORP, "agent_id": str(AGENT), "api_base_url": day.company.url}
    desk.fill(**known, secret=day.app.secret, token=day.app.token, encoding_aes_key="too short")
    desk.press("Save")
    desk.sees("43 characters")
    desk.fill(secret=day.app.secret, token=day.app.token, encoding_aes_key=day.app.aes_key)
    desk.press("Save")
    day.here("app")
    keys = {"secret": day.app.secret, "token": day.app.token, "aes_key": day.app.aes_key}
    day.company.app(AGENT, corpid=CORP, name="Company app", callback_url=_callback_url(desk), **keys)
    day.company.verify(app=AGENT)
    desk.press("Test")
    desk.sees("working", "accepted")


def _callback_url(desk: Desk) -> str:
    return desk.page.locator("#callback-url").inner_text()


def add_the_gateway(day: Day) -> None:
    desk = day.desk
    desk.go(f"{ADMIN}/openclaw/gateway/add/")
    desk.fill(name="OpenClaw", base_url=day.env["DEMO_GATEWAY_URL"], token="not-the-token")
    desk.press("Save")
    day.here("gateway")
    desk.press("Test")
    desk.sees("The gateway refused the token", "bad_token", "stopped – action required")
    desk.fill(token=day.env["DEMO_GATEWAY_TOKEN"])
    desk.press("Save and continue editing")
    desk.press("Test")
    desk.sees("It answers over", "2 agents", "working", "support")


def a_group_speaks_before_anybody_answers(day: Day) -> None:
    for userid, name in MEMBERS.items():
        day.company.member(userid, name)
    day.company.group(GROUP, GROUP_NAME, members=list(MEMBERS))
    day.company.say("这周的发布计划谁来写？", bot=BOT, from_="zhangsan", chat=GROUP)
    day.desk.find(f"{ADMIN}/bridge/conversation/", GROUP)
    day.desk.follow(GROUP)
    day.here("group")
    day.desk.sees("这周的发布计划谁来写？", "skipped", "no mapping for this group or person", "Nobody answers")
    day.desk.fill(title=GROUP_NAME)
    day.desk.press("Save")
    day.desk.sees("The title is saved.")


def map_the_group(day: Day) -> None:
    desk = day.desk
    desk.follow("Map this group")
    given = {name: desk.page.locator(f"[name={name}]").input_value() for name in ("peer_kind", "peer_id")}
    assert given == {"peer_kind": "group", "peer_id": GROUP}
    desk.fill(gateway="OpenClaw", agent_id="support")
    desk.press("Save")
    desk.sees("can now be replayed")
    desk.follow(GROUP_NAME)
    day.here("mapping")


def replay_what_was_skipped(day: Day) -> None:
    desk = day.desk
    desk.go(f"{ADMIN}/bridge/delivery/?state__exact=skipped&reason__exact=no_route")
    desk.page.get_by_role("row").filter(has_text="发布计划").get_by_role("checkbox").check()
    desk.page.locator("select[name=action]").select_option(label="Replay…")
    desk.press("Run")
    desk.sees("1 delivery will be queued again", "goes to an agent again")
    desk.press("Replay 1")
    desk.sees("1 delivery is queued again.")


def the_replayed_question_is_answered(day: Day) -> None:
    """Some seconds later, for nobody polls the stream of that question any more: it goes by the response_url."""
    day.members_see(GROUP, "这周的发布计划谁来写？")
    day.desk.go(day.paths["group"])
    day.desk.sees("delivered", "收到")


def an_answer_grows_in_the_group(day: Day) -> None:
    said = day.company.say("帮我列出今天要做的事 !slow=3", bot=BOT, from_="lisi", chat=GROUP)
    begun = day.company.wait_for(lambda: [e for e in day.company.answers(said) if "收到" in e["text"]])[0]
    assert begun["streaming"]
    whole = day.company.wait_answer(said)["text"]
    assert whole.startswith(begun["text"])
    day.desk.sees("帮我列出今天要做的事", whole)  # the page that is open asks for news by itself
    assert day.desk.page.url.endswith(day.paths["group"])


def one_to_one_by_the_app(day: Day) -> None:
    desk = day.desk
    desk.go(f"{ADMIN}/bridge/route/add/")
    desk.fill(account="Company app", peer_kind="person", gateway="OpenClaw", agent_id="main")
    desk.press("Save")
    said = day.company.say("你好，请问周报什么时候交？", app=AGENT, from_="lisi")
    day.paths["direct chat"] = said["chat"]
    day.members_see(said["chat"], "周报什么时候交")
    desk.find(f"{ADMIN}/bridge/conversation/", "李四")
    desk.follow("李四")
    day.here("person")
    desk.sees("你好，请问周报什么时候交？", "delivered")


def a_message_of_staff_dies(day: Day) -> None:
    desk = day.desk
    day.company.fault("message/send", "errcode", times=0, errcode=NOBODY, errmsg="user & party & tag all invalid")
    desk.go(day.paths["person"])
    desk.press("Send")
    desk.sees("Write something, or choose a file.")
    desk.fill(text="您的报表好了，请查收。")
    desk.press("Send")
    desk.sees("您的报表好了，请查收。", "failed", "rejected (permanent)")
    desk.go(DEAD_LETTERS)
    desk.sees("Dead letters by cause", "rejected (permanent)", str(NOBODY), "您的报表好了，请查收。")
    assert desk.page.get_by_role("link", name="Dead letters").inner_text().split()[-1] == "1"
    desk.page.get_by_role("link", name="您的报表好了，请查收。").click()
    desk.sees(str(NOBODY), "outside the app's visible scope", "Attempts")
    day.here("dead")


def replay_what_died(day: Day) -> None:
    desk = day.desk
    day.company.clear_faults()
    desk.press("Replay…")
    desk.sees("1 delivery will be queued again")
    desk.press("Replay 1")
    desk.sees("1 delivery is queued again.", "replayed once")
    day.members_see(day.paths["direct chat"], "您的报表好了，请查收。")
    desk.find(day.paths["dead"], "delivered")
    desk.go(DEAD_LETTERS)
    desk.sees("No open failures.")


def pause_and_resume(day: Day) -> None:
    desk = day.desk
    desk.go(day.paths["person"])
    desk.press("Pause")
    desk.sees("Paused. New messages are stored but not answered.")
    day.company.say("有人在吗？", app=AGENT, from_="lisi")
    desk.sees("有人在吗？", "the conversation is paused")
    desk.press("Resume")
    desk.press("Ask none")
    desk.sees("The agent answers again.")
    said = day.company.say("现在呢？", app=AGENT, from_="lisi")
    day.members_see(said["chat"], "现在呢？")
    desk.sees("收到：现在呢？")


def a_new_session(day: Day) -> None:
    day.desk.page.once("dialog", lambda dialog: dialog.accept())
    day.desk.press("Start a new session")
    day.desk.sees("A new session has started: the agent remembers nothing of the messages before.")


def which_agent(day: Day) -> None:
    day.desk.go(day.paths["group"])
    day.desk.follow("Test routing")
    day.desk.fill(sender="zhangsan", text=f"@{BOT_NAME} 你好")
    day.desk.press("Test")
    day.desk.sees("This agent gets it: support", "The agent reads:")
    day.desk.fill(peer_id="wrSomebodyElse")
    day.desk.press("Test")
    day.desk.sees("No agent gets it", "No mapping fits this group or person.")


STEPS: list[Callable[[Day], None]] = [
    log_in,
    add_the_bot,
    add_the_app,
    add_the_gateway,
    a_group_speaks_before_anybody_answers,
    map_the_group,
    replay_what_was_skipped,
    one_to_one_by_the_app,
    a_message_of_staff_dies,
    replay_what_died,
    pause_and_resume,
    a_new_session,
    the_replayed_question_is_answered,
    an_answer_grows_in_the_group,
    which_agent,
]
