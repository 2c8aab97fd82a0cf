"""What a chunk-worker does with commands to verify assets."""

from typing import Annotated

from faststream import Context
from faststream.rabbit import RabbitRouter

from chunk_worker.messages import CHUNK_WORKER_VERIFICATIONS
from chunk_worker.verification.verify import AssetVerifier
from jettythunder.broker.subscribers import consumes, of_type
from jettythunder.contracts.assets import AssetVerified, VerifyAssetV1
from jettythunder.contracts.envelope import Event

router = RabbitRouter()
verifications = router.subscriber(**consumes(CHUNK_WORKER_VERIFICATIONS, prefetch=1))


@verifications(filter=of_type(VerifyAssetV1))
async def on_verify_asset(
    event: Event[VerifyAssetV1], verifier: Annotated[AssetVerifier, Context("asset_verifier")]
) -> AssetVerified:
    """Read an asset's object, and answer with its hash."""
    asset = event.data
    found = await verifier.verify(s3_bucket=asset.s3_bucket, s3_key=asset.s3_key)
    return AssetVerified(
        asset_id=asset.asset_id, content_hash=found.content_hash, size_bytes=found.size_bytes
    )
