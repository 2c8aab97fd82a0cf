"""Assets that Workers send from their cache, or from the object storage, to bearers of signed links."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol
from uuid import UUID

from jettythunder import outbox
from jettythunder.contracts.assets import AssetStreamedV1
from jettythunder.database import Database
from jettythunder.ids import new_id
from jettythunder.storage import Storage
from storage_gateway.assets import names
from storage_gateway.assets.model import Asset
from storage_gateway.assets.representation import Answer, answer_for
from storage_gateway.messages import SOURCE

_URL_SECONDS = 300
# A Worker does not say that a read goes on, so its bandwidth stays held for as long as one takes.
_HOLD_SECONDS = 3600


class Holds(Protocol):
    """Where bandwidth is held."""

    async def hold(
        self, asset: Asset, reservation_id: UUID, size_bytes: int, *, seconds: int | None = None
    ) -> None: ...


@dataclass(frozen=True)
class OpenedRead:
    """A read that a Worker may serve.

    Attributes:
        id: names the read when its bytes are counted; None where none are sent.
        source_url: where the object storage gives the asset, for five minutes.
    """

    id: UUID | None
    asset: Asset
    answer: Answer
    source_url: str | None


class EdgeReads:
    """Opens reads for Workers, and counts what they sent."""

    def __init__(self, database: Database, storage: Storage, bandwidth: Holds) -> None:
        self._database = database
        self._storage = storage
        self._bandwidth = bandwidth

    async def open(self, asset: Asset, method: str, asked: Mapping[str, str]) -> OpenedRead:
        """The head of the answer to a request with these headers; bandwidth is held for its bytes.

        Raises:
            PreconditionFailed, RangeNotSatisfiable: as their names say.
            BandwidthQuotaExceeded: the period has no room for the range.
        """
        answer = answer_for(asset, method, asked)
        if answer.sent is None:
            return OpenedRead(None, asset, answer, None)
        read_id = new_id()
        await self._bandwidth.hold(asset, read_id, answer.sent.length_bytes, seconds=_HOLD_SECONDS)
        url = self._storage.presign_download(
            asset.s3_key,
            content_disposition=names.content_disposition("inline", asset.filename),
            content_type=asset.content_type,
            seconds=_URL_SECONDS,
        )
        return OpenedRead(read_id, asset, answer, url)

    async def sent(self, read_id: UUID, *, account_id: UUID, asset_id: UUID, sent_bytes: int) -> None:
        """Count the bytes of a read that has ended."""
        event = AssetStreamedV1(
            account_id=account_id, asset_id=asset_id, reservation_id=read_id, sent_bytes=sent_bytes
        )
        await outbox.write(self._database, event, source=SOURCE)
