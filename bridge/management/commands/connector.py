from __future__ import annotations

import asyncio
import signal
from typing import Any

from django.core.management.base import BaseCommand

from bridge.connector.process import Connector
from bridge.models import Carrier
from bridge.operations.watch import Watch
from bridge.runtime.worker.warm_up import warm_up


class Command(BaseCommand):
    help = "Hold the connections to the OpenClaw gateways and ask the agents."

    def handle(self, *args: Any, **options: Any) -> None:
        asyncio.run(self._run())

    async def _run(self) -> None:
        connector = Connector()
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, connector.stop)
        await asyncio.to_thread(warm_up, Carrier.CONNECTOR, gateway_id=1)  # which one does not matter
        watch = Watch()
        watch.start()
        try:
            await connector.run()
        finally:
            watch.stop()
