"""One account's puppet: whether somebody is logged in, and the one stream of events (facts: wechaty.md 6)."""

import asyncio
import itertools
import json
import secrets
import time
from collections import deque
from dataclasses import dataclass, field

from channels_wechat.simulator.core.errors import ControlError
from channels_wechat.simulator.core.record import Delivery
from channels_wechat.simulator.core.state import JSON, World
from channels_wechat.simulator.wechaty import wire
from channels_wechat.simulator.wechaty.world import Account, Message

KEEP = 10_000
NOBODY, CANCELLED, WAITING, SCANNED, CONFIRMED, TIMED_OUT = range(6)
CONNECTED = "Wechaty Puppet gRPC stream connect successfully"
READY_SECONDS = 0.1  # after the stream began
HEALTHY_SECONDS = 60.0
SERVING, NOT_SERVING, SERVICE_UNKNOWN = 1, 2, 3
HOW = ("show", "scan", "confirm", "cancel", "expire", "logout")


@dataclass
class Facts:
    """What the control API shows of a stream. `ended`: by whom or how, "" while it is open."""

    number: int
    wechaty: str
    opened: float = field(default_factory=time.time)
    events: int = 0
    closed: float | None = None
    ended: str = ""


@dataclass
class Event:
    type: int
    payload: JSON
    delivery: Delivery | None = None

    @property
    def text(self) -> str:
        return json.dumps(self.payload, ensure_ascii=False, separators=(",", ":"))


class Stream:
    """What waits to be written. `may_go_on` is not set while the control API holds the stream still."""

    def __init__(self, facts: Facts) -> None:
        self.facts = facts
        self.queue: asyncio.Queue[Event | None] = asyncio.Queue()
        self.may_go_on = asyncio.Event()
        self.may_go_on.set()

    def note_written(self, event: Event) -> None:
        self.facts.events += 1
        if event.delivery is not None:
            event.delivery.outcome = "delivered"
            event.delivery.tries.append({"at": time.time(), "connection": self.facts.number})

    def lose_the_rest(self) -> None:
        while not self.queue.empty():
            event = self.queue.get_nowait()
            if event is not None and event.delivery is not None:
                event.delivery.outcome = "lost"


