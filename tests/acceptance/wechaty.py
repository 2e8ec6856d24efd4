"""A personal account over Wechaty's real puppet service (npm): nothing lost or doubled while either side breaks, no loop, and how quick.

python -m tests.acceptance.wechaty [--messages 500] [--echo 1000] [--median 30] [--still 30] [--only breaks,echo,pauses] [--json]

breaks: the service is restarted twice and the connector killed, while people write in its rooms. echo: the account's own messages come
back to it. pauses: the service, the connector and the gateway stand still in turn.
The service keeps nothing for a client that is not there, and confirms nothing. Its record has each event that it wrote to a stream: those
are the messages that must be answered. What it wrote in the second before one of the two died nobody may have read: told apart.
"""

from __future__ import annotations

import argparse
import re
import signal
import sys
import threading
import time
from collections import Counter
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from tests.acceptance.stage import Stage, stage, wait_until
from tests.acceptance.verdict import Verdict, percentile, progress

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.real.wechaty_lab import PuppetService

PARTS = ("breaks", "echo", "pauses")
ROOMS = 10
EVERY = 0.05  # seconds between two messages
EVERY_MEANWHILE = 0.25  # while nobody may listen
CONNECT_SECONDS, SETTLE_SECONDS, ANSWER_SECONDS = 90.0, 180.0, 20.0
LAST_MOMENT = 1.0  # seconds before a death, in which what was written may not have been read
LOOP_SECONDS = 5.0  # an answer to an answer would come within it
NUMBER = re.compile(r"#(\d{5})#")
MESSAGE = 2  # the number of the event

_STORED = "SELECT idempotency_key, text FROM bridge_message WHERE direction = 'in'"
_UNFINISHED = "SELECT count(*) FROM bridge_delivery WHERE finished_at IS NULL"
_UNROUTED = "SELECT count(*) FROM bridge_message WHERE direction = 'in' AND routed_at IS NULL"
_UNCERTAIN = """SELECT q.text FROM bridge_delivery d JOIN bridge_message a ON a.id = d.message_id
JOIN bridge_message q ON q.id = a.reply_to_id WHERE d.target = 'channel' AND d.state = 'uncertain'"""
_TURNS_OPEN = "SELECT count(*) FROM bridge_delivery WHERE target = 'agent' AND state IN ('pending', 'sending')"
_GAPS = "SELECT count(*), coalesce(max(extract(epoch FROM until - since)), 0) FROM accounts_connectiongap"
_TURNS = """SELECT extract(epoch FROM a.finished_at - a.started_at) FROM bridge_attempt a JOIN bridge_delivery d
ON d.id = a.delivery_id WHERE d.target = 'agent' AND a.outcome = 'ok' ORDER BY a.id"""


@dataclass
class Pause:
    """A process that stood still. seen: what the rows showed meanwhile, in order; back: seconds until all was as before."""

    name: str
    seen: list[str] = field(default_factory=list)
    back: float | None = None


