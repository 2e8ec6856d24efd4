"""Uses the database from asyncio, on a few threads that return their connection after each call. So waiting turns need no connection."""

from __future__ import annotations

import asyncio
import contextvars
from concurrent.futures import Executor, ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

from django.db import connection

if TYPE_CHECKING:
    from collections.abc import Callable

Params = ParamSpec("Params")
Result = TypeVar("Result")
THREADS = 8

_db_pool = ThreadPoolExecutor(THREADS, thread_name_prefix="db")
_io_pool = ThreadPoolExecutor(THREADS, thread_name_prefix="call")


async def in_db_thread(work: Callable[Params, Result], *args: Params.args, **kwargs: Params.kwargs) -> Result:
    """Do work that uses the database only."""
    return await execute_on(_db_pool, work, *args, **kwargs)


async def in_io_thread(work: Callable[Params, Result], *args: Params.args, **kwargs: Params.kwargs) -> Result:
    """Do work that also calls a platform, and may be slow, on other threads, so that the renewal of leases does not wait for it."""
    return await execute_on(_io_pool, work, *args, **kwargs)


async def execute_on(
    threads: Executor, work: Callable[Params, Result], *args: Params.args, **kwargs: Params.kwargs
) -> Result:
    """Do the work on one of these threads. Afterwards the thread returns its connection."""
    context = contextvars.copy_context()  # so that its log lines name the same rows

    def call() -> Result:
        try:
            return context.run(work, *args, **kwargs)
        finally:
            if not connection.in_atomic_block:
                connection.close()

    result: Any = await asyncio.get_running_loop().run_in_executor(threads, call)
    return result  # type: ignore[no-any-return]
