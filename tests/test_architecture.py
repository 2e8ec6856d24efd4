"""What import-linter cannot say: its lists are complete, the wire knows no settings, and nothing grows too long."""

from __future__ import annotations

import ast
from typing import TYPE_CHECKING

import pytest

from tests.structure import (
    CONTRACTS,
    LAYERS,
    MOST_FLAT,
    ROOT,
    arrows_up,
    capability_checks,
    circles,
    flat_modules,
    lines_that_check_a_capability,
    long_files,
    long_functions,
    name_of,
)

if TYPE_CHECKING:
    from pathlib import Path

# Rooms of `bridge` that Django itself loads, or that hold no code of ours that others import.
BESIDE = {"bridge.apps", "bridge.migrations", "bridge.settings", "bridge.templatetags"}
# Those whose folders are the rooms.
HALLS = ("pipeline", "runtime")


def rooms(folder: Path) -> set[str]:
    """Return the names of the modules and packages in this folder."""
    found = {path.stem for path in folder.glob("*.py")} | {path.parent.name for path in folder.glob("*/__init__.py")}
    return {name_of(folder / f"{name}.py") for name in found - {"__init__"}}


def test_every_room_has_its_layer() -> None:
    bridge = ROOT / "bridge"
    expected = rooms(bridge) - BESIDE - {f"bridge.{hall}" for hall in HALLS}
    expected |= {room for hall in HALLS for room in rooms(bridge / hall)}
    expected |= rooms(ROOT / "channels_wechat") - {"channels_wechat.simulator"} | {"accounts", "openclaw"}
    assert {name for layer in LAYERS for name in layer} == expected


@pytest.mark.parametrize(
    ("contract", "package", "besides"),
    [
        ("The simulator shares no code with the channels that it checks", "channels_wechat", "simulator"),
        ("The stand-in gateway shares no code with the client that it checks", "openclaw", "stub"),
    ],
)
def test_no_module_is_forgotten(contract: str, package: str, besides: str) -> None:
    beside = {f"{package}.{besides}", f"{package}.migrations"}
    assert set(CONTRACTS[contract]["forbidden_modules"]) == rooms(ROOT / package) - beside


def test_the_wire_knows_neither_database_nor_settings() -> None:
    forbidden = ("django.db", "django.conf", "django.core.cache")
    for path in (ROOT / "channels_wechat").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            assert not [name for name in names if name.startswith(forbidden)], path


def test_the_admins_look_is_imported_in_one_place() -> None:
    files = {path.name for path in (ROOT / "bridge").rglob("*.py") if "from unfold" in path.read_text()}
    assert files == {"unfold.py"}


def test_no_import_runs_upwards_inside_a_function_either() -> None:
    assert arrows_up() == []


def test_no_modules_import_each_other() -> None:
    # The pages of accounts are being taken apart.
    assert [group for group in circles() if "bridge.admin.accounts.pages" not in group] == []


def test_nothing_lies_flat_and_nothing_grows_too_long() -> None:
    assert len(flat_modules()) <= MOST_FLAT
    assert long_files() == []
    assert long_functions() == []


def test_only_a_reply_path_asks_how_a_platform_takes_answers() -> None:
    assert capability_checks() == []


@pytest.mark.parametrize(
    "planted",
    [
        "if isinstance(channel, Streaming): ...",
        "if isinstance(channel, (Media, Passive)): ...",
        "if issubclass(found, Passive): ...",
        "if can(account.kind, Streaming): ...",
        "if answers_passively(channel, 1): ...",
        "if capabilities.answers_passively(channel, 1): ...",
        "if isinstance(channel, contract.Passive): ...",
        "from accounts.capabilities import answers_passively_as_cached",
        "from channels_wechat.contract.capabilities import Uploads, Streaming",
    ],
)
def test_a_planted_check_of_a_capability_is_found(planted: str) -> None:
    allowed = "if TYPE_CHECKING:\n    from channels_wechat.contract.capabilities import Passive, Streaming\n"
    assert lines_that_check_a_capability(ast.parse(f"{allowed}{planted}")) == [3]
