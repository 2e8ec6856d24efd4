"""access_token (facts: wecom.md 1): the same one while it is valid, a new one only after expiry or invalidation."""

import secrets
from dataclasses import dataclass

from channels_wechat.simulator.core.errors import PlatformError
from channels_wechat.simulator.core.state import World
from channels_wechat.simulator.wecom.company import App


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
