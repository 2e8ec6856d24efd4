"""Members, departments and the app itself, as far as an app's token sees them (facts: wecom.md 6, 8.1; agent/get: page 90227)."""

from channels_wechat.simulator.core.calls import Answer
from channels_wechat.simulator.core.errors import PlatformError
from channels_wechat.simulator.core.state import JSON
from channels_wechat.simulator.wecom.calls import Call, Endpoint
from channels_wechat.simulator.wecom.company import Member

ROOT = 1


def facts(member: Member) -> JSON:
    return {"userid": member.userid, "name": member.name, "department": member.department}


async def user_get(call: Call) -> Answer:
    member = call.platform.company.member(call.query("userid"))
    if member is None:
        raise PlatformError(60111, "userid not found")
    if member not in call.platform.company.visible(call.account):
        raise PlatformError(60011, "no privilege to access this member")
    return facts(member) | {"main_department": member.department[0], "status": 1, "position": "", "alias": ""}


async def simplelist(call: Call) -> Answer:
    number = department(call)
    members = [m for m in call.platform.company.visible(call.account) if number in (ROOT, *m.department)]
    return {"userlist": [facts(m) | {"open_userid": m.open_userid} for m in members]}


def department(call: Call) -> int:
    name = "department_id" if "department_id" in call.request.query else "id"
    text = call.query(name) or str(ROOT)
    if not text.isdigit() or int(text) not in departments(call):
        raise PlatformError(60003, "department not found")
    return int(text)


def departments(call: Call) -> set[int]:
    return {ROOT}.union(*(member.department for member in call.platform.company.members.values()))


async def department_list(call: Call) -> Answer:
    number = department(call)
    found = sorted(departments(call)) if number == ROOT else [number]
    names = {ROOT: "模拟公司"}
    listed = [
        {"id": n, "name": names.get(n, f"部门{n}"), "name_en": "", "parentid": 0 if n == ROOT else ROOT, "order": n}
        for n in found
    ]
    return {"department": listed}


async def department_simplelist(call: Call) -> Answer:
    found = (await department_list(call))["department"]
    return {"department_id": [{name: row[name] for name in ("id", "parentid", "order")} for row in found]}


async def openuserid_to_userid(call: Call) -> Answer:
    wanted = call.body.get("open_userid_list") or []
    if not wanted or len(wanted) > 1000:
        raise PlatformError(40058, "open_userid_list must have 1 to 1000 ids")
    by_open = {m.open_userid: m.userid for m in call.platform.company.visible(call.account)}
    found = [{"open_userid": w, "userid": by_open[w]} for w in wanted if w in by_open]
    return {"userid_list": found, "invalid_open_userid_list": [w for w in wanted if w not in by_open]}


async def agent_get(call: Call) -> Answer:
    """An app may ask about itself only: 301002 for another agentid."""
    if call.query("agentid") != str(call.account.agentid):
        raise PlatformError(301002, "not allow operate another agent with this accesstoken")
    return {"agentid": call.account.agentid, "name": call.account.name, "close": 0}


def endpoints() -> dict[str, Endpoint]:
    return {
        "agent/get": Endpoint("GET", agent_get),
        "user/get": Endpoint("GET", user_get),
        "user/simplelist": Endpoint("GET", simplelist),
        "department/list": Endpoint("GET", department_list),
        "department/simplelist": Endpoint("GET", department_simplelist),
        "batch/openuserid_to_userid": Endpoint("POST", openuserid_to_userid),
    }
