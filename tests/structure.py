"""`make structure`: figures of how the code is laid out, each of which has a bound that `tests.test_architecture` holds."""

from __future__ import annotations

import ast
import re
import tomllib
from collections import defaultdict
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("bridge", "accounts", "openclaw", "channels_wechat")
LONGEST_FILE, LONGEST_FUNCTION, MOST_FLAT = 450, 40, 8
CONTRACTS = {
    contract["name"]: contract
    for contract in tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
}
LAYERS = [[name.strip() for name in layer.split("|")] for layer in CONTRACTS["Imports run downwards"]["layers"]]
# What a platform can do that decides how an answer leaves.
WAYS = {"Streaming", "Passive"}
# The one place that asks.
PATHS = "bridge/pipeline/replies/paths.py"
# The only place that writes the state of a delivery, the calls that only look for it, and the states.
SETTLE = ("bridge/pipeline/delivery/settle.py", "bridge/pipeline/delivery/settle_sql.py")
READERS = ("filter", "exclude", "get", "Q")
STATES = ("pending", "sending", "delivered", "held", "skipped", "dead", "uncertain")


@cache
def code() -> dict[Path, ast.Module]:
    """Return each source file of the product with its syntax tree, without migrations."""
    paths = (path for package in PACKAGES for path in sorted((ROOT / package).rglob("*.py")))
    return {path: ast.parse(path.read_text()) for path in paths if "migrations" not in path.parts}


def name_of(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


@cache
def imports() -> dict[str, set[str]]:
    """Return what each module imports of ours, wherever in the file that stands, inside functions too."""
    modules = {name_of(path) for path in code()}
    found: dict[str, set[str]] = defaultdict(set)
    for path, tree in code().items():
        for node in ast.walk(tree):
            for name in _imported(node):
                while name and name not in modules:
                    name = name.rpartition(".")[0]
                if name and name != name_of(path):
                    found[name_of(path)].add(name)
    return found


def _imported(node: ast.AST) -> list[str]:
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    if isinstance(node, ast.ImportFrom) and node.module:
        return [f"{node.module}.{alias.name}" for alias in node.names]
    return []


def floor_of(module: str) -> int | None:
    """Return the number of the layer, the lowest one last; None for what stands beside the layers."""
    floors = {name: number for number, layer in enumerate(LAYERS) for name in layer}
    while module and module not in floors:
        module = module.rpartition(".")[0]
    return floors.get(module)


def flat_modules() -> list[str]:
    return sorted(path.name for path in (ROOT / "bridge").glob("*.py"))


def arrows_up() -> list[str]:
    """Return the imports from a layer into a higher one."""
    arrows = ((module, name, floor_of(module), floor_of(name)) for module, names in imports().items() for name in names)
    return sorted(
        f"{module} → {name}"
        for module, name, low, high in arrows
        if low is not None and high is not None and high < low
    )


def circles() -> list[list[str]]:
    """Return the groups of modules that import each other, by Tarjan's algorithm."""
    numbers: dict[str, int] = {}
    lowest: dict[str, int] = {}
    stack: list[str] = []
    found: list[list[str]] = []

    def visit(module: str) -> None:
        numbers[module] = lowest[module] = len(numbers)
        stack.append(module)
        for name in sorted(imports().get(module, ())):
            if name not in numbers:
                visit(name)
            if name in stack:
                lowest[module] = min(lowest[module], lowest[name])
        if lowest[module] == numbers[module]:
            group = stack[stack.index(module) :]
            del stack[stack.index(module) :]
            if len(group) > 1:
                found.append(sorted(group))

    for module in sorted(imports()):
        if module not in numbers:
            visit(module)
    return found


def long_files() -> list[str]:
    lengths = {path: len(path.read_text().splitlines()) for path in code()}
    return [f"{path.relative_to(ROOT)}: {length}" for path, length in lengths.items() if length > LONGEST_FILE]


def long_functions() -> list[str]:
    found = []
    for path, tree in code().items():
        for node in ast.walk(tree):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                length = (node.end_lineno or 0) - node.lineno + 1
                if length > LONGEST_FUNCTION:
                    found.append(f"{path.relative_to(ROOT)}:{node.lineno} {node.name}: {length}")
    return found


def state_writes() -> list[str]:
    """Return the places outside `settle` that write the state of a delivery that is stored, or choose one for a new delivery."""
    found = []
    for path, tree in code().items():
        place = str(path.relative_to(ROOT))
        if place.startswith("bridge/") and place not in SETTLE:
            found += [f"{place}:{line}" for line in state_writes_in(tree)]
    statements = (ROOT / "bridge").rglob("*.sql")
    return found + [str(path.relative_to(ROOT)) for path in statements if _sets_state(path.read_text())]


def state_writes_in(tree: ast.Module) -> list[int]:
    """Return the lines. What only reads a state, to show it or to look for rows, is none; nor is the insertion of what was decided."""
    lines = [line for node in ast.walk(tree) for line in _state_write(node)]
    for function in ast.walk(tree):
        if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef) and _updates(function):
            lines += [value.lineno for node in ast.walk(function) for value in _states_in(node, copied=True)]
    return sorted(set(lines))


def _state_write(node: ast.AST) -> list[int]:
    if isinstance(node, ast.Assign | ast.AnnAssign):
        targets = node.targets if isinstance(node, ast.Assign) else [node.target]
        names = [item for target in targets for item in ast.walk(target)]
        written = [n for n in names if isinstance(n, ast.Attribute) and n.attr == "state"]
        return [n.lineno for n in written if _is_state(node.value) or _of_delivery(n.value)]
    if isinstance(node, ast.Dict):
        return [value.lineno for value in _states_in(node, copied=False)]
    if isinstance(node, ast.Call):
        return [node.lineno] if _call_writes_state(node) else []
    if isinstance(node, ast.JoinedStr | ast.Constant):
        return [node.lineno] if _sets_state(_text_of(node)) else []
    return []


