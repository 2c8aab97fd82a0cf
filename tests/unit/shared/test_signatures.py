"""Signatures, key rings, and the vectors that every implementation of an edge is tested with."""

import json
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jettythunder import edge_tokens
from jettythunder.edge_tokens import EdgeToken
from jettythunder.errors import LinkExpired, LinkInvalid
from jettythunder.signatures import (
    EDGE_CHUNK,
    STREAM_LINK,
    SigningKeys,
    VerifyingKeys,
    encoded,
    new_signing_key,
)

VECTORS: dict[str, Any] = json.loads(
    (Path(__file__).parents[2] / "vectors" / "edge_tokens.json").read_text(encoding="utf-8")
)
SIGNING = SigningKeys.parse(VECTORS["signing_keys"])
VERIFYING = VerifyingKeys.parse(VECTORS["verifying_keys"])
TOKENS, LINKS = VECTORS["edge_tokens"], VECTORS["stream_links"]


def named(vector: dict[str, Any]) -> str:
    return str(vector["name"])


def as_token(claims: dict[str, Any]) -> EdgeToken:
    return EdgeToken(
        account_id=UUID(claims["account"]),
        upload_id=UUID(claims["upload"]),
        number=claims["number"],
        size_bytes=claims["size"],
        s3_bucket=claims["bucket"],
        s3_key=claims["key"],
        s3_upload_id=claims["multipart"],
        epoch=claims["epoch"],
        expires_at=claims["expires"],
    )


def test_the_public_keys_are_those_of_the_private_ones() -> None:
    assert str(SIGNING.verifying) == VECTORS["verifying_keys"]


@pytest.mark.parametrize("vector", TOKENS["valid"], ids=named)
def test_a_valid_token_is_read(vector: dict[str, Any]) -> None:
    assert edge_tokens.read(VERIFYING, vector["token"]) == as_token(vector["claims"])
    payload, _, signature = vector["token"].partition(".")
    assert vector["message"] == f"jettythunder/edge-chunk/v1\n{payload}"
    VERIFYING.check(EDGE_CHUNK, payload, signature)


def test_a_token_is_minted_as_the_vectors_have_it() -> None:
    vector = TOKENS["valid"][0]
    assert edge_tokens.mint(SIGNING, as_token(vector["claims"])) == vector["token"]


@pytest.mark.parametrize("vector", TOKENS["expired"], ids=named)
def test_an_expired_token_is_told_from_a_forged_one(vector: dict[str, Any]) -> None:
    with pytest.raises(LinkExpired):
        edge_tokens.read(VERIFYING, vector["token"])


@pytest.mark.parametrize("vector", TOKENS["invalid"], ids=named)
def test_an_invalid_token_is_refused(vector: dict[str, Any]) -> None:
    with pytest.raises(LinkInvalid):
        edge_tokens.read(VERIFYING, vector["token"])


def link_text(vector: dict[str, Any]) -> str:
    return f"{vector['asset_id']}\n{vector['epoch']}\n{vector['expires_at']}"


@pytest.mark.parametrize("vector", LINKS["valid"] + LINKS["expired"], ids=named)
def test_a_link_s_signature_is_known(vector: dict[str, Any]) -> None:
    VERIFYING.check(STREAM_LINK, link_text(vector), vector["signature"])


@pytest.mark.parametrize("vector", LINKS["invalid"], ids=named)
def test_another_link_s_signature_is_refused(vector: dict[str, Any]) -> None:
    with pytest.raises(LinkInvalid):
        VERIFYING.check(STREAM_LINK, link_text(vector), vector["signature"])


def test_the_first_key_signs_and_a_retired_one_is_refused() -> None:
    older, newer = new_signing_key("older"), new_signing_key("newer")
    signature = SigningKeys.parse(older).sign(EDGE_CHUNK, "text")
    both = SigningKeys.parse(f"{newer},{older}")
    both.verifying.check(EDGE_CHUNK, "text", signature)
    assert both.sign(EDGE_CHUNK, "text").startswith("newer.")
    with pytest.raises(LinkInvalid):
        SigningKeys.parse(newer).verifying.check(EDGE_CHUNK, "text", signature)


KEY = encoded(bytes(32))


@pytest.mark.parametrize(
    "text",
    [
        "",
        KEY,
        f":{KEY}",
        f"a b:{KEY}",
        f"a.b:{KEY}",
        f"{'k' * 33}:{KEY}",
        f"a:{KEY}=",
        f"a:{KEY[:-1]}",
        f"a:{KEY},",
        f"a:{KEY},a:{KEY}",
        "a:no base64",
    ],
)
@pytest.mark.parametrize("keys", [SigningKeys, VerifyingKeys])
def test_keys_of_another_form_are_refused_without_being_shown(
    text: str, keys: type[SigningKeys] | type[VerifyingKeys]
) -> None:
    with pytest.raises(ValueError, match="key") as caught:
        keys.parse(text)
    assert KEY[:-1] not in str(caught.value)


@given(st.text(max_size=200))
def test_any_text_is_no_signature(text: str) -> None:
    with pytest.raises(LinkInvalid):
        VERIFYING.check(EDGE_CHUNK, "text", text)
