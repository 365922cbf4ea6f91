"""Prints the README's commands, so that CI and the tests run what a reader would type."""

from __future__ import annotations

import re
import sys
from pathlib import Path

README = Path(__file__).parent.parent / "README.md"


def blocks(text: str) -> list[list[str]]:
    """The commands of each `bash` block, comments and blank lines left out, continued lines joined."""
    found = []
    for block in re.findall(r"```bash\n(.*?)```", text, flags=re.DOTALL):
        lines = block.replace("\\\n", " ").splitlines()
        found.append([re.sub(r"\s+#\s.*$", "", line).strip() for line in lines if line.strip() and line[0] != "#"])
    return found


def commands() -> list[str]:
    """Every command of the README, in order."""
    return [line for block in blocks(README.read_text(encoding="utf-8")) for line in block]


def command(kind: str) -> str:
    """The one set-up command of a kind: `demo` runs the main job, `test` passes the tests."""
    ending = {"demo": "stream-balance demo", "test": "pytest"}[kind]
    for line in commands():
        if "pip install" in line and line.endswith(ending):
            return line
    raise LookupError(f"README.md has no set-up command that ends with {ending!r}")


if __name__ == "__main__":
    print(command(sys.argv[1]))