@dataclass
class Run:
    """said: id at the service → number of the message, which its text and its answer bear."""

    stage: Stage
    service: PuppetService
    said: dict[str, int] = field(default_factory=dict)
    deaths: list[float] = field(default_factory=list)
    pauses: list[Pause] = field(default_factory=list)
    back: dict[str, float] = field(default_factory=dict)

    # --- speaking

    def talk(self, count: int) -> None:
        """So many messages of Alice that mention the account, in the rooms in turn."""
        for _ in range(count):
            self.say()
            time.sleep(EVERY)

    def say(self) -> None:
        number, message = self._next_message()
        self.said[str(self.service.do("say", **message)["id"])] = number

    def converse(self, count: int) -> None:
        """So many messages, each when the one before it is answered."""
        for _ in range(count):
            number, message = self._next_message()
            told = self.service.do("converse", **message, until=f"#{number:05d}#", seconds=ANSWER_SECONDS)
            self.said[str(told["id"])] = number

    def _next_message(self) -> tuple[int, dict[str, object]]:
        number = len(self.said)
        place = {"room": room_id(number % ROOMS), "mentions": ["wxid_bot"]}
        return number, {"text": f"@LabBot\u2005#{number:05d}# 好", **place}

    @contextmanager
    def talking(self) -> Iterator[None]:
        """People go on writing meanwhile."""
        over = threading.Event()

        def go_on() -> None:
            while not over.wait(EVERY_MEANWHILE):
                self.say()

        speaker = threading.Thread(target=go_on, name="speaker")
        speaker.start()
        try:
            yield
        finally:
            over.set()
            speaker.join()

    # --- the parts

    def play_breaks(self, messages: int) -> bool:
        self._talk_until(messages // 4)
        progress("the service goes away for 1.5 s")
        self._die("service, restarted", lambda: self.service.do("restart", downMs=1500))
        self._talk_until(messages // 2)
        progress("the connector is killed")
        self._die("connector, killed", lambda: self.stage.signal_group("connector", signal.SIGKILL))
        self._talk_until(3 * messages // 4)
        progress("the service is ended and started again")
        self.deaths.append(time.time())
        self.service.end(signal.SIGTERM)
        began = time.monotonic()
        self.service.start()
        make_rooms(self.service)
        self.back["service, ended and started"] = self._wait_connected(began)
        self._talk_until(messages)
        return self.settle()

    def _talk_until(self, count: int) -> None:
        """Until the service has written so many to a stream."""
        while missing := max(0, count - len(self.handed())):
            self.talk(missing)

    def _die(self, name: str, end: Callable[[], object]) -> None:
        """End something while people write, until the account is connected again."""
        with self.talking():
            self.deaths.append(time.time())
            began, streams = time.monotonic(), self.service.look("state")["streams"]
            end()
            wait_until(lambda: self.service.look("state")["streams"] > streams, CONNECT_SECONDS, pause=0.05)
            self.back[name] = self._wait_connected(began)

    def play_pauses(self, still: float) -> bool:
        for name in ("service", "connector", "gateway"):
            progress(f"{name} stands still for {still:g} s")
            self.pauses.append(self._pause(name, still))
            self.talk(20)
        return self.settle()

    def _pause(self, name: str, still: float) -> Pause:
        found = Pause(name)
        self._stop_and_go(name, signal.SIGSTOP)
        try:
            end = time.monotonic() + still
            while time.monotonic() < end:
                self._look(found)
                if name != "service":
                    self.say()
                time.sleep(0.5)
        finally:
            self._stop_and_go(name, signal.SIGCONT)
        began = time.monotonic()
        if wait_until(lambda: self._look(found) == "connected" and is_gateway_connected(), CONNECT_SECONDS):
            found.back = time.monotonic() - began
        return found

    def _stop_and_go(self, name: str, number: signal.Signals) -> None:
        if name == "service":
            self.service.signal(number)
        else:
            self.stage.signal_group(name, number)

    def _look(self, found: Pause) -> str:
        """What staff see: of the connection and why, and that turns wait for a gateway, whose heartbeats are 30 s apart."""
        state, code = read_state()
        shown = f"{state} ({code})" if code else state
        shown += "" if is_gateway_connected() else ", gateway away"
        shown += ", turns wait" if found.name == "gateway" and self.stage.count(_TURNS_OPEN) else ""
        if found.seen[-1:] != [shown]:
            found.seen.append(shown)
        return state

    # --- waiting

    def wait_connected(self) -> None:
        if self._wait_connected(time.monotonic()) > CONNECT_SECONDS:
            raise RuntimeError(f"the account did not connect: {read_state()}")

    def _wait_connected(self, began: float) -> float:
        wait_until(lambda: read_state()[0] == "connected", CONNECT_SECONDS, pause=0.1)
        return time.monotonic() - began

    def settle(self) -> bool:
        """Wait until everything stored is answered or given up, and then for what should not come."""
        settled = wait_until(self._is_settled, SETTLE_SECONDS, pause=1)
        time.sleep(LOOP_SECONDS)
        return settled

    def _is_settled(self) -> bool:
        return not self.stage.count(_UNFINISHED) and not self.stage.count(_UNROUTED)

    # --- evidence

    def handed(self) -> dict[int, float]:
        """Number → when the service wrote its event to a stream."""
        events = (one for one in self.service.recorded("event") if one["type"] == MESSAGE)
        found = {one["payload"]["messageId"]: float(one["at"]) for one in events}
        return {number: found[message] for message, number in self.said.items() if message in found}

    def answers(self) -> list[tuple[int, str, float]]:
        """(number, room, when) of each text that the account was made to send, in order."""
        sent = [one for one in self.service.recorded("sent") if one["kind"] == "text"]
        return [(number_in(one["text"]), one["conversationId"], float(one["at"])) for one in sent]

    def stored(self) -> Counter[int]:
        found = {key: self.said.get(key) for key, _text in self.stage.rows(_STORED)}
        return Counter(number for number in found.values() if number is not None)


def number_in(text: str) -> int:
    found = NUMBER.search(text)
    return int(found[1]) if found else -1


# --- the verdict


def judge_delivery(run: Run, found: Verdict) -> None:
    """Every message that the service wrote to a stream is answered exactly once, and in the order of its room."""
    handed, stored, answers = run.handed(), run.stored(), run.answers()
    counts = Counter(number for number, _room, _at in answers)
    last_moment = {
        number for number, at in handed.items() if any(0 <= death - at < LAST_MOMENT for death in run.deaths)
    }
    uncertain = {number_in(text) for (text,) in run.stage.rows(_UNCERTAIN)}
    missing = set(handed) - set(stored)
    found.note("messages said", len(run.said))
    found.note("said while nobody listened, lost by the service", len(run.said) - len(handed))
    found.note("written in the second before a death and never read", len(missing & last_moment))
    found.exactly("written to a stream and lost", len(missing - last_moment), 0)
    found.note("answers of which nobody knows whether they arrived", len(uncertain))
    found.exactly("stored and not answered", len(set(stored) - set(counts) - uncertain), 0)
    found.exactly("answered twice", sum(count > 1 for count in counts.values()), 0)
    found.exactly("answers to nothing", counts[-1], 0)
    found.exactly("answers out of their room's order", count_misplaced(answers), 0)
    gaps, longest = run.stage.rows(_GAPS)[0]
    found.note("gaps that the transcripts show, and the longest", f"{gaps}, {longest:.1f} s")
    for name, seconds in run.back.items():
        found.check(f"connected again: {name}", f"{seconds:.1f} s", "≤ 45 s", seconds <= 45)


def count_misplaced(answers: list[tuple[int, str, float]]) -> int:
    """How many answers come after one to a later message of their room."""
    latest: dict[str, int] = {}
    misplaced = 0
    for number, room, _at in answers:
        misplaced += number < latest.get(room, -1)
        latest[room] = max(number, latest.get(room, -1))
    return misplaced


def judge_echo(run: Run, found: Verdict, first: int, most: float) -> None:
    """first: the number of the first message of this part; most: milliseconds of the median.

    The stand-in agent answers at once; its own milliseconds, and those of the gateway, are in it.
    """
    handed = run.handed()
    answers = {number: at for number, _room, at in run.answers() if number >= first}
    told = len([one for one in run.answers() if one[0] >= first])
    said = len(run.said) - first
    found.exactly(f"answers to {said} messages with the echo on", told, said)
    spent = [answers[number] - handed[number] for number in answers if number in handed]
    median = percentile(spent, 0.5)
    found.check("event → reply, median", in_milliseconds(median), f"≤ {most:g} ms", median * 1000 <= most)
    found.note("event → reply, 95 %", in_milliseconds(percentile(spent, 0.95)))
    found.note("event → reply, longest", in_milliseconds(max(spent, default=0)))
    turns = [float(seconds) for (seconds,) in run.stage.rows(_TURNS)][-said:]
    found.note("of it the turn of the agent, median", in_milliseconds(percentile(turns, 0.5)))


def judge_pauses(run: Run, found: Verdict) -> None:
    for pause in run.pauses:
        found.note(f"{pause.name} stood still: shown meanwhile", " → ".join(pause.seen))
        is_shown = any(state != "connected" for state in pause.seen)
        found.exactly(f"{pause.name} stood still: staff see it", is_shown, True)
        seconds = -1.0 if pause.back is None else pause.back
        found.check(f"{pause.name} stood still: as before", f"{seconds:.1f} s", "≤ 60 s", 0 <= seconds <= 60)


def in_milliseconds(seconds: float) -> str:
    return f"{seconds * 1000:.1f} ms"


# --- rows


def read_state() -> tuple[str, str]:
    """What the account's page shows of its connection, and the code of why."""
    from accounts.models import Connection

    row = Connection.objects.filter(account__kind="wechaty").first()
    return (str(row.current_state), row.code) if row else ("none", "")


def is_gateway_connected() -> bool:
    from accounts.models import Connection

    row = Connection.objects.filter(gateway__isnull=False).first()
    return row is not None and row.current_state == "connected"


def make_account(run: Run) -> None:
    """An account without pacing, whose rooms go to the stand-in gateway where it is mentioned."""
    from accounts.models import ChannelAccount, cleaned_credentials
    from bridge.models import Route
    from channels_wechat import channel_class
    from openclaw.models import Gateway

    env = run.stage.plan.env
    gateway = Gateway(name="Stand-in", base_url=env["DEMO_GATEWAY_URL"], max_in_flight=100)
    gateway.token = env["DEMO_GATEWAY_TOKEN"]
    gateway.save()
    fields = {"token": run.service.token, "endpoint": run.service.endpoint, "tls": "off", "knows_risk": "on"}
    credentials = cleaned_credentials("wechaty", fields)
    account = ChannelAccount(kind="wechaty", name="Personal", credentials=credentials, turns_per_minute=None)
    account.external_id = channel_class("wechaty").external_id(credentials)
    account.save()
    Route.objects.create(account=account, gateway=gateway, agent_id="main", trigger=Route.Trigger.MENTION)


def make_rooms(service: PuppetService) -> None:
    for number in range(ROOMS):
        service.do("room", id=room_id(number), topic=f"群{number}")


def room_id(number: int) -> str:
    return f"9{number:04d}@chatroom"


# --- the command


def play(run: Run, options: argparse.Namespace, found: Verdict) -> bool:
    """Play the parts, and add what they show to the verdict."""
    run.wait_connected()
    run.talk(20)  # the first answers of a process are slower than all others
    run.settle()
    if "breaks" in options.only:
        found.exactly("all settled after the breaks", run.play_breaks(options.messages), True)
    if "pauses" in options.only:
        found.exactly("all settled after the pauses", run.play_pauses(options.still), True)
        judge_pauses(run, found)
    if "echo" in options.only:
        first = len(run.said)
        run.converse(options.echo)
        found.exactly("all settled with the echo on", run.settle(), True)
        judge_echo(run, found, first, options.median)
    judge_delivery(run, found)
    return found.kept


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.acceptance.wechaty")
    parser.add_argument("--messages", type=int, default=500, help="in the part with the breaks")
    parser.add_argument("--echo", type=int, default=1000, help="messages in the part with the echo")
    parser.add_argument(
        "--median", type=float, default=30, help="most milliseconds from event to reply; of a machine at rest"
    )
    parser.add_argument("--still", type=float, default=30, help="seconds that each stands still")
    parser.add_argument("--only", type=lambda text: text.split(","), default=PARTS, help=",".join(PARTS))
    parser.add_argument("--json", action="store_true", help="the table as JSON")
    options = parser.parse_args()
    from tests.real.wechaty_lab import PuppetService, install

    found = Verdict("A personal account over Wechaty's real puppet service")
    with PuppetService(install()) as service, stage(pace=0) as running:
        run = Run(running, service)
        make_rooms(service)
        make_account(run)
        running.play(lambda: play(run, options, found))
        running.failed = not found.print(as_json=options.json)
        return 0 if found.kept else 1


if __name__ == "__main__":
    sys.exit(main())
