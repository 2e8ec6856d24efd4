"""A kind of account that somebody logs in with a phone, over the platform of `fake_connection`: nothing but the contract."""

from __future__ import annotations

import json
import socket
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from django import forms

from channels_wechat.contract.capabilities import ContactRequests, ScanToCreate
from channels_wechat.contract.channel import CredentialsForm
from channels_wechat.contract.connection import CONNECTION_CODES, Login
from channels_wechat.contract.errors import Explanations
from channels_wechat.contract.explanations import Action, Explanation
from channels_wechat.contract.inbound_fields import word
from channels_wechat.contract.messages import Scan, ScanCode
from tests.support.fake_connection import FAKE, WAIT_SECONDS, FakeChat

if TYPE_CHECKING:
    from collections.abc import Mapping

    from channels_wechat.contract.connection import Session
    from channels_wechat.contract.http_client import HttpClient
    from tests.support.fake_connection import FakeLink, Frame

KIND = "fakephone"
PHONE = Explanations(
    {
        **FAKE,
        **CONNECTION_CODES,
        "gone": Explanation(Action.PERMANENT, "The invitation is over.", "Ask for another one."),
        "no_answer": Explanation(Action.UNKNOWN, "Nobody knows whether it was accepted."),
        "expired": Explanation(Action.PERMANENT, "The code has expired."),
    }
)


class FakePhoneCredentials(CredentialsForm):
    secrets = frozenset({"token"})

    phone = forms.CharField()
    token = forms.CharField(required=False)


class FakePhone(FakeChat, Login, ContactRequests, ScanToCreate):
    """What the platform tells of the login comes in frames: `login` (code, scanned) and `logged_in` (id, name)."""

    kind = KIND
    label = "Fake phone"
    Credentials = FakePhoneCredentials
    explanations = PHONE
    is_risky = True
    renews = True
    scan_text = "Scan this with your phone."
    scan_pause_seconds = 0.0
    test_calls: ClassVar[bool] = True

    @classmethod
    def external_id(cls, credentials: Mapping[str, Any]) -> str:
        return str(credentials["phone"])

    async def _begin(self, session: Session, link: FakeLink) -> None:
        """Nothing can be sent before somebody is logged in."""

    async def _take(self, frame: Frame, session: Session, link: FakeLink) -> bool:
        if frame["type"] == "login":
            await session.show_login(word(frame, "code"), scanned=frame.get("scanned") is True)
            return True
        if frame["type"] == "logged_in":
            await session.show_identity(word(frame, "id"), word(frame, "name"))
            await session.open(link)
            return True
        return False

    def log_out(self) -> None:
        _ask(type="log_out")

    def accept_request(self, kind: Literal["group", "friend"], request_id: str) -> None:
        _ask(type="accept", kind=kind, id=request_id)

    @classmethod
    def fetch_scan_code(cls, http: HttpClient, base_url: str = "") -> ScanCode:
        answer = _ask(type="scan_code")
        return ScanCode(answer["code"], answer["address"])

    @classmethod
    def find_scanned(cls, http: HttpClient, code: str, typed: str = "", base_url: str = "") -> Scan:
        answer = _ask(type="scan_state", code=code, typed=typed)
        return Scan(answer["state"], answer.get("credentials", {}), answer.get("code", ""))


def _ask(**frame: Any) -> Frame:
    """By a connection of its own, as any process may. Raises ChannelError."""
    try:
        with socket.create_connection(FakePhone.address, WAIT_SECONDS) as line:
            line.sendall(json.dumps({**frame, "request": 0}).encode() + b"\n")
            answer: Frame = json.loads(line.makefile("rb").readline())
    except OSError as error:
        raise PHONE.error("connect") from error
    if error := answer.get("error"):
        raise PHONE.error(error)
    return answer
