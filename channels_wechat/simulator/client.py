"""A synchronous client of the control API, for the demo, the tests and the chaos run."""

import base64
import time
from collections.abc import Callable
from typing import Any, TypeVar, cast
from urllib.parse import quote

import requests

JSON = dict[str, Any]
T = TypeVar("T")
CALL_SECONDS = 30.0


class SimulatorError(Exception):
    """The control API refused: its own sentence."""


class SimulatorClient:
    def __init__(self, url: str) -> None:
        self.url = url.rstrip("/")
        self._session = requests.Session()
        self._session.trust_env = False  # a proxy variable must not send loopback traffic away

    def close(self) -> None:
        self._session.close()

    def call(self, method: str, path: str, body: JSON | None = None, params: JSON | None = None) -> Any:
        response = self._session.request(
            method, f"{self.url}/sim/{path}", json=body, params=params, timeout=CALL_SECONDS
        )
        if response.status_code != 200:
            raise SimulatorError(f"{path}: {response.text[:500]}")
        return response.json()

    def post(self, path: str, /, **body: Any) -> JSON:
        return cast("JSON", self.call("POST", path, body))

    # -- setting up: fields as in the dataclasses of state.py ------------------------------------------------------------

    def app(self, agentid: int, **fields: Any) -> JSON:
        return self.post("apps", agentid=agentid, **fields)

    def bot(self, aibotid: str, **fields: Any) -> JSON:
        return self.post("bots", aibotid=aibotid, **fields)

    def robot(self, chat: str, **fields: Any) -> JSON:
        """The answer holds the key, also where it was made up."""
        return self.post("robots", chat=chat, **fields)

    def member(self, userid: str, name: str, **fields: Any) -> JSON:
        return self.post("members", userid=userid, name=name, **fields)

    def group(self, chatid: str, name: str, **fields: Any) -> JSON:
        return self.post("groups", chatid=chatid, name=name, **fields)

    def settings(self, **changes: Any) -> JSON:
        return self.post("settings", **changes)

    def advance(self, seconds: float) -> None:
        """Move the company's clock: tokens, codes, media and streams age."""
        self.post("clock", advance=seconds)

    def invalidate_token(self, app: int) -> None:
        self.post("tokens", app=app, how="invalidate")

    def expire_token(self, app: int) -> None:
        self.post("tokens", app=app, how="expire")

    def fault(self, path: str, kind: str, **details: Any) -> JSON:
        """Details: times, rate, errcode, errmsg, seconds, status (see faults.py)."""
        return self.post("faults", path=path, kind=kind, **details)

    def clear_faults(self) -> None:
        self.call("DELETE", "faults")

    def reset_record(self) -> None:
        self.post("reset")

    # -- speaking --------------------------------------------------------------------------------------------------------

    def say(self, text: str = "", *, data: bytes | None = None, **spec: Any) -> JSON:
        """`app=` or `bot=`, `from_=`, `chat=`, `kind=`, …; returns {"id", "chat", "entry"}."""
        return self.post("say", text=text, **prepared(spec, data))

    def say_many(self, messages: list[JSON]) -> list[JSON]:
        """Each as in the control API (so "from", not "from_"); queued at once, in this order."""
        return cast("list[JSON]", self.post("say", messages=messages)["said"])

    def event(self, event: str = "", **spec: Any) -> JSON:
        return self.post("event", event=event, **prepared(spec, None))

    def click(self, entry: int, from_: str, key: str = "", selected: JSON | None = None) -> JSON:
        return self.post("click", **{"entry": entry, "from": from_, "key": key, "selected": selected or {}})

    def verify(self, **account: Any) -> JSON:
        return self.post("verify", **account)

    # -- looking ---------------------------------------------------------------------------------------------------------

    def record(self) -> JSON:
        return cast("JSON", self.call("GET", "record"))

    def calls(self, path: str = "") -> list[JSON]:
        return cast("list[JSON]", self.call("GET", "calls", params={"path": path} if path else {}))

    def deliveries(self) -> list[JSON]:
        return cast("list[JSON]", self.call("GET", "deliveries"))

    def delivery(self, message_id: str) -> JSON:
        return cast("JSON", self.call("GET", "deliveries", params={"id": message_id})[0])

    def streams(self) -> list[JSON]:
        return cast("list[JSON]", self.call("GET", "streams"))

    def chats(self) -> list[JSON]:
        return cast("list[JSON]", self.call("GET", "chats"))

    def transcript(self, chat: str) -> list[JSON]:
        return cast("list[JSON]", self.call("GET", f"chat/{quote(chat, safe='')}")["entries"])

    def answers(self, said: JSON) -> list[JSON]:
        """What the bot answered to a message of say(), finished or not."""
        return [entry for entry in self.transcript(said["chat"]) if entry["answers"] == said["id"]]

    # -- waiting ---------------------------------------------------------------------------------------------------------

    def wait_for(self, predicate: Callable[[], T], timeout: float = 30, interval: float = 0.05) -> T:
        """The first truthy value of `predicate`; TimeoutError after `timeout` seconds."""
        deadline = time.monotonic() + timeout
        while not (value := predicate()):
            if time.monotonic() > deadline:
                raise TimeoutError(f"not within {timeout} s: {predicate}")
            time.sleep(interval)
        return value

    def wait_answer(self, said: JSON, timeout: float = 30) -> JSON:
        """The first finished answer to a message of say()."""
        return self.wait_for(lambda: [e for e in self.answers(said) if not e["streaming"]], timeout)[0]

    def wait_taken(self, said: JSON, timeout: float = 30) -> JSON:
        """The delivery record once the callback was delivered or given up."""
        done = ("delivered", "lost", "not_heard", "no_callback_url")
        return self.wait_for(lambda: d if (d := self.delivery(said["id"]))["outcome"] in done else None, timeout) or {}


def prepared(spec: JSON, data: bytes | None) -> JSON:
    """`from_` is Python's way to write the field "from"; bytes travel as base64."""
    body = {name.rstrip("_"): value for name, value in spec.items()}
    if data is not None:
        body["data"] = base64.b64encode(data).decode()
    return body
