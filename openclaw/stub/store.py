"""Stores the stub's transcripts, which survive a restart, and a record of every run for the tests."""

from __future__ import annotations

import json
import time
from collections import Counter, defaultdict, deque
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pathlib import Path

Json = dict[str, Any]
# Limits of what is kept in memory; the oldest is removed first.
MAX_RUNS = 50_000
MAX_SESSIONS = 10_000
MAX_ROWS = 1000  # of one session


class Store:
    """Rows per session, kept in an append-only file when one is given (one JSON entry per line).

    Entries: `row` (a row of a transcript, also the outcome of a run), `queued` (a turn that waits for another), `run`.
    """

    def __init__(self, path: Path | None = None) -> None:
        self.rows: dict[str, list[Json]] = defaultdict(list)
        self.queued: dict[str, dict[str, str]] = defaultdict(dict)
        self.runs: deque[Json] = deque(maxlen=MAX_RUNS)
        self._file = None
        if path:
            for line in path.read_bytes().splitlines() if path.exists() else ():
                self._replay(line)
            self._file = path.open("ab", buffering=0)
            self._file.write(b"\n")  # ends an incomplete line of a killed process

    def _replay(self, line: bytes) -> None:
        try:
            entry = json.loads(line)
        except ValueError:  # an empty line, or the last one of a killed process
            return
        self._apply(entry)

    def _apply(self, entry: Json) -> None:
        session = entry["session"]
        if entry["entry"] == "row":
            self._add_row(session, entry["row"])
            self.queued[session].pop(entry["row"].get("idempotencyKey", "").removesuffix(":user"), None)
        elif entry["entry"] == "queued":
            self.queued[session][entry["key"]] = entry["message"]
        else:
            self.runs.append(entry)

    def _add_row(self, session: str, row: Json) -> None:
        rows = self.rows[session]
        rows.append(row)
        del rows[:-MAX_ROWS]
        if len(self.rows) > MAX_SESSIONS:
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

    def add_queued(self, session: str, key: str, message: str) -> None:
        self._write({"entry": "queued", "session": session, "key": key, "message": message})

    def add_run(self, session: str, key: str, message: str, resumes: str) -> None:
        self._write({"entry": "run", "session": session, "key": key, "message": message, "resumes": resumes})

    def add_user_row(self, session: str, key: str, message: str, resumes: str) -> None:
        row: Json = {"role": "user", "content": message, "idempotencyKey": f"{key}:user"}
        if resumes:
            row["provenance"] = {"kind": "internal_system", "sourceTool": "main_session_restart_recovery"}
        self._write_row(session, row, {})

    def add_assistant_row(self, session: str, key: str, content: list[Json], *, failed: bool = False) -> None:
        row: Json = {"role": "assistant", "content": content, "stopReason": "error" if failed else "stop"}
        if failed:
            row["idempotencyKey"] = f"{key}:terminal-error"
        self._write_row(session, row, {"runId": key})

    def add_aborted_row(self, session: str, key: str, text: str) -> None:
        row: Json = {"role": "assistant", "content": [{"type": "text", "text": text}], "stopReason": "stop"}
        row |= {"model": "gateway-injected", "openclawAbort": {"aborted": True, "origin": "rpc", "runId": key}}
        self._write_row(session, row, {"runId": key})

    def _write_row(self, session: str, row: Json, metadata: Json) -> None:
        last_row = self.rows[session][-1:]
        metadata |= {"seq": last_row[0]["__openclaw"]["seq"] + 1 if last_row else 1}
        row |= {"timestamp": int(time.time() * 1000), "__openclaw": metadata}
        self._write({"entry": "row", "session": session, "row": row})

    # --- reading ------------------------------------------------------------------------------------------------------

    def list_interrupted(self) -> list[tuple[str, str, str]]:
        """Return (session, key, message) of each turn that had not ended when the process ended."""
        turns = []
        for session, rows in self.rows.items():
            starts = [row for row in rows if row["role"] == "user" and "provenance" not in row]
            if starts and rows[-1]["role"] == "user":
                key = starts[-1]["idempotencyKey"].removesuffix(":user")
                turns.append((session, key, starts[-1]["content"]))
        return turns

    def list_runs(self) -> list[Json]:
        """Return one entry for each key, with how often the key ran."""
        counts = Counter(run["key"] for run in self.runs)
        names = {"session": "session_key", "key": "key", "message": "message", "resumes": "resumes"}
        by_key = {run["key"]: {names[name]: run[name] for name in names} for run in self.runs}
        return [run | {"count": counts[key]} for key, run in by_key.items()]
