"""The bridge's own processes and the simulator, as the launcher starts them, on the PostgreSQL and Valkey of the test run.

The tests look at the same database by the ORM, and at the other side through the simulator and the mock model.
"""

from __future__ import annotations

import os
import socket
import threading
from typing import TYPE_CHECKING, Any, Self
from urllib.parse import urlsplit

from django.db import connection
from django.test import override_settings
from django.utils import timezone

from bridge.demo import world as demo
from bridge.models import Attempt, Delivery, Message, Route, Target
from bridge.runtime.launcher.commands import make_python_command
from bridge.runtime.launcher.launch import Plan, all_ports_answer, make_children
from bridge.runtime.launcher.supervisor import Child, Supervisor, make_child
from openclaw.models import Gateway
from tests.real.openclaw_lab import OpenClawLab, logs
from tests.support.ports import free_port

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

JSON = dict[str, Any]
START_LIMIT = 120  # seconds
# So often at most a gateway that locked its own database is started again.
MAX_RESTARTS = 20
# What suits the tests and not the processes: they run as they do outside, warnings ignored and connections pooled.
OWN = ("PYTHONDEVMODE", "PYTHONWARNINGS", "DB_POOL_SIZE")


class RunningProcesses:
    """`with RunningProcesses(folder):` runs every process of the bridge until the block ends."""

    def __init__(self, folder: Path) -> None:
        self.log = folder / "bridge.log"
        self._plan = _plan(folder)
        self._settings = override_settings(PUBLIC_URL=self._plan.web)
        self._thread = threading.Thread(target=self._run, name="supervisor")
        self._ready = threading.Event()
        self._out = self.log.open("w")
        self._supervisor = Supervisor(self._out)
        logs["bridge"] = self.log

    def __enter__(self) -> Self:
        self._settings.enable()
        self._thread.start()
        try:
            self._found()
        except BaseException:
            self.__exit__()
            raise
        return self

    def _found(self) -> None:
        """Wait until the processes answer."""
        if not self._ready.wait(START_LIMIT):
            raise RuntimeError(f"the bridge did not start:\n{self.log.read_text()[-3000:]}")

    def __exit__(self, *_: object) -> None:
        self._supervisor.stopping = True
        self._thread.join()
        self._out.close()
        self._settings.disable()

    def _run(self) -> None:
        """A child ends with the thread that started it, so this one lives as long as they do."""
        for child in self._children():
            self._supervisor.add(child)
        if self._supervisor.run(self._listening):
            self._ready.set()
            self._supervisor.run()
        self._supervisor.stop()

    def _children(self) -> list[Child]:
        return make_children(self._plan)

    def _listening(self) -> bool:
        return all_ports_answer(self._plan)


