"""Verifying claimed hashes: a chunk-worker reads the object once and computes what the client claims.

A claim is used for nothing until then: only a hash that we computed finds duplicates and is an entity tag.
"""

import random
from dataclasses import replace
from uuid import UUID

from pydantic import TypeAdapter

from jettythunder import telemetry
from jettythunder.broker import topology
from jettythunder.broker.rpc import RpcClient
from jettythunder.contracts.assets import AssetVerified, VerifyAssetV1
from jettythunder.contracts.replies import Denied
from jettythunder.errors import BrokerUnavailable, JettyThunderError, restored
from storage_gateway.assets.model import Asset
from storage_gateway.assets.store import AssetStore
from storage_gateway.errors import AssetNotFound, VerificationUnavailable
from storage_gateway.messages import SOURCE
from storage_gateway.uploads.model import Received

log = telemetry.logger(__name__)

_CANDIDATES = 20

_reply: TypeAdapter[AssetVerified | Denied] = TypeAdapter(AssetVerified | Denied)


class Verifier:
    """Has hashes computed.

    Args:
        timeout_seconds: how long a caller waits for one object to be read.
    """

    def __init__(self, store: AssetStore, rpc: RpcClient, *, timeout_seconds: float) -> None:
        self._store = store
        self._rpc = rpc
        self._timeout_seconds = timeout_seconds

    async def verified(self, received: Received) -> Received:
        """An upload whose object is there, with the hash of its bytes where a worker computes it in time."""
        try:
            computed = await self._compute(
                VerifyAssetV1(
                    account_id=received.account_id,
                    asset_id=received.upload_id,
                    s3_bucket=received.s3_bucket,
                    s3_key=received.s3_key,
                    size_bytes=received.size_bytes,
                )
            )
        except JettyThunderError as error:
            log.warning("hash not verified", upload_id=str(received.upload_id), code=error.code)
            return received
        if computed != received.content_hash:
            log.warning("claimed hash is wrong", upload_id=str(received.upload_id))
        return replace(received, content_hash=computed, hash_verified=True)

    async def is_known(self, account_id: UUID, content_hash: str) -> bool:
        """Whether the account has an asset with these bytes; one that is claimed to is verified now."""
        asset = await self._store.find_known(account_id=account_id, content_hash=content_hash)
        if asset is None or asset.content_hash_verified:
            return asset is not None
        try:
            return (await self._note(asset)).content_hash == content_hash
        except JettyThunderError as error:
            log.warning("hash not verified", asset_id=str(asset.id), code=error.code)
            return False

    async def verify(self, account_id: UUID, asset_id: UUID) -> Asset:
        """An asset with its hash verified; a wrong claim is replaced by the true hash.

        Raises:
            AssetNotFound: the account has no such asset.
            VerificationUnavailable: no chunk-worker answered in time.
        """
        asset = await self._store.fetch(account_id=account_id, asset_id=asset_id)
        if asset is None:
            raise AssetNotFound
        return asset if asset.content_hash_verified else await self._note(asset)

    async def verify_one(self) -> float | None:
        """Verify one of the assets that have waited longest, so that reading back takes few resources.

        Any of them: one whose object can't be read delays no other.
        """
        waiting = await self._store.find_unverified(batch_size=_CANDIDATES)
        if waiting:
            await self._note(random.choice(waiting))  # noqa: S311 - fairness, not a secret
        return None

    async def _note(self, asset: Asset) -> Asset:
        computed = await self._compute(
            VerifyAssetV1(
                account_id=asset.account_id,
                asset_id=asset.id,
                s3_bucket=asset.s3_bucket,
                s3_key=asset.s3_key,
                size_bytes=asset.size_bytes,
            )
        )
        if computed != asset.content_hash:
            log.error("claimed hash was wrong", asset_id=str(asset.id), account_id=str(asset.account_id))
        noted = await self._store.note_verified(
            account_id=asset.account_id, asset_id=asset.id, content_hash=computed
        )
        if noted is None:
            raise AssetNotFound
        return noted

    async def _compute(self, command: VerifyAssetV1) -> str:
        try:
            body = await self._rpc.call(
                command, exchange=topology.COMMANDS, source=SOURCE, timeout_seconds=self._timeout_seconds
            )
        except (TimeoutError, BrokerUnavailable) as error:
            raise VerificationUnavailable from error
        reply = _reply.validate_json(body)
        if isinstance(reply, Denied):
            raise restored(reply.code, reply.detail, status=reply.status, retryable=reply.retryable)
        if reply.size_bytes != command.size_bytes:
            raise VerificationUnavailable(f"The object has {reply.size_bytes} bytes instead of its asset's.")
        return reply.content_hash
