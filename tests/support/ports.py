"""Free ports for the processes that a test starts."""

from __future__ import annotations

import contextlib
import random
import socket

# Below the range from which Linux gives ports to whoever asks for any (32768 and up, ip_local_port_range): so between the look and the
# start of the process no socket of another test takes one of them.
_PORTS = range(20_000, 32_000)
_random = random.SystemRandom()  # tests seed the usual one, so that two processes of them would choose the same ports


def free_port(following: int = 0) -> int:
    """Return a port on 127.0.0.1 that is free, as are so many after it."""
    while True:
        first = _random.choice(_PORTS)
        with contextlib.suppress(OSError), contextlib.ExitStack() as stack:
            for port in range(first, first + following + 1):
                stack.enter_context(socket.create_server(("127.0.0.1", port)))
            return first
