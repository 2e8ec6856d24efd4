"""The database from asyncio: on a few threads that hand their connection back, so that 500 waiting turns hold none."""

from __future__ import annotations

import asyncio
import contextvars
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

from django.db import connection

if TYPE_CHECKING:
    from collections.abc import Callable

Given = ParamSpec("Given")
Found = TypeVar("Found")
THREADS = 8

_pool = ThreadPoolExecutor(THREADS, thread_name_prefix="db")


async def run_db(work: Callable[Given, Found], *args: Given.args, **kwargs: Given.kwargs) -> Found:
    context = contextvars.copy_context()  # what is logged there is about the same rows

    def call() -> Found:
        try:
            return context.run(work, *args, **kwargs)
        finally:
            connection.close()

    found: Any = await asyncio.get_running_loop().run_in_executor(_pool, call)
    return found  # type: ignore[no-any-return]
