"""Fill the database of the environment, and print the key of an account for the callbacks.

python -m tests.bench.filled '{"messages": 1000000}'

With the addresses of a platform and a gateway everybody who writes to that account talks to an agent. The accounts and gateways of the
filling are disabled, so that the processes have no other work.
"""

from __future__ import annotations

import json
import sys

import django


def main(messages: int, platform: str = "", gateway: str = "", token: str = "") -> None:
    django.setup()
    from tests.bench import world
    from tests.million.fill import fill

    account = world.mapped(platform, gateway, token) if gateway else world.account()
    fill(messages)
    print(json.dumps({"key": str(account.key)}))


if __name__ == "__main__":
    main(**json.loads(sys.argv[1]))
