"""Fill the database of the environment, and print the key of an account for the callbacks.

python -m tests.bench.filled '{"messages": 1000000}'
"""

from __future__ import annotations

import json
import sys

import django


def main(messages: int) -> None:
    django.setup()
    from tests.bench import world
    from tests.million.fill import fill

    account = world.account()
    fill(messages)
    print(json.dumps({"key": str(account.key)}))


if __name__ == "__main__":
    main(**json.loads(sys.argv[1]))
