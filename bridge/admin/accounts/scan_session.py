"""What a staff member's session keeps of a code that somebody is to scan. Encrypted, because the code leads to the secret."""

from __future__ import annotations

import json
import time
from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING, Any

from accounts.channels import http
from accounts.fields import Undecryptable, decrypt, encrypt

if TYPE_CHECKING:
    from django.http import HttpRequest

    from channels_wechat.contract.capabilities import ScanToCreate

SESSION_KEY = "scan_to_create"


@dataclass(frozen=True, slots=True)
class StartedScan:
    """fields: what staff entered. account: the id of the one whose credentials are renewed; 0: a new one is made.

    code, address: as in `ScanCode`; empty: it is good no more, for the reason `words`. began_at, asked_at: Unix times, of the code and of
    the last look at it. state: of the last `Scan`; typed: what was typed for it and is still to be sent.
    """

    kind: str
    fields: dict[str, Any]
    account: int = 0
    code: str = field(default="", repr=False)
    address: str = field(default="", repr=False)
    began_at: float = 0.0
    asked_at: float = 0.0
    state: str = "waiting"
    typed: str = field(default="", repr=False)
    words: str = ""

    @property
    def base_url(self) -> str:
        """The API address that staff entered; empty: the platform's own."""
        return str(self.fields.get("api_base_url") or "")


def begin(request: HttpRequest, channel: type[ScanToCreate], scan: StartedScan) -> None:
    """Have the platform make a new code. Raises ChannelError, and then nothing changes."""
    code = channel.fetch_scan_code(http(), scan.base_url)
    fresh = StartedScan(scan.kind, scan.fields, scan.account)
    keep(request, replace(fresh, code=code.code, address=code.address, began_at=time.time()))


def read(request: HttpRequest, kind: str) -> StartedScan | None:
    """Return what was begun for this kind; None also where another version kept it, or under a key that is no more."""
    kept = request.session.get(SESSION_KEY)
    try:
        found = StartedScan(**json.loads(decrypt(kept, SESSION_KEY))) if kept else None
    except (Undecryptable, ValueError, TypeError):
        return None
    return found if found and found.kind == kind else None


def keep(request: HttpRequest, scan: StartedScan) -> None:
    request.session[SESSION_KEY] = encrypt(json.dumps(asdict(scan)), SESSION_KEY)


def forget(request: HttpRequest) -> None:
    request.session.pop(SESSION_KEY, None)
