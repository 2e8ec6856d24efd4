"""The Python messages of `puppet.proto` are those that its text makes."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
PROTO = Path("channels_wechat/wechaty/puppet.proto")


@pytest.mark.parametrize("made", ["puppet_pb2.py", "puppet_pb2.pyi"])
def test_the_committed_messages_are_those_of_the_text(made: str, tmp_path: Path) -> None:
    command = [
        sys.executable,
        "-m",
        "grpc_tools.protoc",
        "-I",
        ".",
        f"--python_out={tmp_path}",
        f"--pyi_out={tmp_path}",
    ]
    subprocess.run([*command, str(PROTO)], cwd=ROOT, check=True)
    path = PROTO.parent / made
    assert (tmp_path / path).read_text() == (ROOT / path).read_text()
