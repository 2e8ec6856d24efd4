"""Tencent's own Node packages for AI bots, driven line by line: the client that proves the simulator and is not ours.

Node and the packages come from npm into `WECOM_SDK_LAB_DIR` (default `.data/wecom-sdk`, 200 MB), at the versions and checksums of
`wecom_sdk/package-lock.json`, and stay there.
"""

from __future__ import annotations

import itertools
import json
import os
import subprocess
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Self

from channels_wechat.simulator.client import WAIT_SECONDS
from tests.real import npm

if TYPE_CHECKING:
    from collections.abc import Callable

JSON = dict[str, Any]
SOURCE: Final = Path(__file__).parent / "wecom_sdk"


def install() -> Path:
    """Return the directory with the driver and `node_modules`."""
    return npm.install(SOURCE, Path(os.environ.get("WECOM_SDK_LAB_DIR", npm.DATA / "wecom-sdk")))


def installed_or_skipped() -> Path:
    return npm.install_or_skip("the official SDK", install)


class SdkError(Exception):
    """What the SDK's promise was rejected with: the acknowledgement, or the message of an Error."""

    def __init__(self, detail: JSON) -> None:
        super().__init__(json.dumps(detail))
        self.detail = detail


class NodeSdk:
    """`with NodeSdk(directory) as sdk:` runs the driver; `call` waits for an answer, `wait` for an event."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._numbers = itertools.count(1)
        self._answers: dict[int, JSON] = {}
        self.events: list[JSON] = []
        self._news = threading.Condition()

    def __enter__(self) -> Self:
        node = self._directory / "node_modules" / "node" / "bin" / "node"
        command = [str(node), str(self._directory / "driver.js")]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._process.stdin is not None:
            self._process.stdin.close()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait(10)
        self._reader.join(10)
        if self._process.stdout is not None:
            self._process.stdout.close()

    def _read(self) -> None:
        for line in self._process.stdout or ():
            told = json.loads(line)
            with self._news:
                if "event" in told:
                    self.events.append(told)
                else:
                    self._answers[told["id"]] = told
                self._news.notify_all()

    def begin(self, name: str, **fields: Any) -> int:
        """Give a command without waiting for its answer; `answer` does."""
        number = next(self._numbers)
        if self._process.stdin is None:
            raise RuntimeError("the driver has no input")
        self._process.stdin.write(json.dumps({"id": number, "name": name} | fields) + "\n")
        self._process.stdin.flush()
        return number

    def answer(self, number: int) -> Any:
        with self._news:
            if not self._news.wait_for(lambda: number in self._answers, WAIT_SECONDS):
                raise TimeoutError(f"no answer to command {number}; events: {self.events}")
            found = self._answers.pop(number)
        if "error" in found:
            raise SdkError(found["error"])
        return found["result"]

    def call(self, name: str, **fields: Any) -> Any:
        return self.answer(self.begin(name, **fields))

    def connect(self, url: str, bot: str, secret: str, **options: Any) -> Self:
        """Connect with fast times, and wait until the SDK says that it is subscribed."""
        self.start(url, bot, secret, **options)
        self.wait(lambda told: told["event"] == "authenticated")
        return self

    def start(self, url: str, bot: str, secret: str, **options: Any) -> None:
        fast = {"reconnectInterval": 50, "heartbeatInterval": 200}
        self.call("connect", options={"wsUrl": url, "botId": bot, "secret": secret} | fast | options)

    def wait(self, matches: Callable[[JSON], bool], count: int = 1) -> JSON:
        """Return the event with this number among those that match."""
        deadline = time.monotonic() + WAIT_SECONDS
        with self._news:
            while len(found := [told for told in self.events if matches(told)]) < count:
                if not self._news.wait(deadline - time.monotonic()):
                    raise TimeoutError(f"not told: {self.events}")
        return found[count - 1]

    def wait_frame(self, msgid: str) -> JSON:
        """Return the body of the message or event with this id."""
        told = self.wait(lambda told: "frame" in told and told["frame"]["body"]["msgid"] == msgid)
        body: JSON = told["frame"]["body"]
        return body
