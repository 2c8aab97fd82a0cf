"""Commands to provisioning, and answers that are not as they should be."""

import json

import pytest
from pydantic import ValidationError

from jettythunder.broker.rpc import RpcClient
from jettythunder.contracts.accounts import RotateCredentialsV1
from storage_gateway.accounts.commands import Accounts


class Provisioning(RpcClient):
    """Answers with an account that lacks fields, as another version might."""

    def __init__(self) -> None:
        pass

    async def call(self, *_: object, **__: object) -> bytes:
        return json.dumps({"outcome": "account", "api_key": "jt_key", "api_secret": "jts_secret"}).encode()


async def test_an_answer_that_is_not_understood_shows_no_credentials() -> None:
    accounts = Accounts(rpc=Provisioning(), timeout_seconds=1)
    with pytest.raises(ValidationError) as caught:
        await accounts.ask(RotateCredentialsV1(agentcache_user_id="user"))
    assert "jts_secret" not in str(caught.value)
    assert "jt_key" not in str(caught.value)
