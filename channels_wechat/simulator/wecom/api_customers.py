"""externalcontact: customers, their groups, and the welcome of a new customer (facts: wecom.md 8.2; batch/get_by_user: page 92994).

A permission is withdrawn by the app's field `refused`: path → errcode.
"""

import secrets

from channels_wechat.simulator.core.calls import Answer
from channels_wechat.simulator.core.errors import PlatformError
from channels_wechat.simulator.core.state import JSON
from channels_wechat.simulator.wecom.calls import Call, Endpoint
from channels_wechat.simulator.wecom.customers import Customer, CustomerGroup, chat_of

PAGE = 100
GROUPS = 1000
WELCOME_BYTES = 4000


def visible_ids(call: Call) -> list[str]:
    return [member.userid for member in call.platform.company.visible(call.account)]


def following(customer: Customer, call: Call) -> list[str]:
    """The members in the app's sight who know the customer."""
    seen = set(visible_ids(call))
    return [userid for userid in customer.followers if userid in seen]


def describe(customer: Customer) -> JSON:
    found: JSON = {
        "external_userid": customer.external_userid,
        "name": customer.name,
        "type": customer.type,
        "gender": 0,
    }
    return found | {"avatar": "http://wx.qlogo.cn/mmhead/0"}


def follow_info(customer: Customer, userid: str) -> JSON:
    return {
        "userid": userid,
        "remark": customer.followers[userid],
        "description": "",
        "createtime": 1525779812,
        "add_way": 1,
    }


def page_of(rows: list[JSON], call: Call, limit: int) -> tuple[list[JSON], str]:
    """So many rows from the cursor on, and the next cursor."""
    given = str(call.body.get("cursor") or "")
    if given and not given.startswith("CURSOR-"):
        raise PlatformError(40035, "invalid cursor")
    start = int(given.removeprefix("CURSOR-") or 0)
    following_page = f"CURSOR-{start + limit}" if start + limit < len(rows) else ""
    return rows[start : start + limit], following_page


def limit_of(call: Call, most: int) -> int:
    limit = int(call.body.get("limit") or most)
    if not 1 <= limit <= most:
        raise PlatformError(40035, f"limit must be 1 to {most}")
    return min(limit, call.world.settings.directory_page or limit)


async def get_follow_user_list(call: Call) -> Answer:
    known = {userid for customer in call.platform.company.customers.values() for userid in customer.followers}
    return {"follow_user": [userid for userid in visible_ids(call) if userid in known]}


async def list_customers(call: Call) -> Answer:
    userid = call.query("userid")
    found = [one.external_userid for one in call.platform.company.customers.values() if userid in following(one, call)]
    if not found:
        raise PlatformError(84061, "not external contact")
    return {"external_userid": found}


async def get(call: Call) -> Answer:
    customer = call.platform.company.customers.get(call.query("external_userid"))
    if customer is None:
        raise PlatformError(40096, "invalid external userid")
    followers = following(customer, call)
    if not followers:
        raise PlatformError(84061, "not external contact")
    return {"external_contact": describe(customer), "follow_user": [follow_info(customer, one) for one in followers]}


async def get_by_user(call: Call) -> Answer:
    userids = list(call.body.get("userid_list") or [])
    if not 1 <= len(userids) <= 100:
        raise PlatformError(40058, "userid_list must have 1 to 100 ids")
    rows = [
        {"external_contact": describe(customer), "follow_info": follow_info(customer, userid)}
        for customer in call.platform.company.customers.values()
        for userid in following(customer, call)
        if userid in userids
    ]
    if not rows:
        raise PlatformError(84061, "not external contact")
    shown, next_cursor = page_of(rows, call, limit_of(call, PAGE))
    return {"external_contact_list": shown, "next_cursor": next_cursor}


async def list_groups(call: Call) -> Answer:
    groups = call.platform.company.customer_groups.values()
    rows = [{"chat_id": group.chat_id, "status": group.status} for group in groups]
    shown, next_cursor = page_of(rows, call, limit_of(call, GROUPS))
    return {"group_chat_list": shown} | ({"next_cursor": next_cursor} if next_cursor else {})


