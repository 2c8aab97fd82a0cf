"""The command line `jettythunder`, as ops type it."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Mapping

OPERATOR = "tester"


async def jettythunder(environment: Mapping[str, str], *arguments: str) -> tuple[int, str]:
    """Run a command; its exit code and what it printed, or else what it complained of."""
    code, out, complaint = await output_of(environment, *arguments)
    return code, out or complaint


async def output_of(environment: Mapping[str, str], *arguments: str) -> tuple[int, str, str]:
    """Run a command; its exit code, what it printed, and what it wrote to stderr."""
    program = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "jettythunder_cli.main", *arguments),
        env={**os.environ, **environment, "JETTYTHUNDER_OPERATOR": OPERATOR, "COLUMNS": "300"},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, err = await program.communicate()
    return program.returncode or 0, out.decode(), err.decode()
