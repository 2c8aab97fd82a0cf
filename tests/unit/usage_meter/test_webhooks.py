"""How webhooks are signed, and that what the documentation shows accepts them."""

import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import pytest
from standardwebhooks import Webhook

from usage_meter.webhooks.secret import signing_key
from usage_meter.webhooks.send import signed_headers

INTEGRATION = Path(__file__).parents[3] / "docs" / "integration.md"
SECRETS = ["shared_secret_here_123456789", "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"]
BODY = b'{"test": 2432232314}'

Check = Callable[[dict[str, str], bytes, str], bool]


@pytest.fixture
def documented() -> Check:
    """The check that the documentation shows."""
    (code,) = [
        block
        for block in re.findall(r"```python\n(.*?)```", INTEGRATION.read_text(encoding="utf-8"), re.S)
        if "def is_from_jettythunder" in block
    ]
    names: dict[str, Any] = {}
    exec(code, names)  # noqa: S102 - the code under test
    return cast("Check", names["is_from_jettythunder"])


@pytest.mark.parametrize("secret", SECRETS)
def test_the_documented_check_accepts_what_is_sent(documented: Check, secret: str) -> None:
    headers = signed_headers([signing_key(secret)], "msg_1", BODY)
    assert documented(headers, BODY, secret)


@pytest.mark.parametrize("secret", SECRETS)
def test_during_a_rotation_the_old_and_the_new_secret_are_accepted(documented: Check, secret: str) -> None:
    headers = signed_headers([signing_key(each) for each in SECRETS], "msg_1", BODY)
    assert documented(headers, BODY, secret)
    assert not documented(headers, BODY, "another_secret_of_16_bytes")


@pytest.mark.parametrize("secret", SECRETS)
def test_the_documented_check_refuses_what_is_not_ours(documented: Check, secret: str) -> None:
    headers = signed_headers([signing_key(secret)], "msg_1", BODY)
    assert not documented(headers, BODY + b" ", secret)
    assert not documented(headers, BODY, "another_secret_of_16_bytes")
    assert not documented({**headers, "webhook-timestamp": str(int(time.time()) - 3600)}, BODY, secret)


def test_libraries_of_the_scheme_accept_what_is_sent() -> None:
    for secrets in (SECRETS[1:], SECRETS):
        headers = signed_headers([signing_key(secret) for secret in secrets], "msg_1", BODY)
        assert Webhook(SECRETS[1]).verify(BODY, headers) == {"test": 2432232314}


def test_base64_may_leave_its_padding_out() -> None:
    assert signing_key("whsec_c2hhcmVkX3NlY3JldF9oZXJlMQ") == b"shared_secret_here1"
