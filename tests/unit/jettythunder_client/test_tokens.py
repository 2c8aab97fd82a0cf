"""Chunk tokens: fetched together, and anew before they expire."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from typing import cast

from jettythunder_client.api import Api, ChunkToken
from jettythunder_client.transfer import TokenCache


class Gateway:
    """Gives tokens that are good for ``lifetime_seconds``, and keeps count."""

    def __init__(self, lifetime_seconds: float) -> None:
        self.lifetime_seconds = lifetime_seconds
        self.asked: list[list[int]] = []

    async def fetch_tokens(self, upload_id: str, numbers: Sequence[int]) -> list[ChunkToken]:
        self.asked.append(list(numbers))
        # Those who ask meanwhile wait: the call is under way.
        await asyncio.sleep(0)
        expires_at = time.time() + self.lifetime_seconds
        return [ChunkToken(number, f"{upload_id}-{number}", None, expires_at) for number in numbers]


def cache(gateway: Gateway, count: int) -> TokenCache:
    return TokenCache(cast("Api", gateway), "upload", list(range(1, count + 1)))


async def test_tokens_of_the_next_chunks_come_along() -> None:
    gateway = Gateway(900)
    tokens = cache(gateway, 40)
    given = [(await tokens.get(number)).number for number in range(1, 41)]
    assert given == list(range(1, 41))
    assert gateway.asked == [list(range(1, 41))]


async def test_chunks_that_begin_together_are_one_call_whatever_their_order() -> None:
    gateway = Gateway(900)
    tokens = cache(gateway, 20)
    await asyncio.gather(*(tokens.get(number) for number in (9, 3, 7, 1)))
    assert len(gateway.asked) == 1


async def test_a_token_that_will_expire_soon_is_fetched_anew() -> None:
    gateway = Gateway(0.0)
    tokens = cache(gateway, 2)
    await tokens.get(1)
    await tokens.get(1)
    assert len(gateway.asked) == 2


async def test_a_short_lived_token_is_used_while_it_is_good() -> None:
    gateway = Gateway(60)
    tokens = cache(gateway, 2)
    await tokens.get(1)
    await tokens.get(2)
    assert len(gateway.asked) == 1


async def test_a_token_that_an_edge_refused_is_fetched_anew() -> None:
    gateway = Gateway(900)
    tokens = cache(gateway, 2)
    await tokens.get(1)
    tokens.drop(1)
    await tokens.get(1)
    assert gateway.asked == [[1, 2], [1]]
