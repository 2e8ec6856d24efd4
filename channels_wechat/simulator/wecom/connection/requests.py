"""What a bot may answer: each callback's req_id with its chat, its kind and its streams (facts: wecom.md 6.2)."""

from dataclasses import dataclass, field

from channels_wechat.simulator.core.errors import PlatformError
from channels_wechat.simulator.core.recent import Recent
from channels_wechat.simulator.core.record import StreamState
from channels_wechat.simulator.core.state import Entry
from channels_wechat.simulator.wecom.company import Bot, Company

KEEP = 50_000
INVALID_REQ_ID = 846605
STREAM_EXPIRED = 846608


@dataclass
class Stream:
    """One answer that grows. `began`: when its first frame came."""

    entry: Entry
    state: StreamState
    began: float


@dataclass
class Request:
    """One callback over the connection. `kind`: "message", or the name of the event."""

    bot: Bot
    chat: str
    msgid: str
    kind: str
    at: float
    card: Entry | None = None  # what a template_card_event was about
    spent: bool = False  # an event is answered once
    streams: dict[str, Stream] = field(default_factory=dict)


class Requests:
    def __init__(self, company: Company) -> None:
        self.world = company.world
        self._by_req_id: Recent[str, Request] = Recent(KEEP)

    def add(self, req_id: str, request: Request) -> None:
        self._by_req_id[req_id] = request

    def message(self, bot: Bot, req_id: str) -> Request:
        """Return what a message's req_id stands for: good for 24 hours, and never an event's."""
        return self._find(bot, req_id, "message", self.world.settings.req_id_seconds)

    def event(self, bot: Bot, req_id: str, kind: str) -> Request:
        """Return what an event's req_id stands for: good for 5 seconds and one answer."""
        request = self._find(bot, req_id, kind, self.world.settings.event_reply_seconds)
        if request.spent:
            raise PlatformError(INVALID_REQ_ID, "invalid req_id: the event was answered")
        return request

    def _find(self, bot: Bot, req_id: str, kind: str, seconds: float) -> Request:
        request = self._by_req_id.get(req_id)
        if request is None or request.bot is not bot:
            raise PlatformError(INVALID_REQ_ID, "invalid req_id")
        if request.kind != kind:
            raise PlatformError(INVALID_REQ_ID, f"invalid req_id: it is of {request.kind}")
        if self.world.now() - request.at > seconds:
            raise PlatformError(INVALID_REQ_ID, "invalid req_id: expired")
        return request