class Puppet:
    def __init__(self, account: Account, world: World, *, logged_in: bool) -> None:
        self.account, self.world = account, world
        self.logged_in, self.running = logged_in, True
        self.code, self.status = "", NOBODY
        self.sent: deque[JSON] = deque(maxlen=KEEP)  # what a client had the account do
        self.streams: deque[Facts] = deque(maxlen=KEEP)
        self._numbers = itertools.count(1)
        self._stream: Stream | None = None
        self._heard = 0.0  # when the last heartbeat was
        if not logged_in:
            self.show_code()

    # -- events ----------------------------------------------------------------------------------------------------------

    @property
    def is_listening(self) -> bool:
        return self._stream is not None

    def emit(self, event_type: int, payload: JSON, delivery: Delivery | None = None) -> None:
        """Write an event to the stream; without one it is lost."""
        if self._stream is not None and self.running:
            self._stream.queue.put_nowait(Event(event_type, payload, delivery))
        elif delivery is not None:
            delivery.outcome = "lost"

    def announce(self, message: Message, chat: str) -> None:
        """Tell the client that there is a message."""
        delivery = Delivery(message.id, self.account.key, chat, message.kind, "sending")
        self.world.record.deliveries[f"{self.account.key}:{message.id}"] = delivery
        if self.logged_in:
            self.emit(wire.MESSAGE, {"messageId": message.id}, delivery)
        else:
            delivery.outcome = "lost"

    def open_stream(self) -> Stream:
        """Begin the stream with what a client must know; the caller has looked whether there is one."""
        stream = self._stream = Stream(Facts(next(self._numbers), self.account.id))
        self.streams.append(stream.facts)
        if self.account.greets:
            self.emit(wire.HEARTBEAT, {"data": CONNECTED})
        if self.logged_in:
            self.emit(wire.LOGIN, {"contactId": self.account.id})
        elif self.code:
            self._emit_scan()
        return stream

    def close_stream(self, stream: Stream, ended: str) -> None:
        stream.facts.closed, stream.facts.ended = time.time(), stream.facts.ended or ended
        stream.lose_the_rest()
        if self._stream is stream:
            self._stream = None

    async def attend(self) -> None:
        """What comes over time while a stream is open: READY, and heartbeats."""
        await asyncio.sleep(READY_SECONDS)
        if self.logged_in:
            self.emit(wire.READY, {"data": "ready"})
        while True:
            await asyncio.sleep(self.account.heartbeat_seconds or 1.0)
            if self.account.heartbeat_seconds:
                self.beat()

    def beat(self) -> None:
        self._heard = self.world.now()
        self.emit(wire.HEARTBEAT, {"data": "simulated"})

    @property
    def health(self) -> int:
        if not self._heard:
            return SERVICE_UNKNOWN
        return SERVING if self.world.now() - self._heard < HEALTHY_SECONDS else NOT_SERVING

    def end_stream(self, ended: str) -> None:
        """End the stream in order, when everything before was written."""
        if self._stream is not None:
            self._stream.facts.ended = self._stream.facts.ended or ended
            self._stream.queue.put_nowait(None)

    def hold_still(self, *, still: bool) -> None:
        if self._stream is None:
            raise ControlError("nobody listens")
        if still:
            self._stream.may_go_on.clear()
        else:
            self._stream.may_go_on.set()

    # -- the service's own calls -----------------------------------------------------------------------------------------

    def start(self) -> None:
        self.running = True

    def stop(self) -> None:
        """For everybody: the stream ends, and nothing happens until somebody starts the puppet again."""
        self.world.record.counters["puppets_stopped"] += 1
        self.end_stream("stopped")
        self.running = False

    # -- the phone -------------------------------------------------------------------------------------------------------

    def act(self, how: object) -> JSON:
        """What somebody does with the account's phone, or the platform with the code."""
        if how not in HOW:
            raise ControlError(f"`how` must be one of {', '.join(HOW)}")
        if self.logged_in == (how != "logout"):
            raise ControlError("somebody is logged in" if self.logged_in else "nobody is logged in")
        if how == "logout":
            self.log_out("logged out on the phone")
        elif how == "show":
            self.show_code()
        elif how == "confirm":
            self._log_in()
        else:
            self._change_code({"scan": SCANNED, "cancel": CANCELLED, "expire": TIMED_OUT}[str(how)])
        return self.describe()

    def show_code(self) -> None:
        self.code = secrets.token_urlsafe(12)
        self.status = WAITING
        self._emit_scan()

    def _change_code(self, status: int) -> None:
        """A code that is cancelled or too old is followed by a new one."""
        self.status = status
        self._emit_scan()
        if status != SCANNED:
            self.show_code()

    def _emit_scan(self) -> None:
        self.emit(wire.SCAN, {"qrcode": self.code_text, "status": self.status})

    @property
    def code_text(self) -> str:
        """What the QR code says: an address of ours that does what a phone would."""
        return f"{self.world.base_url}/wechaty/login/{self.code}" if self.code else ""

    def _log_in(self) -> None:
        self.status = CONFIRMED
        self._emit_scan()
        self.logged_in, self.code, self.status = True, "", NOBODY
        self.emit(wire.LOGIN, {"contactId": self.account.id})
        self.emit(wire.READY, {"data": "ready"})

    def log_out(self, why: str = "logout()") -> None:
        if self.logged_in:
            self.emit(wire.LOGOUT, {"contactId": self.account.id, "data": why})
            self.logged_in = False
            self.show_code()

    def describe(self) -> JSON:
        names = ("nobody", "cancelled", "waiting", "scanned", "confirmed", "timed out")
        state = {"logged_in": self.logged_in, "listening": self.is_listening, "running": self.running}
        return state | {"code": self.code_text, "code_status": names[self.status] if self.code else ""}
