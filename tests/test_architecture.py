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
    state_writes,
    state_writes_in,
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
    assert circles() == []


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


def test_only_settle_writes_the_state_of_a_delivery() -> None:
    assert state_writes() == []


@pytest.mark.parametrize(
    "code",
    [
        "delivery.state = State.DEAD",
        "row.state, row.reason = State.SKIPPED, reason",
        "row.state = other.state",
        "delivery.state = decided",
        "setattr(row, 'state', decided)",
        "rows.update(state=State.PENDING)",
        "rows.update(reason=reason, state='held')",
        "rows.update(state=fresh.state)",
        "Delivery.objects.filter(pk=pk).update(state=decided)",
        "Delivery.objects.filter(pk=pk).update(**fields)",
        "message.deliveries.update(**fields)",
        "Delivery.objects.bulk_update(rows, ['reason', 'state'])",
        "fields = {'state': State.HELD, 'reason': reason}",
        "def f():\n    fields = {'state': fresh.state}\n    rows.update(**fields)",
        "Delivery(target=Target.AGENT, state=decided)",
        "Delivery.objects.create(state=State.DEAD)",
        "build_part(message, 0, payload, state=State.DEAD)",
        "SQL = 'UPDATE bridge_delivery SET reason = 1, state = 2 WHERE id = 3'",
        "SQL = f'WITH a AS ({b}) UPDATE bridge_delivery AS d SET state = {c} FROM a'",
        "SQL = 'INSERT INTO bridge_delivery (id) VALUES (1) ON CONFLICT DO UPDATE SET state = 2'",
    ],
)
def test_a_write_of_a_state_is_found_by_reading(code: str) -> None:
    assert state_writes_in(ast.parse(code))


@pytest.mark.parametrize(
    "code",
    [
        "Delivery.objects.filter(state=State.DEAD).update(dismissed_at=now)",
        "shown = {'state': delivery.state}",
        "account.update(state=Health.OK)",
        "if delivery.state == State.DEAD: pass",
        "Attachment.objects.filter(pk=pk).update(**fields)",
        "SQL = \"UPDATE bridge_delivery SET tries = 1 WHERE state = 'sending'\"",
        "SQL = \"SELECT id FROM bridge_delivery WHERE state = 'held'\"",
        "Delivery(target=Target.AGENT, lane=lane)",
    ],
)
def test_what_only_reads_a_state_is_no_write(code: str) -> None:
    assert not state_writes_in(ast.parse(code))
