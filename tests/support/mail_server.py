"""A mail server for tests: it speaks SMTP on loopback, keeps what it is given and refuses the addresses that a test names."""

from __future__ import annotations

import email
import socketserver
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator
    from email.message import Message


class MailServer(socketserver.ThreadingTCPServer):
    daemon_threads = True
    block_on_close = False

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Session)
        self.mails: list[tuple[str, Message]] = []  # recipient and mail
        self.refused: set[str] = set()

    @property
    def port(self) -> int:
        return int(self.server_address[1])


class _Session(socketserver.StreamRequestHandler):
    server: MailServer

    def handle(self) -> None:
        recipients: list[str] = []
        self._say("220 mail")
        while line := self.rfile.readline().decode().strip():
            word, address = line[:4].upper(), line.partition("<")[2].rstrip(">")
            if word == "RCPT" and address in self.server.refused:
                self._say("550 no such address")
            elif word == "DATA":
                self._say("354 go on")
                mail = self._read_mail()
                self.server.mails += [(recipient, mail) for recipient in recipients]
                recipients = []
                self._say("250 taken")
            else:
                recipients += [address] if word == "RCPT" else []
                self._say("221 bye" if word == "QUIT" else "250 yes")

    def _say(self, text: str) -> None:
        self.wfile.write(f"{text}\r\n".encode())

    def _read_mail(self) -> Message:
        lines = []
        while (line := self.rfile.readline()) != b".\r\n":
            lines.append(line)
        return email.message_from_bytes(b"".join(lines))


@contextmanager
def mail_server() -> Iterator[MailServer]:
    with MailServer() as server:
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
        try:
            yield server
        finally:
            server.shutdown()
