"""The database from asyncio: on a few threads that hand their connection back, so that 500 waiting turns hold none."""

from __future__ import annotations

import asyncio
import contextvars
from concurrent.futures import Executor, ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

from django.db import connection

if TYPE_CHECKING:
    from collections.abc import Callable

Given = ParamSpec("Given")
Found = TypeVar("Found")
THREADS = 8

_pool = ThreadPoolExecutor(THREADS, thread_name_prefix="db")
_calls = ThreadPoolExecutor(THREADS, thread_name_prefix="call")


async def in_db_thread(work: Callable[Given, Found], *args: Given.args, **kwargs: Given.kwargs) -> Found:
    return await execute_on(_pool, work, *args, **kwargs)


async def in_io_thread(work: Callable[Given, Found], *args: Given.args, **kwargs: Given.kwargs) -> Found:
    """The same for what calls a platform too, and may be slow: on threads of its own, so that no lease waits for it."""
    return await execute_on(_calls, work, *args, **kwargs)


async def execute_on(
    threads: Executor, work: Callable[Given, Found], *args: Given.args, **kwargs: Given.kwargs
) -> Found:
    """On one of these threads, which then hands its connection back."""
    context = contextvars.copy_context()  # what is logged there is about the same rows

    def call() -> Found:
        try:
            return context.run(work, *args, **kwargs)
        finally:
            if not connection.in_atomic_block:
                connection.close()

    found: Any = await asyncio.get_running_loop().run_in_executor(threads, call)
    return found  # type: ignore[no-any-return]
