"""No Celery: a loop over the rows that wait, a few threads, kept connections. `python -m tests.bench.rivals.loop`"""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor

import requests

from tests.bench.rivals.naive import Message, answer

THREADS, AT_ONCE, PAUSE = 8, 50, 0.05


def main() -> None:
    session = requests.Session()
    session.trust_env = False
    session.mount("http://", requests.adapters.HTTPAdapter(pool_maxsize=THREADS))
    with ThreadPoolExecutor(THREADS) as pool:
        while True:
            waiting = list(Message.objects.filter(direction="in", routed_at=None).order_by("pk")[:AT_ONCE])
            list(pool.map(lambda question: answer(question, session.post), waiting))
            if not waiting:
                time.sleep(PAUSE)


if __name__ == "__main__":
    main()
