"""`python -m openclaw.stub`: the stub as a process, until SIGINT or SIGTERM."""

from __future__ import annotations

import argparse
import asyncio
import os
import signal
from pathlib import Path

from openclaw.stub.gateway import Gateway
from openclaw.stub.running import serve
from openclaw.stub.store import Store


def read_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m openclaw.stub", description="A stand-in for an OpenClaw gateway.")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=18789)
    token = os.environ.get("DEMO_GATEWAY_TOKEN")
    parser.add_argument(
        "--token", default=token, required=not token, help="by default DEMO_GATEWAY_TOKEN of the environment"
    )
    parser.add_argument("--agents", default="main,support", help="ids, separated by commas")
    parser.add_argument("--pace", type=float, default=0.05, help="seconds per word of an answer")
    parser.add_argument("--tick", type=float, default=30.0, help="seconds between heartbeats")
    parser.add_argument("--state", type=Path, help="file that keeps the transcripts after the process has ended")
    parser.add_argument("--no-resume", action="store_true", help="do not continue interrupted turns after a restart")
    return parser.parse_args()


async def main(options: argparse.Namespace) -> None:
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    gateway = Gateway(options.token, options.agents.split(","), Store(options.state), options.pace)
    gateway.faults.resume = not options.no_resume
    async with serve(gateway, options.host, options.port, options.tick):
        print(f"stub gateway on {gateway.address}", flush=True)
        await stop.wait()


asyncio.run(main(read_arguments()))
