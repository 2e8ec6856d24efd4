"""Followers and users of the simulated platform: what they do arrives here, and goes through the pipeline when a test says so."""

from __future__ import annotations

import queue
import threading
from contextlib import contextmanager
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, urlsplit

from django.db import connection

from accounts.channels import build_channel
from bridge.models import Message
from bridge.pipeline.inbound import router
from channels_wechat.simulator import RunningSimulator
from tests.support import factories
from tests.support.factories import FAN, KEY, MINI, OFFICIAL, TOKEN, USER, WEIXIN_FIELDS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from accounts.models import ChannelAccount
    from channels_wechat.simulator import SimulatorClient

SEND = "message/custom/send"
TEMPLATE = {"priTmplId": "T1", "title": "报名", "content": "会议:{{thing1.DATA}}", "example": "", "type": 2}
_SHIFTS = (
    "UPDATE accounts_replywindow SET until = until - %(by)s, last_action_at = last_action_at - %(by)s,"
    " sent_times = ARRAY(SELECT used - %(by)s FROM unnest(sent_times) AS used)",
    "UPDATE accounts_accesstoken SET expires_at = expires_at - %(by)s",
    "UPDATE bridge_message SET created_at = created_at - %(by)s, occurred_at = occurred_at - %(by)s",
    "UPDATE bridge_delivery SET queued_at = queued_at - %(by)s, due_at = due_at - %(by)s, created_at = created_at - %(by)s",
)


class Doorstep(ThreadingHTTPServer):
    """The callback address. Each callback is answered at once and kept until a test takes it in."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.came: queue.Queue[tuple[dict[str, str], bytes]] = queue.Queue()


class _Handler(BaseHTTPRequestHandler):
    server: Doorstep

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.server.came.put((dict(parse_qsl(urlsplit(self.path).query, keep_blank_values=True)), body))
        self.send_response(200)
        self.send_header("Content-Length", "7")
        self.end_headers()
        self.wfile.write(b"success")

    def log_message(self, *words: Any) -> None:
        """Quiet."""


class Crowd:
    """A platform with one Official Account and one Mini Program, and a person of each."""

    def __init__(self, client: SimulatorClient, door: Doorstep) -> None:
        self.client, self.door = client, door
        url = f"http://127.0.0.1:{door.server_address[1]}/"
        keys = {"secret": WEIXIN_FIELDS["app_secret"], "token": TOKEN, "aes_key": KEY, "callback_url": url}
        client.settings(delivery_interval=0.05)
        client.official(OFFICIAL, **keys)
        client.mini(MINI, **keys, templates=[TEMPLATE])
        client.person(OFFICIAL, "小红", FAN)
        client.person(MINI, "小明", USER)

    def heard(self, account: ChannelAccount) -> Message:
        """The next callback, stored; not routed."""
        query, body = self.door.came.get(timeout=15)
        (said,) = build_channel(account).parse(query, body).inbound  # type: ignore[attr-defined]
        pk = factories.receive(account, said)
        assert pk is not None
        return Message.objects.get(pk=pk)

    def does(self, account: ChannelAccount, deed: Callable[[], object]) -> Message:
        """Done, heard of and routed."""
        deed()
        message = self.heard(account)
        router.route_waiting()
        message.refresh_from_db()
        return message

    def says(self, account: ChannelAccount, text: str = "在吗", who: str = FAN) -> Message:
        return self.does(account, lambda: self.client.say(text, official=OFFICIAL, from_=who))

    def shown(self, who: str = FAN) -> list[str]:
        """The texts that the person sees, in order."""
        return [entry["text"] for entry in self.client.sent_to(who)]

    def later(self, seconds: float) -> None:
        """So much time passes: by the platform's clock, and in our rows, which lie further back then."""
        self.client.advance(seconds)
        with connection.cursor() as cursor:
            for sql in _SHIFTS:
                cursor.execute(sql, {"by": timedelta(seconds=seconds)})

    def refusals(self) -> dict[str, int]:
        """What the platform did not take: "path code" → how often."""
        errors: dict[str, int] = self.client.record()["errors"]
        return errors


@contextmanager
def crowd() -> Iterator[Crowd]:
    door = Doorstep()
    thread = threading.Thread(target=door.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    try:
        with RunningSimulator() as simulator:
            yield Crowd(simulator.client, door)
    finally:
        door.shutdown()
        door.server_close()
        thread.join(5)
