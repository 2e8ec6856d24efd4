"""A real puppet service of Wechaty over its mock puppet, on loopback: what proves the simulator, the channel and the connector.

Its packages come from npm into `WECHATY_LAB_DIR` (default `.data/wechaty-lab`, 120 MB), at the versions and checksums of
`wechaty_service/package-lock.json`, and stay there. Node is the machine's own, 18 or newer.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import time
from pathlib import Path
from signal import SIGCONT, SIGKILL, SIGTERM, Signals
from typing import TYPE_CHECKING, Any, Final, Self, cast

import requests

from channels_wechat.simulator.client import WAIT_SECONDS
from tests.real import npm

if TYPE_CHECKING:
    from collections.abc import Callable

JSON = dict[str, Any]
SOURCE: Final = Path(__file__).parent / "wechaty_service"
TOKEN: Final = "insecure_11111111-2222-4333-8444-555555555555"
# What the mock is made with (puppet_server.mjs).
BOT, ALICE, BOB = "wxid_bot", "wxid_alice", "wxid_bob"
ROOM, SECOND_ROOM = "19876543210@chatroom", "29876543210@chatroom"


def install() -> Path:
    """Return the directory with the service and `node_modules`."""
    # Without its peers' peers, a third of the packages; none of them has to run anything to be installed.
    return npm.install(
        SOURCE,
        Path(os.environ.get("WECHATY_LAB_DIR", npm.DATA / "wechaty-lab")),
        "--legacy-peer-deps",
        "--ignore-scripts",
    )


def installed_or_skipped() -> Path:
    return npm.install_or_skip("the puppet service", install)


def read_certificate_authority(directory: Path) -> bytes:
    """The public certificate authority of Wechaty's community, as the installed package has it."""
    text = (directory / "node_modules" / "wechaty-puppet-service" / "src" / "auth" / "ca.ts").read_text()
    found = re.search(r"TLS_CA_CERT = `(-----BEGIN.*?-----END CERTIFICATE-----)`", text, re.DOTALL)
    if found is None:
        raise RuntimeError("the package has no TLS_CA_CERT any more")
    return found.group(1).encode()


class PuppetService:
    """`with PuppetService(directory) as service:` runs one; started again after `kill` it has the same ports and an empty account.

    record: a file to which every event that was written to a stream is appended, and all that the account was made to do.
    """

    def __init__(self, directory: Path, *, tls: bool = False, mode: str = "", token: str = TOKEN) -> None:
        self.directory, self.token = directory, token
        self.record = Path(f"{directory}/record-{os.getpid()}-{id(self):x}.jsonl")
        self.log = self.record.with_suffix(".log")
        self._http = requests.Session()
        self._http.trust_env = False  # a proxy variable must not send loopback traffic away
        self._env = os.environ | {"NODE_NO_WARNINGS": "1", "WECHATY_LOG": "silent", "RECORD": str(self.record)}
        self._env |= {"PUPPET_TOKEN": token, "PUPPET_MODE": mode, "PUPPET_TLS": "1" if tls else ""}

    def __enter__(self) -> Self:
        self.record.write_text("")
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.end(SIGTERM)
        self._http.close()
        for file in (self.record, self.log):
            file.unlink(missing_ok=True)

    def start(self) -> None:
        with self.log.open("a") as log:
            self._process = subprocess.Popen(
                ["node", "puppet_server.mjs"],
                cwd=self.directory,
                env=self._env,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
            )
        output = self._process.stdout
        line = output.readline() if output is not None else ""
        if not line:
            raise RuntimeError(f"the puppet service did not start:\n{self.log.read_text()[-3000:]}")
        told = json.loads(line)
        self.endpoint, self.control = str(told["grpc"]), str(told["control"])
        self._env |= {"PUPPET_PORT": self.endpoint.split(":")[1], "CONTROL_PORT": self.control.rpartition(":")[2]}

    def signal(self, number: Signals) -> None:
        self._process.send_signal(number)

    def end(self, number: Signals = SIGKILL) -> None:
        self._process.send_signal(number)
        self._process.send_signal(SIGCONT)
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait(10)
        if self._process.stdout is not None:
            self._process.stdout.close()

    # --- controlling

    def do(self, action: str, **fields: Any) -> JSON:
        """One of the actions of puppet_server.mjs."""
        response = self._http.post(f"{self.control}/{action}", json=fields, timeout=WAIT_SECONDS)
        if response.status_code != 200:
            raise RuntimeError(f"{action}: {response.text[:1000]}")
        return cast("JSON", response.json())

    def say(self, text: str, **fields: Any) -> str:
        """Someone writes (`from_`: Alice where not given) in the first room, or with `room`, or to a contact. Return the id."""
        return str(self.do("say", text=text, **{name.rstrip("_"): value for name, value in fields.items()})["id"])

    # --- looking

    def look(self, what: str) -> Any:
        """`state`, `sent` or `events` of the running process."""
        return self._http.get(f"{self.control}/{what}", timeout=WAIT_SECONDS).json()

    def recorded(self, kind: str) -> list[JSON]:
        """The `event`s or what was `sent`, of all processes so far, in order."""
        lines = (json.loads(line) for line in self.record.read_text().splitlines())
        return [one for one in lines if one["record"] == kind]

    def wait_for(self, look: Callable[[], Any], seconds: float = WAIT_SECONDS) -> Any:
        """The first truthy value of `look`."""
        deadline = time.monotonic() + seconds
        while not (found := look()):
            if time.monotonic() > deadline:
                raise TimeoutError(f"not within {seconds} s; sent: {self.recorded('sent')[-3:]}")
            time.sleep(0.05)
        return found

    def wait_sent(self, matches: Callable[[JSON], bool], seconds: float = WAIT_SECONDS) -> JSON:
        """The first thing that the account was made to do of which this holds."""
        found = self.wait_for(lambda: [one for one in self.recorded("sent") if matches(one)], seconds)
        return cast("JSON", found[0])
