"""Where the advisory service cannot be asked, the audit says so and does not pass for one that found nothing."""

from __future__ import annotations

import json
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import TYPE_CHECKING

import pytest

from tests import audit

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def service() -> Iterator[HTTPServer]:
    """Answers every question with its `answer`: (status, object)."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            status, found = self.server.answer  # type: ignore[attr-defined]
            self.send_response(status)
            self.end_headers()
            self.wfile.write(json.dumps(found).encode())

        def log_message(self, *_: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def address(server: HTTPServer) -> str:
    return f"http://127.0.0.1:{server.server_port}"


def test_a_service_that_knows_advisories_is_asked(service: HTTPServer) -> None:
    service.answer = (200, {"vulnerabilities": [{"id": "PYSEC-1"}]})  # type: ignore[attr-defined]
    assert audit.unreachable(address(service)) == ""


@pytest.mark.parametrize(
    ("answer", "reason"),
    [((200, {"vulnerabilities": []}), "HTTP 200"), ((404, {}), "HTTP 404")],
)
def test_a_mirror_without_advisories_is_no_service(service: HTTPServer, answer: object, reason: str) -> None:
    service.answer = answer  # type: ignore[attr-defined]
    assert reason in audit.unreachable(address(service))


def test_it_says_that_it_did_not_run(capsys: pytest.CaptureFixture[str]) -> None:
    assert audit.main("http://127.0.0.1:9") == 0
    assert "AUDIT NOT RUN" in capsys.readouterr().out
