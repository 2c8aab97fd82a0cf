"""The upgrade as docs/operations.md describes it: its own commands, taken from the page."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from jettythunder_dev.layout import REPOSITORY

PAGE = REPOSITORY / "docs" / "operations.md"
BLOCK = re.compile(r"^ *```(sh|sql)\n(.*?)^ *```", re.MULTILINE | re.DOTALL)


def upgrading() -> list[tuple[str, str]]:
    """The blocks of the section "Upgrading" in their order: the language and the text of each."""
    section = PAGE.read_text().partition("\n## Upgrading\n")[2].partition("\n## ")[0]
    return [(language, text) for language, text in BLOCK.findall(section)]


def shell(script: str, environment: Mapping[str, str]) -> subprocess.CompletedProcess[str]:
    """Run a block in a shell that finds this version's `jettythunder`."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    return subprocess.run(
        ["sh", "-eu"],
        input=script,
        env={**os.environ, **environment, "PATH": path, "COLUMNS": "300"},
        capture_output=True,
        text=True,
        check=False,
    )
