"""The recorded frames of a gateway."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from openclaw.transcript import Transcript, read_transcript

FIXTURES = Path(__file__).parents[1] / "fixtures" / "openclaw"


def load(name: str) -> dict[str, Any]:
    return json.loads((FIXTURES / f"{name}.json").read_text())


def transcript(*rows: dict[str, Any], **more: Any) -> Transcript:
    return read_transcript({"messages": list(rows), **more})


def asked(run: str, said: str = "x", **more: Any) -> dict[str, Any]:
    return {"role": "user", "content": said, "idempotencyKey": f"{run}:user", **more}


def told(run: str, said: str, **more: Any) -> dict[str, Any]:
    return {"role": "assistant", "content": said, "stopReason": "stop", "__openclaw": {"runId": run}, **more}
