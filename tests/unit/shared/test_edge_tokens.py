"""Reading edge tokens, whatever a client sends as one."""

import json
import time
from dataclasses import replace
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jettythunder import edge_tokens
from jettythunder.edge_tokens import EdgeToken
from jettythunder.errors import LinkExpired, LinkInvalid
from jettythunder.signatures import EDGE_CHUNK, SigningKeys, encoded, new_signing_key

KEYS = SigningKeys.parse(new_signing_key("test"))
TOKEN = EdgeToken(
    account_id=UUID(int=1),
    upload_id=UUID(int=2),
    number=3,
    size_bytes=4,
    s3_bucket="bucket",
    s3_key="key",
    s3_upload_id="multipart",
    epoch=5,
    expires_at=int(time.time()) + 86_400,
)
CLAIMS = {
    "account": str(TOKEN.account_id),
    "upload": str(TOKEN.upload_id),
    "number": 3,
    "size": 4,
    "bucket": "bucket",
    "key": "key",
    "multipart": "multipart",
    "epoch": 5,
    "expires": TOKEN.expires_at,
}


def read(text: str) -> EdgeToken:
    return edge_tokens.read(KEYS.verifying, text)


def signed(payload: bytes) -> str:
    """Any payload, with the right signature."""
    text = encoded(payload)
    return f"{text}.{KEYS.sign(EDGE_CHUNK, text)}"


def test_a_token_says_what_it_was_minted_with() -> None:
    assert read(edge_tokens.mint(KEYS, TOKEN)) == TOKEN
    assert read(signed(json.dumps(CLAIMS).encode())) == TOKEN


def test_an_expired_token_is_told_from_a_forged_one() -> None:
    with pytest.raises(LinkExpired):
        read(edge_tokens.mint(KEYS, replace(TOKEN, expires_at=int(time.time()) - 1)))


@pytest.mark.parametrize(
    "given",
    [
        "",
        ".",
        "..",
        "ä.ö",
        "\ud800.\udfff",
        "x" * 5000,
        f"{encoded(b'not JSON')}.test.{encoded(bytes(64))}",
        f"{encoded(b'[]')}.test.{encoded(bytes(64))}",
        f"{encoded(b'{}')}.test.",
    ],
)
def test_what_is_no_token_is_refused(given: str) -> None:
    with pytest.raises(LinkInvalid):
        read(given)


@given(st.text(max_size=300))
def test_any_text_is_refused(given_text: str) -> None:
    with pytest.raises(LinkInvalid):
        read(given_text)


@pytest.mark.parametrize(
    "payload",
    [
        b"not JSON",
        b"\xff\xfe",
        b"null",
        b"[]",
        b"{}",
        b"[" * 2000,
        json.dumps(CLAIMS | {"account": 1}).encode(),
        json.dumps(CLAIMS | {"number": "3"}).encode(),
        json.dumps(CLAIMS | {"number": True}).encode(),
        json.dumps(CLAIMS | {"epoch": None}).encode(),
        json.dumps(CLAIMS | {"expires": float("inf")}).encode(),
        json.dumps({name: value for name, value in CLAIMS.items() if name != "multipart"}).encode(),
    ],
)
def test_a_signed_payload_of_another_form_is_refused(payload: bytes) -> None:
    with pytest.raises(LinkInvalid):
        read(signed(payload))


def test_every_changed_character_is_refused() -> None:
    minted = edge_tokens.mint(KEYS, TOKEN)
    for place, letter in enumerate(minted):
        with pytest.raises(LinkInvalid):
            read(minted[:place] + ("A" if letter != "A" else "B") + minted[place + 1 :])


def test_the_same_signature_spelt_otherwise_is_refused() -> None:
    minted = edge_tokens.mint(KEYS, TOKEN)
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_="
    accepted = []
    for letter in alphabet:
        try:
            read(minted[:-1] + letter)
        except LinkInvalid:
            continue
        accepted.append(letter)
    assert accepted == [minted[-1]]
