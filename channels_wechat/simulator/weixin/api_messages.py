"""Customer-service messages, the typing indicator and what an account may know of a follower (facts: official_account.md 3, 7)."""

from channels_wechat.simulator.core.calls import Answer
from channels_wechat.simulator.core.errors import PlatformError
from channels_wechat.simulator.weixin.accounts import OfficialAccount, Person
from channels_wechat.simulator.weixin.calls import Call, Endpoint
from channels_wechat.simulator.weixin.content_checks import check_content, labelled, show
from channels_wechat.simulator.weixin.world import single_chat


def recipient(call: Call, name: str = "touser") -> Person:
    person = call.platform.weixin.person(call.account, call.body.get(name))
    if person is None:
        raise PlatformError(40003, "invalid openid")
    return person


async def send(call: Call) -> Answer:
    """Only a message that is accepted uses up one of the window."""
    account, world, person = call.account, call.world, recipient(call)
    msgtype, content = check_content(world, account, call.body)
    ai = labelled(account, call.body)
    if isinstance(account, OfficialAccount) and not person.subscribed:
        raise PlatformError(45015, "response out of time limit or subscription is canceled")
    standing = call.platform.weixin.standing(person)
    standing.take(world.now())
    standing.typing_until = 0
    text, data = show(world, msgtype, content)
    data |= {"ai": True} if ai else {}
    world.add(single_chat(account, person.openid), account.id, msgtype, text=text, data=data, via="message/custom/send")
    return {}


async def typing(call: Call) -> Answer:
    world, standing = call.world, call.platform.weixin.standing(recipient(call))
    command, now = call.body.get("command"), call.world.now()
    if command not in ("Typing", "CancelTyping"):
        raise PlatformError(45072, "command field only can be Typing or CancelTyping")
    if now - standing.seen > world.settings.interaction_seconds:
        raise PlatformError(45080, "no message from the user in the last 30 seconds")
    if command == "CancelTyping":
        standing.typing_until = 0
        return {}
    if now < standing.typing_until:
        raise PlatformError(45081, "already typing, please try again later")
    standing.typing_until = now + world.settings.typing_seconds
    return {}


async def user_info(call: Call) -> Answer:
    """Since 2021 without a name: `subscribe` 0 comes with the openid alone."""
    person = call.platform.weixin.person(call.account, call.query("openid"))
    if person is None:
        raise PlatformError(40003, "invalid openid")
    if not person.subscribed:
        return {"subscribe": 0, "openid": person.openid, "tagid_list": []}
    blank = {"nickname": "", "sex": 0, "city": "", "province": "", "country": "", "headimgurl": ""}
    return blank | {
        "subscribe": 1,
        "openid": person.openid,
        "language": "zh_CN",
        "subscribe_time": int(call.world.now()),
        "remark": person.remark,
        "groupid": 0,
        "tagid_list": [],
        "subscribe_scene": "ADD_SCENE_QR_CODE",
        "qr_scene": 0,
        "qr_scene_str": "",
    }


def endpoints() -> dict[str, Endpoint]:
    return {
        "message/custom/send": Endpoint("POST", send),
        "message/custom/typing": Endpoint("POST", typing),
        "user/info": Endpoint("GET", user_info, bare=True),
    }
