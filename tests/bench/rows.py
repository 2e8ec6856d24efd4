"""psycopg alone: the callback's row with the callback's own values, each row in a commit of its own, over kept connections.

    python -m tests.bench.rows '{"account": 1, "count": 12000, "connections": 16, "processes": 2}'

The statement is prepared, as psycopg does by itself after five executions. As many processes as the web server has, so that one
interpreter's lock does not make the other side look good. Prints JSON: seconds, rate.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import sys
import threading
import time
from typing import TYPE_CHECKING, Any

import django
import psycopg

from tests.bench import sealed

INSERT = """
INSERT INTO bridge_message (uuid, account_id, peer_kind, peer_id, direction, source, client, idempotency_key, request_hash,
  kind, text, data, sender, addressed, raw, reply_address, reply_until, occurred_at, created_at)
VALUES (%(uuid)s, %(account_id)s, %(peer_kind)s, %(peer_id)s, 'in', 'channel', '', %(key)s, '',
  %(kind)s, %(text)s, '{}', %(sender)s, %(addressed)s, %(raw)s, %(reply_address)s, %(reply_until)s, %(occurred_at)s, %(now)s)
ON CONFLICT DO NOTHING RETURNING id"""
PATIENCE = 60.0  # seconds; a process that failed breaks the wait of the others

if TYPE_CHECKING:
    from multiprocessing.synchronize import Barrier


def values_of(account_id: int, count: int) -> list[dict[str, Any]]:
    from accounts.models import ChannelAccount
    from bridge.pipeline.inbound import receive
    from channels_wechat.wecom.app.parsing import read
    from channels_wechat.wire.xml import parse

    account, numbers = ChannelAccount.objects.get(pk=account_id), sealed.numbers()
    plain = sealed.message(0)
    found = []
    for _ in range(count):
        number = str(next(numbers))
        row = receive.build_row(account, read({**parse(plain), "MsgId": number}, plain))
        found.append({**row, "raw": json.dumps(row["raw"])})
    return found


def insert(rows: list[dict[str, Any]], connection: psycopg.Connection[Any]) -> None:
    for row in rows:
        connection.execute(INSERT, row).fetchone()


def work(account_id: int, count: int, threads: int, ready: Barrier, done: Barrier) -> None:
    """One process: its connections in threads."""
    django.setup()
    rows = values_of(account_id, count)
    url = os.environ["DATABASE_URL"]
    connections = [psycopg.connect(url, autocommit=True) for _ in range(threads)]
    workers = [
        threading.Thread(target=insert, args=(rows[number::threads], connection))
        for number, connection in enumerate(connections)
    ]
    ready.wait(PATIENCE)
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    done.wait(PATIENCE)
    for connection in connections:
        connection.close()


def main(account: int, count: int, connections: int, processes: int) -> None:
    ready, done = multiprocessing.Barrier(processes + 1), multiprocessing.Barrier(processes + 1)
    share = (account, count // processes, connections // processes, ready, done)
    running = [multiprocessing.Process(target=work, args=share) for _ in range(processes)]
    for process in running:
        process.start()
    ready.wait(PATIENCE)
    began = time.perf_counter()
    done.wait(PATIENCE)
    seconds = time.perf_counter() - began
    for process in running:
        process.join()
    print(json.dumps({"seconds": seconds, "rate": count // processes * processes / seconds}))


if __name__ == "__main__":
    main(**json.loads(sys.argv[1]))
