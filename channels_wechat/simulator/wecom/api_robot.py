"""Group robots by webhook (facts: wecom.md 5): the key in the URL is all there is."""

from channels_wechat.simulator.core.calls import Answer
from channels_wechat.simulator.core.content import show
from channels_wechat.simulator.core.errors import PlatformError
from channels_wechat.simulator.wecom import api_media
from channels_wechat.simulator.wecom.calls import Call, Endpoint
from channels_wechat.simulator.wecom.checks import WEBHOOK, Context, check_message
from channels_wechat.simulator.wecom.company import Robot


def find(call: Call) -> Robot:
    robot = call.platform.company.robots.get(call.query("key"))
    if robot is None:
        raise PlatformError(93000, "invalid webhook url")
    return robot


async def send(call: Call) -> Answer:
    """Refused calls count towards the 20 a minute too."""
    robot = find(call)
    if not call.platform.windows.take(f"robot:{robot.key}", (call.world.settings.robot_per_minute, 60.0)):
        raise PlatformError(45009, "api freq out of limit")
    msgtype, content = check_message(call.body, Context(call.world, robot.key, WEBHOOK))
    text, data = show(call.world, msgtype, content)
    call.world.add(robot.chat, f"robot:{robot.name}", msgtype, text=text, data=data, via="webhook")
    return {}


async def upload_media(call: Call) -> Answer:
    return await api_media.store(call, ("file", "voice"), owner=find(call).key)


def endpoints() -> dict[str, Endpoint]:
    return {
        "webhook/send": Endpoint("POST", send, needs_token=False),
        "webhook/upload_media": Endpoint("POST", upload_media, needs_token=False, json_body=False),
    }
