"""gettoken (facts: wecom.md 1)."""

from channels_wechat.simulator.core.calls import Answer
from channels_wechat.simulator.core.errors import PlatformError
from channels_wechat.simulator.wecom.calls import Call, Endpoint


async def gettoken(call: Call) -> Answer:
    corpid, secret = call.query("corpid"), call.query("corpsecret")
    apps = [app for app in call.platform.company.apps.values() if app.corpid == corpid]
    if not apps:
        raise PlatformError(40013, "invalid corpid")
    app = next((app for app in apps if app.secret and app.secret == secret), None)
    if app is None:
        call.world.record.counters["wrong_secrets"] += 1
        raise PlatformError(40001, "invalid credential")
    text, seconds = call.platform.tokens.issue(app)
    call.world.record.counters["token_requests"] += 1
    return {"access_token": text, "expires_in": seconds}


def endpoints() -> dict[str, Endpoint]:
    return {"gettoken": Endpoint("GET", gettoken, needs_token=False)}
