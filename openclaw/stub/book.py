"""The stub's memory: transcripts that survive a restart, and a record of every run for the tests."""

from __future__ import annotations

import json
import time
from collections import Counter, defaultdict, deque
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pathlib import Path

Json = dict[str, Any]
# What is kept in memory; the oldest goes first.
KEEP_RUNS = 50_000
KEEP_SESSIONS = 10_000
KEEP_ROWS = 1000  # of one session


class Book:
    """Rows per session, kept in an append-only file when one is given (one JSON entry per line).

    Entries: `row` (a transcript row, also what came of a run), `queued` (a turn that waits behind another), `ran`.
    """

    def __init__(self, path: Path | None = None) -> None:
        self.rows: dict[str, list[Json]] = defaultdict(list)
        self.queued: dict[str, dict[str, str]] = defaultdict(dict)
        self.ran: deque[Json] = deque(maxlen=KEEP_RUNS)
        self._file = None
        if path:
            for line in path.read_bytes().splitlines() if path.exists() else ():
                self._replay(line)
            self._file = path.open("ab", buffering=0)
            self._file.write(b"\n")  # ends what a killed process left half written

    def _replay(self, line: bytes) -> None:
        try:
            entry = json.loads(line)
        except ValueError:  # an empty line, or the last one of a killed process
            return
        self._apply(entry)

    def _apply(self, entry: Json) -> None:
        session = entry["session"]
        if entry["entry"] == "row":
            self._keep(session, entry["row"])
            self.queued[session].pop(entry["row"].get("idempotencyKey", "").removesuffix(":user"), None)
        elif entry["entry"] == "queued":
            self.queued[session][entry["key"]] = entry["message"]
        else:
            self.ran.append(entry)

    def _keep(self, session: str, row: Json) -> None:
        rows = self.rows[session]
        rows.append(row)
        del rows[:-KEEP_ROWS]
        if len(self.rows) > KEEP_SESSIONS:
            oldest = next(iter(self.rows))
            del self.rows[oldest]
            self.queued.pop(oldest, None)

    def _write(self, entry: Json) -> None:
        self._apply(entry)
        if self._file:
            self._file.write(json.dumps(entry, ensure_ascii=False).encode() + b"\n")

    def close(self) -> None:
        if self._file:
            self._file.close()

    # --- writing ------------------------------------------------------------------------------------------------------

    def queue(self, session: str, key: str, message: str) -> None:
        self._write({"entry": "queued", "session": session, "key": key, "message": message})

    def run(self, session: str, key: str, message: str, resumes: str) -> None:
        self._write({"entry": "ran", "session": session, "key": key, "message": message, "resumes": resumes})

    def user(self, session: str, key: str, message: str, resumes: str) -> None:
        row: Json = {"role": "user", "content": message, "idempotencyKey": f"{key}:user"}
        if resumes:
            row["provenance"] = {"kind": "internal_system", "sourceTool": "main_session_restart_recovery"}
        self._row(session, row, {})

    def assistant(self, session: str, key: str, content: list[Json], *, failed: bool = False) -> None:
        row: Json = {"role": "assistant", "content": content, "stopReason": "error" if failed else "stop"}
        if failed:
            row["idempotencyKey"] = f"{key}:terminal-error"
        self._row(session, row, {"runId": key})

    def aborted(self, session: str, key: str, said: str) -> None:
        row: Json = {"role": "assistant", "content": [{"type": "text", "text": said}], "stopReason": "stop"}
        row |= {"model": "gateway-injected", "openclawAbort": {"aborted": True, "origin": "rpc", "runId": key}}
        self._row(session, row, {"runId": key})

    def _row(self, session: str, row: Json, inner: Json) -> None:
        before = self.rows[session][-1:]
        inner |= {"seq": before[0]["__openclaw"]["seq"] + 1 if before else 1}
        row |= {"timestamp": int(time.time() * 1000), "__openclaw": inner}
        self._write({"entry": "row", "session": session, "row": row})

    # --- reading ------------------------------------------------------------------------------------------------------

    def interrupted(self) -> list[tuple[str, str, str]]:
        """Return (session, key, message) of each turn that began and did not end before the process did."""
        found = []
        for session, rows in self.rows.items():
            starts = [row for row in rows if row["role"] == "user" and "provenance" not in row]
            if starts and rows[-1]["role"] == "user":
                key = starts[-1]["idempotencyKey"].removesuffix(":user")
                found.append((session, key, starts[-1]["content"]))
        return found

    def record(self) -> list[Json]:
        """Return every run once per key, with how often the key ran."""
        counts = Counter(run["key"] for run in self.ran)
        names = {"session": "session_key", "key": "key", "message": "message", "resumes": "resumes"}
        once = {run["key"]: {names[name]: run[name] for name in names} for run in self.ran}
        return [run | {"count": counts[key]} for key, run in once.items()]
