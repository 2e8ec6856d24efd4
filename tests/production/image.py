"""The two files that make the image and the containers, read as Docker reads them. No container engine runs here."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parents[2]
OURS = ("prepare", "web", "callbacks", "worker", "beat", "connector")
THEIRS = ("postgres", "redis")
ENV = {"POSTGRES_PASSWORD": "pass0word"}
_VARIABLE = re.compile(r"\$(?:\$|\{(?P<name>\w+)(?:(?P<kind>:-|:\?)(?P<rest>[^}]*))?\})")


def compose(env: dict[str, str]) -> dict[str, Any]:
    """docker-compose.yml with its variables filled in. Raises KeyError with the file's own words where one is needed."""

    def value(match: re.Match[str]) -> str:
        if match["name"] is None:
            return "$"
        if match["name"] in env:
            return env[match["name"]]
        if match["kind"] == ":?":
            raise KeyError(match["rest"])
        return match["rest"] or ""

    loaded = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
    return dict(json.loads(_VARIABLE.sub(value, json.dumps(loaded))))


def command(service: dict[str, Any]) -> list[str]:
    """The service's command, in words."""
    found = service["command"]
    return shlex.split(found) if isinstance(found, str) else list(found)


@dataclass
class Stage:
    """One FROM of the Dockerfile, with what it says: (instruction, arguments)."""

    base: str
    name: str
    steps: list[tuple[str, str]] = field(default_factory=list)

    def all(self, instruction: str) -> list[str]:
        return [rest for found, rest in self.steps if found == instruction]


def dockerfile() -> list[Stage]:
    text = re.sub(r"^#.*\n", "", (ROOT / "Dockerfile").read_text(), flags=re.MULTILINE)
    stages: list[Stage] = []
    arguments: dict[str, str] = {}  # ARG in front of the first FROM, with its default
    for line in re.sub(r"\\\n", " ", text).splitlines():
        word, _, rest = line.strip().partition(" ")
        if word == "ARG" and not stages:
            arguments.update([rest.split("=", 1)])
        elif word == "FROM":
            base, _, name = re.sub(r"\$\{(\w+)\}", lambda found: arguments[found[1]], rest).partition(" AS ")
            stages.append(Stage(base, name))
        elif word:
            stages[-1].steps.append((word, rest.strip()))
    return stages


def copied() -> list[str]:
    """The paths in the repository that the image is made of."""
    copies = [shlex.split(rest) for rest in dockerfile()[0].all("COPY")]
    return [source for words in copies for source in words[:-1]]


def tracked(path: str) -> list[str]:
    """Files under `path` that git knows."""
    done = subprocess.run(["git", "ls-files", "--", path], cwd=ROOT, capture_output=True, text=True, check=True)
    return done.stdout.splitlines()
