"""Chinese pages keep in their first line the hash of the English text that they translate.

`python -m tests.docs.translations` renews the hashes, after a person has brought the Chinese up to date.
"""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
# English page → its Chinese one.
PAGES = {
    "README.md": "README.zh-hans.md",
    **{
        f"docs/{page}.md": f"docs/zh-hans/{page}.md"
        for page in (
            "api",
            "connect/ilink",
            "connect/mini_program",
            "connect/official_account",
            "connect/openclaw",
            "connect/webhook_account",
            "connect/wechaty",
            "connect/wecom_aibot",
            "connect/wecom_app",
            "connect/wecom_kf",
            "connect/wecom_robot",
            "production",
            "security",
        )
    },
}
MARK = re.compile(r"\A<!-- translates (\S+) ([0-9a-f]{16}) -->\n")


def hash_of(english: str) -> str:
    return hashlib.sha256((ROOT / english).read_bytes()).hexdigest()[:16]


def renew() -> None:
    for english, chinese in PAGES.items():
        path = ROOT / chinese
        text = MARK.sub("", path.read_text("utf-8"))
        path.write_text(f"<!-- translates {english} {hash_of(english)} -->\n{text}", "utf-8")


if __name__ == "__main__":
    renew()
