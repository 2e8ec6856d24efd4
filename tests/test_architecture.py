"""What import-linter cannot say: its lists are complete, the wire knows no settings, and nothing grows too long."""

from __future__ import annotations

import ast
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
CONTRACTS = {
    contract["name"]: contract
    for contract in tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
}
# Started before there is a Django to speak of, or by Django itself: they stand beside the house.
BESIDE = {
    "apps",
    "checks",
    "child",
    "embedded",
    "environment",
    "processes",
    "settings",
    "supervisor",
    "migrations",
    "templatetags",
}
ROOMS = {"operations", "pipeline", "runtime", "security"}
CODE = [
    path
    for package in ("bridge", "accounts", "openclaw", "channels_wechat")
    for path in sorted((ROOT / package).rglob("*.py"))
    if "migrations" not in path.parts
]
LONGEST_FILE, LONGEST_FUNCTION = 450, 40


def modules(package: str) -> set[str]:
    """Names of the package's modules and sub-packages."""
    found = {path.stem for path in (ROOT / package).glob("*.py")} - {"__init__"}
    return found | {path.parent.name for path in (ROOT / package).glob("*/__init__.py")}


def in_rooms() -> set[str]:
    """The modules of the packages of which each module has a floor of its own."""
    paths = [path for room in ROOMS for path in (ROOT / "bridge" / room).rglob("*.py") if path.stem != "__init__"]
    return {".".join(path.relative_to(ROOT / "bridge").with_suffix("").parts) for path in paths}


def test_every_module_has_its_floor() -> None:
    floors = CONTRACTS["The house has floors"]["layers"]
    named = {name.strip() for floor in floors for name in floor.split("|")}
    assert {name.removeprefix("bridge.") for name in named if name.startswith("bridge.")} == (
        modules("bridge") - BESIDE - ROOMS | in_rooms()
    )


@pytest.mark.parametrize(
    ("contract", "package", "besides"),
    [
        ("The simulator shares no code with the channels that it checks", "channels_wechat", "simulator"),
        ("The stand-in gateway shares no code with the client that it checks", "openclaw", "stub"),
    ],
)
def test_no_module_is_forgotten(contract: str, package: str, besides: str) -> None:
    named = {name.removeprefix(f"{package}.") for name in CONTRACTS[contract]["forbidden_modules"]}
    assert named == modules(package) - {besides, "migrations"}


def test_the_wire_knows_neither_database_nor_settings() -> None:
    forbidden = ("django.db", "django.conf", "django.core.cache")
    for path in (ROOT / "channels_wechat").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            assert not [name for name in names if name.startswith(forbidden)], path


def test_the_admins_look_is_imported_in_one_place() -> None:
    files = {path.name for path in (ROOT / "bridge").rglob("*.py") if "from unfold" in path.read_text()}
    assert files == {"theme.py"}


@pytest.mark.parametrize("path", CODE, ids=lambda path: str(path.relative_to(ROOT)))
def test_nothing_grows_too_long(path: Path) -> None:
    text = path.read_text()
    assert len(text.splitlines()) <= LONGEST_FILE
    functions = [n for n in ast.walk(ast.parse(text)) if isinstance(n, ast.FunctionDef | ast.AsyncFunctionDef)]
    long = {n.name: n.end_lineno - n.lineno + 1 for n in functions if n.end_lineno}
    assert {name: length for name, length in long.items() if length > LONGEST_FUNCTION} == {}
