"""`jettythunder usage`, as ops run it."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Result:
    """What a command ended with."""

    code: int
    output: str
    errors: str

    @property
    def json(self) -> Any:
        return json.loads(self.output)


@dataclass(frozen=True)
class UsageCli:
    """Runs the command line."""

    environment: Mapping[str, str]
    columns: int = 200

    async def __call__(self, *arguments: str, **environment: str) -> Result:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "jettythunder_cli.main",
            "usage",
            *arguments,
            env={**os.environ, **self.environment, **environment, "COLUMNS": str(self.columns)},
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        output, errors = await process.communicate()
        return Result(process.returncode or 0, output.decode(), errors.decode())
