"""`make audit`: known vulnerabilities of the pinned packages, by pip-audit.

Where the advisory service cannot be reached it says that it did not run, which is neither a pass nor a failure. Exit code 1 is for a
vulnerability, or for a package that could not be looked up.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import requests

ROOT = Path(__file__).resolve().parents[1]
FILES = ("requirements.txt", "requirements-dev.txt")
# pip-audit asks PyPI for each package under this address; the answer names its vulnerabilities.
SERVICE = "https://pypi.org/pypi"
KNOWN = "pip/24.0"  # a release with an advisory, so that an empty answer shows itself
SECONDS = 20


def unreachable(service: str = SERVICE) -> str:
    """Why the advisory service cannot be asked; empty when it can."""
    try:
        answer = requests.get(f"{service}/{KNOWN}/json", timeout=SECONDS)
        advisories = answer.json().get("vulnerabilities") if answer.status_code == 200 else None
    except (requests.RequestException, ValueError) as error:
        return type(error).__name__
    return "" if advisories else f"it answers HTTP {answer.status_code} without advisories"


def main(service: str = SERVICE) -> int:
    """Gives the exit code."""
    if reason := unreachable(service):
        print(f"AUDIT NOT RUN: {service} cannot be asked for advisories ({reason}). Run it where it can be reached.")
        return 0
    files = [word for name in FILES for word in ("--requirement", str(ROOT / name))]
    # Pinned in full: nothing to resolve.
    options = [
        "--strict",
        "--disable-pip",
        "--no-deps",
        "--progress-spinner",
        "off",
    ]
    return subprocess.run([sys.executable, "-m", "pip_audit", *options, *files], check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
