"""What a supervisor of small programs wrote."""

from __future__ import annotations

import io
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from bridge.runtime.launcher.supervisor import Supervisor

ROOT = Path(__file__).resolve().parents[2]


def said(supervisor: Supervisor) -> str:
    assert isinstance(supervisor.out, io.StringIO)
    return supervisor.out.getvalue()
