"""The README's pictures: `python -m tests.browser.pictures` writes docs/images/conversation.png and dashboard.png again.

The pages are the real ones of a running bridge; what was said in it is written straight into its tables, because the stand-in agent only
repeats what it hears.
"""

from __future__ import annotations

import sys
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from bridge.runtime.launcher.launch import BASE_DIR
from tests.acceptance.stage import Stage, stage
from tests.browser.desk import Desk, chromium
from tests.support import factories

if TYPE_CHECKING:
    from bridge.models import Conversation, Message

FOLDER = BASE_DIR / "docs" / "images"
MOST_BYTES = 150_000
GROUP = "wrDemoGroup01"
# Seconds ago, who (nobody: the agent answers the message before), text, state and reason of the delivery.
TALK = (
    (840, "zhangsan", "本周的发布计划整理好了吗？", "delivered", ""),
    (832, "", "整理好了，一共三项：\n1. 周二　支付页改版，先灰度 10%\n2. 周四　会员日活动页上线\n3. 周五　数据看板 2.0", "delivered", ""),
    (240, "lisi", "支付页还有几个问题没有关闭？", "delivered", ""),
    (229, "", "还有两个：退款金额多显示一位小数；iOS 上返回键偶尔无效。负责人都是王五，今天下班前修复。", "dead", "tries_spent"),
)  # fmt: skip


def scenario(running: Stage) -> bool:
    """In the thread beside the supervisor. True when both pictures are small enough."""
    conversation = fill(running)
    FOLDER.mkdir(parents=True, exist_ok=True)
    with chromium() as browser:
        desk = Desk(browser, running.plan.web)
        desk.log_in("admin", running.plan.env["ADMIN_PASSWORD"])
        desk.find("/admin/", "working")
        sizes = [picture(desk, "dashboard", "/admin/", 700)]
        sizes += [picture(desk, "conversation", f"/admin/bridge/conversation/{conversation.pk}/change/", 760)]
    return all(size < MOST_BYTES for size in sizes)


def picture(desk: Desk, name: str, path: str, height: int) -> int:
    """Its size in bytes."""
    desk.page.set_viewport_size({"width": 1280, "height": height})
    desk.go(path)
    file = FOLDER / f"{name}.png"
    desk.page.screenshot(path=file, animations="disabled")
    sys.stdout.write(f"{file.relative_to(BASE_DIR)}: {file.stat().st_size} bytes\n")
    return file.stat().st_size


def fill(running: Stage) -> Conversation:
    """The demo's accounts, a conversation in its group, and a day's messages."""
    from accounts.health import Health
    from bridge.demo import world as demo
    from bridge.models import Contact, Conversation

    env = running.plan.env
    world = demo.build_from(env)
    for account, name in ((world.bot, "小助手 (AI bot)"), (world.app, "Company app")):
        account.set_state(Health.OK)
        type(account).objects.filter(pk=account.pk).update(name=name)
        for member, called in demo.MEMBERS.items():
            Contact.objects.update_or_create(account=account, external_id=member, defaults={"name": called})
    group = Conversation.objects.get(account=world.bot, peer_id=GROUP)
    person = factories.conversation(world.app, "lisi")
    a_day(person)
    talk(group)
    return group


def talk(group: Conversation) -> None:
    from django.utils import timezone

    from bridge.models import Conversation

    now = timezone.now()
    question = None
    for ago, sender, text, state, reason in TALK:
        said = say(
            group, now - timedelta(seconds=ago), sender, text, state, reason, reply_to=None if sender else question
        )
        question = said if sender else question
    question.reply_address, question.reply_until = "https://qyapi.weixin.qq.com/", now + timedelta(minutes=50)
    question.save(update_fields=["reply_address", "reply_until"])
    Conversation.objects.filter(pk=group.pk).update(last_inbound_at=now - timedelta(seconds=240))


def a_day(person: Conversation) -> None:
    """Questions and answers since midnight, as many as an office asks by the hour."""
    from django.utils import timezone

    now = timezone.localtime()
    for hour in range(now.hour + 1):
        for number in range((1, 0, 0, 0, 0, 0, 1, 3, 9, 14, 17, 12, 6, 11, 15, 16, 13, 9, 5, 4, 3, 2, 2, 1)[hour]):
            at = now.replace(hour=hour, minute=0, second=0) + timedelta(minutes=3 * number)
            if at < now:
                say(person, at, "lisi", "请问周报什么时候交？", "delivered", "")
                say(person, at + timedelta(seconds=4), "", "周五下午五点前。", "delivered", "")


def say(where: Conversation, at: datetime, sender: str, text: str, state: str, reason: str, **more: Any) -> Message:
    from bridge.models import Delivery, Message
    from tests.support import factories

    direction = {} if sender else {"direction": "out", "source": "agent"}
    key = f"{where.pk}-{at.isoformat()}-{sender}"
    said = factories.message(where, text, key, sender=sender, routed_at=at, **direction, **more)
    delivery = factories.delivery(said, state, reason, tries=1, finished_at=at)
    Message.objects.filter(pk=said.pk).update(created_at=at)
    Delivery.objects.filter(pk=delivery.pk).update(created_at=at, queued_at=at)
    return said


def afternoon() -> str:
    """A time zone in which it is between four and five, so that the dashboard's day has something to show."""
    ahead = (16 - datetime.now(UTC).hour + 11) % 24 - 11
    return f"Etc/GMT{-ahead:+d}"  # POSIX: what is east of Greenwich has a minus


def main() -> int:
    with stage(TIME_ZONE=afternoon()) as running:
        return 0 if running.play(lambda: scenario(running)) else 1


if __name__ == "__main__":
    sys.exit(main())