def _states_in(node: ast.AST, *, copied: bool) -> list[ast.expr]:
    """Return the states in a dict under the name of the column. copied: those of another row, else those that are chosen."""
    pairs = zip(node.keys, node.values, strict=True) if isinstance(node, ast.Dict) else ()
    named = [v for k, v in pairs if isinstance(k, ast.Constant) and k.value == "state"]
    return [value for value in named if (_is_copy(value) if copied else _is_chosen(value))]


def _call_writes_state(call: ast.Call) -> bool:
    name = call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")
    given = [keyword.value for keyword in call.keywords if keyword.arg == "state"]
    opaque = any(keyword.arg is None for keyword in call.keywords)
    texts = {item.value for argument in call.args for item in ast.walk(argument) if isinstance(item, ast.Constant)}
    if name == "update":  # what an update of deliveries changes must be readable where it stands
        return any(map(_is_state, given)) or _of_delivery(call.func) and bool(given or opaque)
    if name == "Delivery" or name in ("create", "get_or_create", "update_or_create") and _of_delivery(call.func):
        return bool(given)
    if name in ("setattr", "bulk_update"):
        return "state" in texts
    return name not in READERS and any(map(_is_chosen, given))


def _updates(function: ast.AST) -> bool:
    """Whether it changes rows."""
    names = {n.func.attr for n in ast.walk(function) if isinstance(n, ast.Call) and isinstance(n.func, ast.Attribute)}
    return bool(names & {"update", "bulk_update", "update_or_create"})


def _of_delivery(node: ast.AST) -> bool:
    """Whether this speaks of deliveries by their name."""
    names = {getattr(item, "id", getattr(item, "attr", "")) for item in ast.walk(node)}
    return bool(names & {"Delivery", "delivery", "deliveries"})


def _is_state(node: ast.AST | None) -> bool:
    return node is not None and (_is_chosen(node) or _is_copy(node))


def _is_chosen(node: ast.AST) -> bool:
    """Whether this is one of `State`, by its name or by its text."""
    return any(
        isinstance(item, ast.Attribute) and isinstance(item.value, ast.Name) and item.value.id == "State"
        for item in ast.walk(node)
    ) or (isinstance(node, ast.Constant) and node.value in STATES)


def _is_copy(node: ast.AST) -> bool:
    return any(isinstance(item, ast.Attribute) and item.attr == "state" for item in ast.walk(node))


def _text_of(node: ast.JoinedStr | ast.Constant) -> str:
    parts = node.values if isinstance(node, ast.JoinedStr) else [node]
    return " ".join(str(part.value) if isinstance(part, ast.Constant) else "x" for part in parts)


def _sets_state(text: str) -> bool:
    """Whether this is a statement that changes the state of deliveries."""
    changed = re.findall(r"UPDATE\s+bridge_delivery\b(.*?)(?:\bFROM\b|\bWHERE\b|\bRETURNING\b|$)", text, re.DOTALL)
    if "INSERT INTO bridge_delivery" in text:
        changed += re.findall(r"\bDO UPDATE\b(.*)", text, re.DOTALL)
    return any(re.search(r"\bstate\s*=", columns) for columns in changed)


def capability_checks() -> list[str]:
    """Return the places in `bridge`, outside `ReplyPath`, that ask how a platform takes answers."""
    found = []
    for path, tree in code().items():
        place = str(path.relative_to(ROOT))
        if place.startswith("bridge/") and place != PATHS:
            found += [f"{place}:{line}" for line in lines_that_check_a_capability(tree)]
    return found


def lines_that_check_a_capability(tree: ast.Module) -> list[int]:
    """A type may be named where nothing is asked of it: in what only the type checker reads."""
    typing_only = {id(node) for block in ast.walk(tree) if _is_typing_block(block) for node in ast.walk(block)}
    return sorted(
        {
            node.lineno
            for node in ast.walk(tree)
            if isinstance(node, ast.ImportFrom)
            and id(node) not in typing_only
            and any(_tells_a_way(alias.name) for alias in node.names)
            or isinstance(node, ast.Attribute)
            and _tells_a_way(node.attr)
            or isinstance(node, ast.Call)
            and isinstance(node.func, ast.Name)
            and (
                _tells_a_way(node.func.id) or node.func.id in ("isinstance", "issubclass", "can") and _asks_a_way(node)
            )
        }
    )


def _is_typing_block(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"


def _tells_a_way(name: str) -> bool:
    return name in WAYS or name.startswith("answers_passively")


def _asks_a_way(call: ast.Call) -> bool:
    return any(isinstance(item, ast.Name) and item.id in WAYS for each in call.args for item in ast.walk(each))


def main() -> None:
    rows: list[tuple[str, int, list[str]]] = [
        ("modules flat in bridge/", MOST_FLAT, flat_modules()),
        ("imports of a higher layer", 0, arrows_up()),
        ("circles of imports", 0, [" ".join(group) for group in circles()]),
        (f"files over {LONGEST_FILE} lines", 0, long_files()),
        (f"functions over {LONGEST_FUNCTION} lines", 0, long_functions()),
        ("writes of a delivery's state outside settle", 0, state_writes()),
        ("checks of a capability outside ReplyPath", 0, capability_checks()),
    ]
    for name, most, found in rows:
        print(f"{name:46}{len(found):4}   at most {most}")
        for line in found if len(found) > most else ():
            print(f"    {line}")


if __name__ == "__main__":
    main()
