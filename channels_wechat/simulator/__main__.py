"""`python -m channels_wechat.simulator --port N [--host 127.0.0.1]`; port 0 takes a free one."""

import argparse
import asyncio
import contextlib
import signal

from channels_wechat.simulator.server import Simulator


async def run(host: str, port: int) -> None:
    stopped = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stopped.set)
    simulator = Simulator(host, port)
    await simulator.start()
    print(f"simulator on {simulator.url}", flush=True)
    await stopped.wait()
    await simulator.stop()


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m channels_wechat.simulator", description=__doc__)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=0)
    options = parser.parse_args()
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(run(options.host, options.port))


if __name__ == "__main__":
    main()
