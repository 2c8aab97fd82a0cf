"""Folders of accounts in the bucket."""

import asyncio
from typing import Protocol

from jettythunder.errors import StorageUnavailable
from jettythunder.storage import ObjectMissing

# Short, because a caller waits for the answer, and a repeated call completes what this one could not.
_FOLDER_SECONDS = 4.0


class Bucket(Protocol):
    """What folders need of the object storage."""

    async def put(self, key: str, body: bytes, *, content_type: str) -> None: ...


class Folders:
    """Makes folders: empty objects whose keys end with a slash."""

    def __init__(self, bucket: Bucket) -> None:
        self._bucket = bucket
        self._under_way: dict[str, asyncio.Task[None]] = {}

    async def make(self, key: str) -> None:
        """Make a folder; one that is there already is fine. Calls at the same time make it once.

        Raises:
            StorageUnavailable: the object storage did not take it.
        """
        making = self._under_way.get(key)
        if making is None:
            making = self._under_way[key] = asyncio.create_task(self._put(key))
            making.add_done_callback(lambda _: self._under_way.pop(key))
        await asyncio.shield(making)

    async def _put(self, key: str) -> None:
        try:
            async with asyncio.timeout(_FOLDER_SECONDS):
                await self._bucket.put(key, b"", content_type="application/x-directory")
        except (ObjectMissing, StorageUnavailable, TimeoutError) as error:
            raise StorageUnavailable(
                "The object storage did not take the account's folder. Repeat the call to complete it."
            ) from error
