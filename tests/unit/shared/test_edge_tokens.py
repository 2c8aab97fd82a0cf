"""Reading edge tokens, whatever a client sends as one."""

import base64
import hashlib
import hmac
import json
import time
from dataclasses import replace
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jettythunder import signing
from jettythunder.edge_tokens import EdgeToken, EdgeTokens
from jettythunder.errors import LinkExpired, LinkInvalid

KEY = "a signing key of at least thirty-two characters"
TOKENS = EdgeTokens(KEY)
TOKEN = EdgeToken(
    account_id=UUID(int=1),
    upload_id=UUID(int=2),
    number=3,
    size_bytes=4,
    s3_bucket="bucket",
    s3_key="key",
    s3_upload_id="multipart",
    expires_at=int(time.time()) + 3600,
)


def text(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).decode().rstrip("=")


def signed(payload: bytes) -> str:
    """Any payload, with the right signature."""
    key = signing.derive(KEY, info="signature/edge-chunk")
    return f"{text(payload)}.{text(hmac.new(key, payload, hashlib.sha256).digest())}"


def test_a_token_says_what_it_was_minted_with() -> None:
    assert TOKENS.read(TOKENS.mint(TOKEN)) == TOKEN


def test_an_expired_token_is_told_from_a_forged_one() -> None:
    with pytest.raises(LinkExpired):
        TOKENS.read(TOKENS.mint(replace(TOKEN, expires_at=int(time.time()) - 1)))


@pytest.mark.parametrize(
    "given",
    [
        "",
        ".",
        "..",
        "ä.ö",
        "\ud800.\udfff",
        "x" * 5000,
        f"{text(b'not JSON')}.{text(bytes(32))}",
        f"{text(b'[]')}.{text(bytes(32))}",
        f"{text(b'{}')}.",
    ],
)
def test_what_is_no_token_is_refused(given: str) -> None:
    with pytest.raises(LinkInvalid):
        TOKENS.read(given)


@given(st.text(max_size=300))
def test_any_text_is_refused(given_text: str) -> None:
    with pytest.raises(LinkInvalid):
        TOKENS.read(given_text)


@pytest.mark.parametrize(
    "payload",
    [
        b"not JSON",
        b"\xff\xfe",
        b"null",
        b"[]",
        b"{}",
        b"[" * 2000,
        json.dumps({"a": 1, "u": 2, "n": 3, "z": 4, "b": "", "k": "", "m": "", "e": 9}).encode(),
        json.dumps(
            {"a": "0" * 32, "u": "0" * 32, "n": 1, "z": 1, "b": "", "k": "", "m": "", "e": None}
        ).encode(),
        b'{"a": "00000000000000000000000000000000", "u": "00000000000000000000000000000000", "n": 1, "z": 1,'
        b' "b": "", "k": "", "m": "", "e": Infinity}',
    ],
)
def test_a_signed_payload_of_another_form_is_refused(payload: bytes) -> None:
    with pytest.raises(LinkInvalid):
        TOKENS.read(signed(payload))


def test_every_changed_character_is_refused() -> None:
    minted = TOKENS.mint(TOKEN)
    for place, letter in enumerate(minted):
        with pytest.raises(LinkInvalid):
            TOKENS.read(minted[:place] + ("A" if letter != "A" else "B") + minted[place + 1 :])


def test_the_same_signature_spelt_otherwise_is_refused() -> None:
    minted = TOKENS.mint(TOKEN)
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_="
    accepted = []
    for letter in alphabet:
        try:
            TOKENS.read(minted[:-1] + letter)
        except LinkInvalid:
            continue
        accepted.append(letter)
    assert accepted == [minted[-1]]
