"""The example for publishers in docs/examples."""

import asyncio
import json
import os
import sys
from collections.abc import Mapping
from pathlib import Path

from tests.integration.provisioning.conftest import Authenticator

from jettythunder.contracts.accounts import AccountReply

EXAMPLE = Path(__file__).parents[3] / "docs" / "examples" / "python" / "sign_up.py"


async def test_the_example_gets_credentials(
    environment: Mapping[str, str], authenticator: Authenticator, user: str
) -> None:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        str(EXAMPLE),
        *("--user-id", user, "--email", "test@example.com"),
        env={**os.environ, "RABBITMQ_URL": environment["RABBITMQ_URL"]},
        stdout=asyncio.subprocess.PIPE,
    )
    printed, _ = await process.communicate()
    account = AccountReply.model_validate(json.loads(printed))
    assert (account.agentcache_user_id, process.returncode) == (user, 0)
    assert await authenticator.accepts(account)
