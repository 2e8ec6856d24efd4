"""A connector in a thread of its own, as the command runs it."""

from __future__ import annotations

import asyncio
import threading
from typing import Self

from django.db import connection

from bridge.connector.process import Connector


class RunningConnector:
    """`with RunningConnector():` owns the free gateways and carries their turns until the block ends, in order."""

    def __init__(self) -> None:
        self.ready = threading.Event()
        self.thread = threading.Thread(target=self._run, name="connector")

    def __enter__(self) -> Self:
        self.thread.start()
        assert self.ready.wait(10)
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self) -> None:
        if self.thread.is_alive():
            self.loop.call_soon_threadsafe(self.connector.stop)
            self.thread.join(30)
        assert not self.thread.is_alive()

    def kill(self) -> None:
        """End without a word, as kill -9 does: nothing is handed over, the leases run out."""

        def cut() -> None:
            for task in asyncio.all_tasks(self.loop):
                task.cancel()

        self.connector.holder = "nobody"  # what is handed over now is nobody's
        self.loop.call_soon_threadsafe(cut)
        self.thread.join(30)

    def _run(self) -> None:
        try:
            asyncio.run(self._serve())
        except asyncio.CancelledError:
            pass
        finally:
            connection.close()

    async def _serve(self) -> None:
        self.loop = asyncio.get_running_loop()
        self.connector = Connector()
        self.ready.set()
        await self.connector.run()
