"""What happened: API calls, callback deliveries, streams, and rules that the other side broke."""

import time
from collections import Counter, deque
from dataclasses import dataclass, field
from typing import Any

from channels_wechat.simulator.core.recent import Recent

KEEP = 50_000  # API calls, deliveries and streams kept; the counters are never cut
KEEP_VIOLATIONS = 1000
BODY = 4096  # characters of a body kept with its call


@dataclass
class Call:
    path: str
    query: dict[str, str]
    body: str = ""
    at: float = field(default_factory=time.time)
    account: str = ""
    errcode: int | None = None
    fault: str = ""


@dataclass
class Delivery:
    """One message on its way to a callback URL or over a long connection.

    Outcomes: queued, sending, delivered, lost (all tries failed; no connection was there), not_heard (no mention in a group),
    no_callback_url. A try over a connection names its number: the message was handed to that live socket.
    """

    id: str
    account: str
    chat: str
    kind: str
    outcome: str = "queued"
    tries: list[dict[str, Any]] = field(default_factory=list)


@dataclass
class StreamState:
    """An AI bot's answer in progress; `state` is streaming, finished or expired."""

    message: str
    id: str
    polls: int = 0
    frames: int = 0  # of a long connection
    failed_polls: int = 0
    state: str = "streaming"


class Record:
    def __init__(self) -> None:
        self.calls: deque[Call] = deque(maxlen=KEEP)
        self.per_path: Counter[str] = Counter()
        self.errors: Counter[str] = Counter()
        self.faults: Counter[str] = Counter()
        self.counters: Counter[str] = Counter()
        self.deliveries: Recent[str, Delivery] = Recent(KEEP, _is_over, self._forget_delivery)
        self.streams: Recent[str, StreamState] = Recent(KEEP, lambda one: one.state != "streaming", self._forget_stream)
        self.violations: deque[dict[str, str]] = deque(maxlen=KEEP_VIOLATIONS)
        # What came of those that are not kept any more.
        self._outcomes: Counter[str] = Counter()
        self._posts = 0
        self._states: Counter[str] = Counter()

    def call(self, path: str, query: dict[str, str]) -> Call:
        call = Call(path, {k: v for k, v in query.items() if k not in ("access_token", "corpsecret", "secret", "key")})
        self.calls.append(call)
        self.per_path[path] += 1
        return call

    def answered(self, call: Call, errcode: int) -> None:
        call.errcode = errcode
        if errcode:
            self.errors[f"{call.path} {errcode}"] += 1

    def broken(self, call: Call, fault: str) -> None:
        call.fault = fault
        self.faults[f"{call.path} {fault}"] += 1

    def violation(self, what: str, message: str, detail: str = "") -> None:
        self.violations.append({"what": what, "message": message, "detail": detail[:500]})

    def summary(self) -> dict[str, Any]:
        return {
            "calls": dict(self.per_path),
            "errors": dict(self.errors),
            "faults": dict(self.faults),
            "counters": dict(self.counters),
            "deliveries": dict(self._outcomes + Counter(d.outcome for d in self.deliveries.values())),
            "posts": self._posts + sum(len(d.tries) for d in self.deliveries.values()),
            "streams": dict(self._states + Counter(s.state for s in self.streams.values())),
            "violations": list(self.violations),
        }

    def _forget_delivery(self, old: Delivery) -> None:
        self._outcomes[old.outcome] += 1
        self._posts += len(old.tries)

    def _forget_stream(self, old: StreamState) -> None:
        self._states[old.state] += 1


def _is_over(delivery: Delivery) -> bool:
    return delivery.outcome not in ("queued", "sending")
