"""The platform's side: a process that sends prepared callbacks over kept connections and takes the time of each.

    python -m tests.bench.load '{"port": 8000, "path": "/callbacks/…", "count": 4000, "connections": 16, "rate": 0, "text": ""}'

Closed loop: each connection sends as soon as it is answered. With a rate (requests a second) the loop is open: each request has its
moment, and its time counts from there, so that a server that falls behind cannot hide it. Raw sockets and one selector, because a
client library would cost more than the server. text: what the members say, {number} in it is the message's id; each is said by another
member. Prints JSON: seconds, rate (answers a second), cpu (seconds of this process), late (how late requests left, p99), p50 and p99
(seconds), began (moment of each message by its id, CLOCK_MONOTONIC).
"""

from __future__ import annotations

import itertools
import json
import selectors
import socket
import sys
import time
from collections import deque
from dataclasses import dataclass, field

from tests.bench import sealed

PATIENCE = 20.0  # seconds


@dataclass(eq=False)
class Line:
    """A connection and what it waits for."""

    socket: socket.socket
    began: float = 0.0
    got: bytearray = field(default_factory=bytearray)


class Load:
    def __init__(self, port: int, requests: deque[tuple[int, bytes]], connections: int, rate: float) -> None:
        self.requests, self.rate = requests, rate
        self.began: dict[int, float] = {}
        self.selector = selectors.DefaultSelector()
        self.idle = deque(self._line(port) for _ in range(connections))
        self.seconds: list[float] = []
        self.late: list[float] = []

    def _line(self, port: int) -> Line:
        line = Line(socket.create_connection(("127.0.0.1", port)))
        line.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.selector.register(line.socket, selectors.EVENT_READ, line)
        return line

    def run(self) -> float:
        """Returns the seconds from the first request to the last answer."""
        began, wanted, sent = time.monotonic(), len(self.requests), 0
        while len(self.seconds) < wanted:
            now = time.monotonic()
            while self.requests and self.idle:
                due = began + sent / self.rate if self.rate else now
                if due > now:
                    break
                self._send(self.idle.popleft(), due, now)
                sent += 1
            if not self._receive(self._pause(began, sent)) and not (self.requests and self.idle):
                raise TimeoutError(f"no answer in {PATIENCE} s; {len(self.seconds)} of {wanted} came")
        return time.monotonic() - began

    def _pause(self, began: float, sent: int) -> float:
        if not (self.rate and self.requests and self.idle):
            return PATIENCE
        return max(0.0, began + sent / self.rate - time.monotonic())

    def _send(self, line: Line, due: float, now: float) -> None:
        number, request = self.requests.popleft()
        line.began = self.began[number] = due
        self.late.append(now - due)
        line.socket.sendall(request)

    def _receive(self, timeout: float) -> int:
        """Returns on how many connections something came."""
        ready = self.selector.select(timeout)
        for key, _events in ready:
            line: Line = key.data
            data = line.socket.recv(65536)
            if not data:
                raise ConnectionError("the server closed a kept connection")
            line.got += data
            if complete(line.got):
                self.seconds.append(time.monotonic() - line.began)
                line.got.clear()
                self.idle.append(line)
        return len(ready)


def complete(got: bytearray) -> bool:
    """Whether the answer is whole. Anything but 200 ends the run: a server that refuses is quick."""
    head, found, body = got.partition(b"\r\n\r\n")
    if not found:
        return False
    if not head.startswith(b"HTTP/1.1 200"):
        raise ConnectionError(f"unexpected answer: {bytes(got[:300])!r}")
    lower = head.lower()
    if b"transfer-encoding: chunked" in lower:
        return body.endswith(b"0\r\n\r\n")
    return len(body) >= int(lower.partition(b"content-length:")[2].split(b"\r\n")[0] or 0)


def percentile(seconds: list[float], share: float) -> float:
    ordered = sorted(seconds)
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))]


def prepared(path: str, count: int, text: str) -> deque[tuple[int, bytes]]:
    made: deque[tuple[int, bytes]] = deque()
    for number in itertools.islice(sealed.numbers(), count):
        said = text.replace("{number}", str(number)) or sealed.TEXT
        made.append((number, sealed.request(path, sealed.message(number, f"member{number % 10_000}", said))))
    return made


def main(port: int, path: str, count: int, connections: int, rate: float = 0.0, text: str = "") -> None:
    load = Load(port, prepared(path, count, text), connections, rate)
    cpu = time.process_time()
    seconds = load.run()
    found = {
        "seconds": seconds,
        "rate": count / seconds,
        "cpu": time.process_time() - cpu,
        "late": percentile(load.late, 0.99),
        "p50": percentile(load.seconds, 0.5),
        "p99": percentile(load.seconds, 0.99),
        "began": load.began,
    }
    print(json.dumps(found))


if __name__ == "__main__":
    main(**json.loads(sys.argv[1]))