class RunningBridge(RunningProcesses):
    """`with RunningBridge(folder, lab) as bridge:` gives the demo's company, connected to the lab's gateway."""

    def __init__(self, folder: Path, lab: OpenClawLab) -> None:
        super().__init__(folder)
        self.lab = lab
        self._simulator_port = free_port()
        self.restarts, self.restarted_at = 0, timezone.now()

    def _found(self) -> None:
        """The demo's company, with agents that the lab has."""
        super()._found()
        world = demo.build(f"http://127.0.0.1:{self._simulator_port}", self.lab.base_url, self.lab.token)
        self.simulator, self.app, self.bot = world.simulator, world.app, world.bot
        Route.objects.filter(account=self.bot).update(agent_id="second")
        direct = {"peer_kind": "direct", "gateway": Gateway.objects.get(), "agent_id": "second"}
        Route.objects.create(account=self.bot, **direct)

    def _children(self) -> list[Child]:
        command = make_python_command("-m", "channels_wechat.simulator", "--port", str(self._simulator_port))
        return [*super()._children(), make_child("simulator", command, self._plan.env)]

    def _listening(self) -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self._simulator_port)) == 0 and super()._listening()

    # --- speaking and looking ---------------------------------------------------------------------------------------------

    @property
    def gateway(self) -> Gateway:
        return Gateway.objects.get()

    def to_group(self, text: str, chat: str = demo.GROUP, from_: str = "zhangsan", **spec: Any) -> JSON:
        return self.simulator.say(text, bot=demo.BOT, chat=chat, from_=from_, **spec)

    def to_bot(self, text: str, from_: str = "zhangsan", **spec: Any) -> JSON:
        return self.simulator.say(text, bot=demo.BOT, from_=from_, **spec)

    def to_app(self, text: str, from_: str = "lisi", **spec: Any) -> JSON:
        return self.simulator.say(text, app=demo.AGENT, from_=from_, **spec)

    def group(self, chat: str, name: str) -> str:
        """A group of its own for a test."""
        self.simulator.group(chat, name, members=list(demo.MEMBERS))
        return chat

    def shown(self, said: JSON) -> list[JSON]:
        """What a member sees as the answer: a bot's names its question, an app's are what comes after it."""
        entries = self.simulator.transcript(said["chat"])
        if said["chat"].startswith("app:"):
            return [entry for entry in entries if entry["seq"] > said["entry"] and entry["via"] != "member"]
        return [entry for entry in entries if entry["answers"] == said["id"]]

    def finished(self, said: JSON) -> list[JSON]:
        return [entry for entry in self.shown(said) if not entry["streaming"]]

    def answer(self, said: JSON) -> str:
        """The text of the one answer, when it is complete. A gateway that locked its own database meanwhile is started again."""
        while self.wait_until_answered([said]) == "stuck" and self.restarts < MAX_RESTARTS:
            self.restart_if_stuck()
        self.simulator.wait_for(lambda: self.finished(said))
        (entry,) = self.shown(said)
        return str(entry["text"])

    def is_stuck(self) -> bool:
        """Whether the gateway could not start the newest run since it was started: its own database was locked, and may stay so."""
        ended = Attempt.objects.filter(delivery__target=Target.AGENT, started_at__gt=self.restarted_at).exclude(
            outcome=""
        )
        return ended.order_by("-started_at").values_list("code", flat=True).first() == "run_not_started"

    def wait_until_answered(self, said: Sequence[JSON], seconds: float = 180) -> str:
        """Return "answered", or "stuck" as soon as the gateway is."""

        def look() -> str:
            return "stuck" if self.is_stuck() else "answered" if all(map(self.finished, said)) else ""

        return self.simulator.wait_for(look, seconds)

    def restart_gateway(self) -> None:
        self.lab.kill()
        self.lab.start()
        self.restarted_at = timezone.now()

    def restart_if_stuck(self) -> None:
        """What staff do."""
        if self.restarts < MAX_RESTARTS and self.is_stuck():
            self.restarts += 1
            self.restart_gateway()

    def warm_up(self) -> None:
        """Have each agent answer, one after the other: this gateway may lock its own database when first turns come together."""
        for send in (self.to_bot, self.to_app):
            self.answer(send("hello"))

    def question(self, said: JSON) -> Message:
        return Message.objects.get(idempotency_key=said["id"], direction="in")

    def turn(self, said: JSON) -> Delivery:
        return self.question(said).deliveries.get(target=Target.AGENT)

    def sent(self, said: JSON) -> list[tuple[str, str]]:
        """(text of the message, state) of every delivery of an answer."""
        answers = Delivery.objects.filter(message__reply_to=self.question(said), target=Target.CHANNEL)
        return list(answers.order_by("id").values_list("message__text", "state"))


def _plan(folder: Path) -> Plan:
    port = free_port()
    database = urlsplit(os.environ["DATABASE_URL"])._replace(path=f"/{connection.settings_dict['NAME']}").geturl()
    env = {name: value for name, value in os.environ.items() if name not in OWN}
    env |= {"DATABASE_URL": database, "PUBLIC_URL": f"http://127.0.0.1:{port}", "DEMO": "1", "LOG_LEVEL": "INFO"}
    return Plan(demo=False, host="127.0.0.1", port=port, data_dir=folder, env=env)
