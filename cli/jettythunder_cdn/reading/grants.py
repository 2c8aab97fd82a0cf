"""Who may read what: asked of the gateway, and believed for a minute."""

import asyncio
import math
import sqlite3
from collections.abc import Callable
from contextlib import suppress
from typing import Literal

from jettythunder_cdn.errors import LinkEnded, Refused, UpstreamUnavailable
from jettythunder_cdn.model import Asset, Credential
from jettythunder_cdn.settings import GRANT_SECONDS
from jettythunder_cdn.store.store import Store
from jettythunder_cdn.upstream import Upstream

Freshness = Literal["fresh", "new", "revalidated", "stale"]

_RETRY_SECONDS = 5.0
"""How long a gateway that did not answer is not asked again about what may be read offline."""


class Grants:
    """Asks the gateway whether a credential may read an asset, once for all who ask at the same time.

    Args:
        offline_seconds: how long a right lasts while the gateway can't be reached.
    """

    def __init__(
        self, upstream: Upstream, store: Store, *, offline_seconds: float, clock: Callable[[], float]
    ) -> None:
        self._upstream = upstream
        self._store = store
        self._offline_seconds = offline_seconds
        self._clock = clock
        self._unavailable_at = -math.inf
        self._ended: set[tuple[str, str]] = set()
        self._asking: dict[tuple[str, str], asyncio.Task[tuple[Asset, Freshness]]] = {}

    async def asset(self, asset_id: str, credential: Credential) -> tuple[Asset, Freshness]:
        """The asset, where the credential may read it.

        Raises:
            LinkEnded: the credential is a link that has expired.
            Refused: the gateway says no, from now on.
            UpstreamUnavailable: the gateway can't be reached, and the asset is not here as a whole, verified,
                and granted not long ago.
        """
        if credential.expires_at is not None and credential.expires_at < self._clock():
            raise LinkEnded
        age = self._age(asset_id, credential)
        if age is not None and age <= GRANT_SECONDS and (known := self._store.index.asset(asset_id)):
            return known, "fresh"
        if 0 <= self._clock() - self._unavailable_at < _RETRY_SECONDS:
            known = self._store.index.asset(asset_id)
            if known is not None and self._may_read_offline(known, credential):
                return known, "stale"
        key = credential.id, asset_id
        asking = self._asking.get(key)
        if asking is None:
            asking = self._asking[key] = asyncio.create_task(self._ask(asset_id, credential))
            asking.add_done_callback(lambda task: self._asked(key, task))
        # One who hangs up does not take the answer from the others.
        return await asyncio.shield(asking)

    def _asked(self, key: tuple[str, str], task: asyncio.Task[tuple[Asset, Freshness]]) -> None:
        self._asking.pop(key, None)
        if not task.cancelled():
            # Looked at here too: all who asked may have hung up.
            task.exception()

    def expire(self, asset_id: str, credential: Credential) -> None:
        """Ask again for the next read."""
        with suppress(sqlite3.OperationalError):
            self._store.index.revoke(credential.id, [asset_id])

    async def refused(self, asset_id: str, credential: Credential, refusal: Refused) -> None:
        """Draw the consequences of a refusal, at once."""
        if not refusal.ends_the_right:
            return
        # A credential that is refused by itself may read nothing else either.
        ended = self._store.index.granted(credential.id) if refusal.is_of_the_credential else [asset_id]
        try:
            self._store.index.revoke(credential.id, ended)
        except sqlite3.OperationalError:
            # On a full disk the index can't be written. The next process must not believe it.
            self._store.index.distrust_grants()
            self._ended.update((credential.id, one) for one in ended)
        with suppress(sqlite3.OperationalError):
            if refusal.is_gone and (content := self._store.index.forget_asset(asset_id)) is not None:
                await self._store.drop(content)

    def _age(self, asset_id: str, credential: Credential) -> float | None:
        if (credential.id, asset_id) in self._ended:
            return None
        granted_at = self._store.index.granted_at(credential.id, asset_id)
        age = None if granted_at is None else self._clock() - granted_at
        # A clock that was put back makes no right last longer.
        return age if age is not None and age >= 0 else None

    async def _ask(self, asset_id: str, credential: Credential) -> tuple[Asset, Freshness]:
        known = self._store.index.asset(asset_id)
        try:
            found = await self._upstream.look(asset_id, credential, known.etag if known else None)
        except Refused as refusal:
            await self.refused(asset_id, credential, refusal)
            raise
        except UpstreamUnavailable:
            self._unavailable_at = self._clock()
            if known is not None and self._may_read_offline(known, credential):
                return known, "stale"
            raise
        now = self._clock()
        self._unavailable_at = -math.inf
        asset = found or known
        if asset is None:
            raise UpstreamUnavailable
        # On a full disk the gateway is asked each time.
        with suppress(sqlite3.OperationalError):
            if found is not None:
                self._store.index.put_asset(found)
            self._store.index.grant(credential.id, asset_id, now)
            self._ended.discard((credential.id, asset_id))
            if known is not None and known.content != asset.content:
                await self._adopt(known, asset)
        return asset, "new" if known is None else "revalidated"

    async def _adopt(self, known: Asset, found: Asset) -> None:
        """An asset's bytes never change: with a verified hash they only get their name."""
        if found.sha256 is not None and found.size_bytes == known.size_bytes:
            await self._store.rename(known.content, found.content)
            await self._store.verify(found)
        elif not self._store.index.is_named(known.content):
            await self._store.drop(known.content)

    def _may_read_offline(self, asset: Asset, credential: Credential) -> bool:
        age = self._age(asset.id, credential)
        content = self._store.index.content(asset.content)
        whole = asset.size_bytes == 0 or (content is not None and content.verified)
        return age is not None and age <= self._offline_seconds and whole
