"""access_token (facts: wecom.md 1): the same one while it is valid, a new one only after expiry or invalidation."""

import secrets
from dataclasses import dataclass
from typing import TYPE_CHECKING

from channels_wechat.simulator.core.errors import PlatformError
from channels_wechat.simulator.core.state import App, World

if TYPE_CHECKING:
    from channels_wechat.simulator.core.calls import Answer, Call


@dataclass
class Token:
    app: App
    expires: float
    valid: bool = True


class Tokens:
    def __init__(self, world: World) -> None:
        self._world = world
        self._all: dict[str, Token] = {}
        self._current: dict[int, str] = {}

    def check(self, text: str) -> App:
        if not text:
            raise PlatformError(41001, "access_token missing")
        token = self._all.get(text)
        if token is None or not token.valid:
            raise PlatformError(40014, "invalid access_token")
        if token.expires <= self._world.now():
            raise PlatformError(42001, "access_token expired")
        return token.app

    def issue(self, app: App) -> tuple[str, int]:
        """The token and the whole seconds it has left."""
        text = self._current.get(app.agentid, "")
        token = self._all.get(text)
        if token is None or not token.valid or token.expires <= self._world.now():
            text = secrets.token_urlsafe(96)
            token = Token(app, self._world.now() + self._world.settings.token_ttl)
            self._all[text] = token
            self._current[app.agentid] = text
            self._world.record.counters["tokens_issued"] += 1
        return text, int(token.expires - self._world.now())

    def invalidate(self, app: App) -> None:
        """The platform took the token back before its time: 40014 from now on."""
        if token := self._all.get(self._current.get(app.agentid, "")):
            token.valid = False
            self._world.record.counters["tokens_invalidated"] += 1

    def expire(self, app: App) -> None:
        """Its time is over: 42001 from now on."""
        if token := self._all.get(self._current.get(app.agentid, "")):
            token.expires = self._world.now()


async def gettoken(call: "Call") -> "Answer":
    corpid, secret = call.query("corpid"), call.query("corpsecret")
    apps = [app for app in call.world.apps.values() if app.corpid == corpid]
    if not apps:
        raise PlatformError(40013, "invalid corpid")
    app = next((app for app in apps if app.secret and app.secret == secret), None)
    if app is None:
        call.world.record.counters["wrong_secrets"] += 1
        raise PlatformError(40001, "invalid credential")
    text, seconds = call.platform.tokens.issue(app)
    call.world.record.counters["token_requests"] += 1
    return {"access_token": text, "expires_in": seconds}
