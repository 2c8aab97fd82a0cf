"""Answers of servers that are not ours: bounded, and of JSON."""

import json
from typing import Any

import aiohttp


async def read_json(answer: aiohttp.ClientResponse, *, most_bytes: int) -> Any:
    """The body of a successful answer.

    Raises:
        ValueError: it has another status than 200, is larger, or is no JSON.
    """
    if answer.status != 200:
        raise ValueError(f"The server answered {answer.status}.")
    body = bytearray()
    async for block in answer.content.iter_any():
        body += block
        if len(body) > most_bytes:
            raise ValueError(f"The answer is larger than {most_bytes} bytes.")
    return json.loads(body)
