"""The addresses of chunks in a gateway's spool."""

import time
from uuid import UUID

import pytest
from pydantic import ValidationError

from jettythunder.chunk_urls import ChunkUrls, ChunkUrlSettings
from jettythunder.errors import LinkExpired, LinkInvalid

UPLOAD = UUID(int=1)
KEY, OTHER = "a key of at least thirty-two characters", "another key of at least 32 characters"
URLS = ChunkUrls([KEY])
LATER = int(time.time()) + 86_400
URL = URLS.signed("http://gateway:3000", UPLOAD, 7, expires_at=LATER)


def test_an_address_holds_for_its_chunk() -> None:
    URLS.check_url(URL, UPLOAD, 7)


@pytest.mark.parametrize(
    "url",
    [
        URL.replace("/7?", "/8?"),
        URL.replace(str(UPLOAD), str(UUID(int=2))),
        URL.replace(f"expires_at={LATER}", f"expires_at={LATER + 1}"),
        URL.partition("?")[0],
        URL.partition("&")[0],
        URL[:-1],
        f"{URL}&signature=s",
        f"{URL}&more=1",
        URL.replace("http://", "ftp://"),
        URL.replace("/internal/", "/other/../internal/"),
        URL.replace(f"expires_at={LATER}", "expires_at=soon"),
        "http://[broken",
        f"http://elsewhere/internal/chunks/{UPLOAD}/7?expires_at={LATER}&signature=x",
    ],
    # The addresses change by the second, and all processes must have the same names.
    ids=map(str, range(13)),
)
def test_another_address_is_refused(url: str) -> None:
    with pytest.raises(LinkInvalid):
        URLS.check_url(url, UPLOAD, 7)


def test_an_address_ends() -> None:
    with pytest.raises(LinkExpired):
        URLS.check_url(URLS.signed("http://gateway", UPLOAD, 7, expires_at=1), UPLOAD, 7)


def test_the_key_before_is_accepted_until_it_is_retired() -> None:
    ChunkUrls([OTHER, KEY]).check_url(URL, UPLOAD, 7)
    with pytest.raises(LinkInvalid):
        ChunkUrls([OTHER]).check_url(URL, UPLOAD, 7)
    newer = ChunkUrls([OTHER, KEY]).signed("http://gateway", UPLOAD, 7, expires_at=LATER)
    with pytest.raises(LinkInvalid):
        URLS.check_url(newer, UPLOAD, 7)


@pytest.mark.parametrize("value", ["short", f"{KEY},short", f"{KEY},"])
def test_a_short_key_is_refused(value: str) -> None:
    with pytest.raises(ValidationError, match="at least 32 characters"):
        ChunkUrlSettings.model_validate({"jettythunder_internal_key": value})
