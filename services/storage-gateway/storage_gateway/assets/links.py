"""Links to assets: presigned ones to the object storage, and signed ones to the gateway's stream."""

import time
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from uuid import UUID

from jettythunder import outbox
from jettythunder.contracts.assets import AssetDownloadedV1
from jettythunder.errors import LinkExpired
from jettythunder.ids import new_id
from jettythunder.signatures import STREAM_LINK, SigningKeys
from jettythunder.storage import Storage
from storage_gateway.assets import names
from storage_gateway.assets.model import Asset
from storage_gateway.assets.stream import Bandwidth
from storage_gateway.messages import SOURCE


@dataclass(frozen=True)
class DownloadLink:
    """URLs that give an asset's bytes to whoever has them, until they expire.

    Args:
        url: leads to the object storage, its bandwidth counted when it was signed; of a metered link it is
            the stream's.
        stream_url: leads to the gateway, which counts what is sent.
        cdn_url: leads to the desktop CDN, where one is set up.
    """

    url: str
    stream_url: str
    cdn_url: str | None
    expires_at: datetime


class Links:
    """Signs and checks links.

    Args:
        public_url: where tenants reach the gateway.
        cdn_url: where the tenants' desktop CDN listens, if they have one.
        link_seconds: how long a link is good for, unless less is asked for.
    """

    def __init__(
        self,
        storage: Storage,
        bandwidth: Bandwidth,
        keys: SigningKeys,
        *,
        public_url: str,
        cdn_url: str | None,
        link_seconds: int,
    ) -> None:
        self._storage = storage
        self._bandwidth = bandwidth
        self._keys = keys
        self._public_url = public_url
        self._cdn_url = cdn_url
        self._link_seconds = link_seconds

    def plain(self, asset_id: UUID) -> str:
        """The address of an asset's stream, which asks for credentials."""
        return f"{self._public_url}/api/storage/stream/{asset_id}"

    async def download(self, asset: Asset, *, epoch: int, expires_in: int | None = None) -> DownloadLink:
        """Links to an asset; the bandwidth of the first, the whole size, counts now, for S3 does not tell
        what was read.

        Args:
            epoch: the account's; the stream's link ends when it is raised.

        Raises:
            BandwidthQuotaExceeded: the period has no room for it.
        """
        seconds = self._seconds(expires_in)
        url = self._storage.presign_download(
            asset.s3_key,
            content_disposition=names.content_disposition("attachment", asset.filename),
            content_type=asset.content_type,
            seconds=seconds,
        )
        reservation_id = new_id()
        downloaded = AssetDownloadedV1(
            account_id=asset.account_id,
            asset_id=asset.id,
            reservation_id=reservation_id,
            size_bytes=asset.size_bytes,
        )
        expires_at = datetime.now(UTC) + timedelta(seconds=seconds)
        await self._bandwidth.hold(
            asset, reservation_id, asset.size_bytes, outbox.rows(downloaded, source=SOURCE)
        )
        return self._link(asset, epoch, expires_at, url=url)

    def metered(self, asset: Asset, *, epoch: int, expires_in: int | None = None) -> DownloadLink:
        """Links to an asset that lead through the gateway alone, which counts what it sends; nothing counts
        now.
        """
        return self._link(asset, epoch, datetime.now(UTC) + timedelta(seconds=self._seconds(expires_in)))

    def check(self, asset_id: UUID, *, epoch: int, expires_at: int, signature: str) -> None:
        """Check the signature of a link to the stream.

        Raises:
            LinkInvalid, LinkExpired: as their names say.
        """
        self._keys.verifying.check(STREAM_LINK, _claims(asset_id, epoch, expires_at), signature)
        if expires_at < time.time():
            raise LinkExpired

    def _seconds(self, expires_in: int | None) -> int:
        return min(expires_in or self._link_seconds, self._link_seconds)

    def _link(
        self, asset: Asset, epoch: int, expires_at: datetime, *, url: str | None = None
    ) -> DownloadLink:
        query = self._signed_query(asset.id, epoch, int(expires_at.timestamp()))
        stream_url = self.plain(asset.id) + query
        cdn_url = f"{self._cdn_url}/api/storage/stream/{asset.id}{query}" if self._cdn_url else None
        return DownloadLink(url or stream_url, stream_url, cdn_url, expires_at)

    def _signed_query(self, asset_id: UUID, epoch: int, expires_at: int) -> str:
        signature = self._keys.sign(STREAM_LINK, _claims(asset_id, epoch, expires_at))
        return f"?epoch={epoch}&expires_at={expires_at}&signature={signature}"


def _claims(asset_id: UUID, epoch: int, expires_at: int) -> str:
    return f"{asset_id}\n{epoch}\n{expires_at}"
