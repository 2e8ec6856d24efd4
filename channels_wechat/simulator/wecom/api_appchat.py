"""appchat: groups made by the app (facts: wecom.md 4). The app writes there and never hears."""

import re
import secrets

from channels_wechat.simulator.core.calls import Answer
from channels_wechat.simulator.core.content import show
from channels_wechat.simulator.core.errors import PlatformError
from channels_wechat.simulator.wecom.calls import Call, Endpoint
from channels_wechat.simulator.wecom.checks import APPCHAT, Context, check_message
from channels_wechat.simulator.wecom.company import Group

CHATID = re.compile(r"[0-9a-zA-Z]{1,32}")


def check_scope(call: Call) -> None:
    if call.account.members is not None:
        raise PlatformError(60011, "no privilege: the app's visible scope must be the root department")


def check_users(call: Call, userids: list[str]) -> list[str]:
    for userid in userids:
        if call.platform.company.member(userid) is None:
            raise PlatformError(86003, f"invalid chat member: {userid}")
    return userids


def check_name(name: str) -> str:
    if len(name) > 50:
        raise PlatformError(86004, "chat name exceeds 50 characters")
    return name


def check_size(count: int) -> None:
    if not 2 <= count <= 2000:
        raise PlatformError(86006, "a chat has 2 to 2000 members")


def own_group(call: Call, chatid: str) -> Group:
    group = call.platform.company.groups.get(chatid)
    if group is None:
        raise PlatformError(40050, "chatid does not exist")
    if group.creator != call.account.agentid:
        raise PlatformError(86008, "chat was not created by this app")
    return group


async def create(call: Call) -> Answer:
    check_scope(call)
    chatid = str(call.body.get("chatid") or secrets.token_hex(16))
    if not CHATID.fullmatch(chatid):
        raise PlatformError(86001, "invalid chatid")
    if chatid in call.platform.company.groups:
        raise PlatformError(86005, "chatid exists")
    users = check_users(call, list(call.body.get("userlist") or []))
    check_size(len(users))
    owner = str(call.body.get("owner") or users[0])
    if owner not in users:
        raise PlatformError(86207, "owner is not in userlist")
    name = check_name(str(call.body.get("name") or ""))
    call.platform.company.groups[chatid] = Group(chatid, name, owner, users, call.account.agentid)
    return {"chatid": chatid}


async def update(call: Call) -> Answer:
    check_scope(call)
    group = own_group(call, str(call.body.get("chatid")))
    added = check_users(call, list(call.body.get("add_user_list") or []))
    removed = call.body.get("del_user_list") or []
    members = [u for u in dict.fromkeys(group.members + added) if u not in removed]
    check_size(len(members))
    owner = str(call.body.get("owner") or group.owner)
    if owner not in members:
        raise PlatformError(86207, "owner is not in the chat")
    group.name = check_name(str(call.body.get("name") or group.name))
    group.owner, group.members = owner, members
    return {}


async def get(call: Call) -> Answer:
    check_scope(call)
    group = own_group(call, call.query("chatid"))
    info = {"chatid": group.chatid, "name": group.name, "owner": group.owner, "userlist": group.members}
    return {"chat_info": info}


async def send(call: Call) -> Answer:
    """Excess over 200 a minute per member is dropped without an error; one window per group stands for its members."""
    check_scope(call)
    group = own_group(call, str(call.body.get("chatid")))
    msgtype, content = check_message(call.body, Context(call.world, surface=APPCHAT))
    most = call.world.settings.appchat_member_per_minute
    if not call.platform.windows.take(f"{call.account.id} {group.chatid}", (most, 60.0)):
        call.world.record.counters["dropped"] += 1
        return {}
    text, data = show(call.world, msgtype, content)
    call.world.add(group.chatid, call.account.id, msgtype, text=text, data=data, via="appchat/send")
    return {}


def endpoints() -> dict[str, Endpoint]:
    return {
        "appchat/create": Endpoint("POST", create),
        "appchat/update": Endpoint("POST", update),
        "appchat/get": Endpoint("GET", get),
        "appchat/send": Endpoint("POST", send),
    }