async def get_group(call: Call) -> Answer:
    group = call.platform.company.customer_groups.get(str(call.body.get("chat_id")))
    if group is None:
        raise PlatformError(40050, "chatid does not exist")
    members = [group_member(call, group, one) for one in group.members]
    facts = {"chat_id": group.chat_id, "name": group.name, "owner": group.owner, "create_time": 1572505490}
    return {"group_chat": facts | {"notice": "", "member_list": members, "admin_list": []}}


def group_member(call: Call, group: CustomerGroup, userid: str) -> JSON:
    """The name is told only to who asks for it by need_name."""
    company = call.platform.company
    member, customer = company.member(userid), company.customers.get(userid)
    found: JSON = {"userid": userid, "type": 1 if member else 2, "join_time": 1572505491, "join_scene": 1}
    person = member or customer
    return found | ({"name": person.name} if person and call.body.get("need_name") == 1 else {})


async def send_welcome_msg(call: Call) -> Answer:
    """Once for each code, within 20 seconds of the event."""
    code = call.platform.company.welcome_codes.get(str(call.body.get("welcome_code")))
    if code is None or call.world.now() > code.expires:
        raise PlatformError(40058, "welcome_code is not valid or too old")
    if code.spent:
        raise PlatformError(41051, "externaluser has started chatting")
    text = str((call.body.get("text") or {}).get("content", ""))
    if not text and not call.body.get("attachments"):
        raise PlatformError(40063, "text or attachments needed")
    if len(text.encode()) > WELCOME_BYTES:
        raise PlatformError(45002, "content size out of limit")
    code.spent = True
    chat = chat_of(code.external_userid)
    call.world.add(chat, code.userid, "text", text=text, via="externalcontact/send_welcome_msg")
    return {}


ATTACHMENTS = ("image", "link", "miniprogram", "video", "file")
MOST_ATTACHMENTS = 9


async def add_msg_template(call: Call) -> Answer:
    """Nothing is shown to anybody: the member would have to confirm it (fail_list: recipients whom the member does not reach)."""
    body, company = call.body, call.platform.company
    to_groups = body.get("chat_type", "single") == "group"
    sender = company.member(str(body.get("sender")))
    if sender is None or sender not in company.visible(call.account):
        raise PlatformError(60111, "invalid sender")
    named = list(body.get("chat_id_list" if to_groups else "external_userid") or [])
    check_mass_content(call)
    known = [one for one in named if can_be_reached(call, one, sender.userid, to_groups=to_groups)]
    if not known:
        raise PlatformError(84061, "not external contact")
    return {"fail_list": [one for one in named if one not in known], "msgid": f"msg{secrets.token_hex(12)}"}


def can_be_reached(call: Call, recipient: str, sender: str, *, to_groups: bool) -> bool:
    company = call.platform.company
    if to_groups:
        group = company.customer_groups.get(recipient)
        return group is not None and group.owner == sender
    customer = company.customers.get(recipient)
    return customer is not None and sender in customer.followers


def check_mass_content(call: Call) -> None:
    attachments = call.body.get("attachments") or []
    text = str((call.body.get("text") or {}).get("content", ""))
    if not text and not attachments:
        raise PlatformError(40063, "text or attachments needed")
    if len(text.encode()) > WELCOME_BYTES:
        raise PlatformError(45002, "content size out of limit")
    if len(attachments) > MOST_ATTACHMENTS or any(one.get("msgtype") not in ATTACHMENTS for one in attachments):
        raise PlatformError(40035, "invalid attachments")
    for one in attachments:
        media_id = one[one["msgtype"]].get("media_id")
        if one["msgtype"] in ("image", "video", "file") and call.world.find_media(str(media_id)) is None:
            raise PlatformError(40007, "invalid media_id")


def endpoints() -> dict[str, Endpoint]:
    return {
        "externalcontact/get_follow_user_list": Endpoint("GET", get_follow_user_list),
        "externalcontact/list": Endpoint("GET", list_customers),
        "externalcontact/get": Endpoint("GET", get),
        "externalcontact/batch/get_by_user": Endpoint("POST", get_by_user),
        "externalcontact/groupchat/list": Endpoint("POST", list_groups),
        "externalcontact/groupchat/get": Endpoint("POST", get_group),
        "externalcontact/add_msg_template": Endpoint("POST", add_msg_template),
        "externalcontact/send_welcome_msg": Endpoint("POST", send_welcome_msg),
    }
