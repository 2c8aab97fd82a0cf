"""Links: presigned ones to the object storage, and signed ones to the stream."""

import time
from urllib.parse import parse_qs, urlsplit
from uuid import UUID, uuid4

import pytest

from jettythunder.contracts.assets import AssetDownloadedV1
from jettythunder.errors import LinkExpired, LinkInvalid
from jettythunder.signatures import STREAM_LINK
from storage_gateway.assets.links import Links
from storage_gateway.assets.stream import Bandwidth
from storage_gateway.errors import BandwidthQuotaExceeded

from .fakes import ACCOUNT_ID, EPOCH, HOLD_SECONDS, QUOTA_BYTES, SIGNING_KEYS, Gateway, made_asset

ASSET = made_asset(size_bytes=1000)


def links(gateway: Gateway, *, cdn_url: str | None = None) -> Links:
    return Links(
        gateway.storage,
        Bandwidth(gateway.assets, hold_seconds=HOLD_SECONDS),
        SIGNING_KEYS,
        public_url="https://gateway",
        cdn_url=cdn_url,
        link_seconds=300,
    )


def signed(url: str) -> tuple[int, str]:
    """The expiry and the signature in a link."""
    query = parse_qs(urlsplit(url).query)
    return int(query["expires_at"][0]), query["signature"][0]


async def test_a_download_is_counted_when_its_link_is_signed() -> None:
    gateway = Gateway()
    link = await links(gateway).download(ASSET, epoch=EPOCH)
    assert link.url.startswith(f"https://storage/{ASSET.s3_key}?")
    assert link.cdn_url is None
    assert gateway.state.free_bandwidth == QUOTA_BYTES - 1000
    (event,) = gateway.state.events
    assert isinstance(event, AssetDownloadedV1)
    assert (event.account_id, event.asset_id, event.size_bytes) == (ACCOUNT_ID, ASSET.id, 1000)


async def test_a_metered_link_leads_through_the_gateway_and_counts_nothing_yet() -> None:
    gateway = Gateway()
    link = links(gateway, cdn_url="http://127.0.0.1:4000").metered(ASSET, epoch=EPOCH, expires_in=60)
    assert link.url == link.stream_url
    assert link.url.startswith(f"https://gateway/api/storage/stream/{ASSET.id}?")
    assert link.cdn_url is not None
    assert gateway.state.free_bandwidth == QUOTA_BYTES
    assert gateway.state.events == []


async def test_without_room_there_is_no_link() -> None:
    gateway = Gateway()
    gateway.state.free_bandwidth = 999
    with pytest.raises(BandwidthQuotaExceeded):
        await links(gateway).download(ASSET, epoch=EPOCH)
    assert gateway.state.events == []


@pytest.mark.parametrize(("asked", "given"), [(None, 300), (10, 10), (300, 300), (604_800, 300)])
async def test_a_link_is_good_for_no_longer_than_the_installation_allows(
    asked: int | None, given: int
) -> None:
    before = time.time()
    link = await links(Gateway()).download(ASSET, epoch=EPOCH, expires_in=asked)
    assert f"seconds={given}" in link.url
    assert before + given <= link.expires_at.timestamp() <= time.time() + given
    assert signed(link.stream_url)[0] == int(link.expires_at.timestamp())


async def test_the_stream_and_the_desktop_cdn_have_the_same_signature() -> None:
    link = await links(Gateway(), cdn_url="http://127.0.0.1:4000").download(ASSET, epoch=EPOCH)
    assert link.cdn_url is not None
    assert link.stream_url.startswith(f"https://gateway/api/storage/stream/{ASSET.id}?")
    assert link.cdn_url.startswith(f"http://127.0.0.1:4000/api/storage/stream/{ASSET.id}?")
    assert signed(link.cdn_url) == signed(link.stream_url)


async def test_a_signature_holds_for_its_asset_epoch_and_expiry_alone() -> None:
    made = links(Gateway())
    expires_at, signature = signed((await made.download(ASSET, epoch=EPOCH)).stream_url)
    made.check(ASSET.id, epoch=EPOCH, expires_at=expires_at, signature=signature)
    others: list[tuple[UUID, int, int, str]] = [
        (uuid4(), EPOCH, expires_at, signature),
        (ASSET.id, EPOCH + 1, expires_at, signature),
        (ASSET.id, EPOCH, expires_at + 1, signature),
        (ASSET.id, EPOCH, expires_at, signature[:-1]),
        (ASSET.id, EPOCH, expires_at, ""),
        (ASSET.id, EPOCH, expires_at, "é"),
    ]
    for asset_id, epoch, moment, given in others:
        with pytest.raises(LinkInvalid):
            made.check(asset_id, epoch=epoch, expires_at=moment, signature=given)


async def test_the_link_says_the_epoch() -> None:
    link = await links(Gateway()).download(ASSET, epoch=EPOCH)
    assert parse_qs(urlsplit(link.stream_url).query)["epoch"] == [str(EPOCH)]


async def test_a_signature_for_another_purpose_is_none() -> None:
    made = links(Gateway())
    expires_at = int(time.time()) + 60
    text = f"{ASSET.id}\n{EPOCH}\n{expires_at}"
    made.check(ASSET.id, epoch=EPOCH, expires_at=expires_at, signature=SIGNING_KEYS.sign(STREAM_LINK, text))
    with pytest.raises(LinkInvalid):
        made.check(ASSET.id, epoch=EPOCH, expires_at=expires_at, signature=SIGNING_KEYS.sign("other", text))


async def test_an_expired_link_says_so() -> None:
    expires_at = int(time.time()) - 1
    signature = SIGNING_KEYS.sign(STREAM_LINK, f"{ASSET.id}\n{EPOCH}\n{expires_at}")
    with pytest.raises(LinkExpired):
        links(Gateway()).check(ASSET.id, epoch=EPOCH, expires_at=expires_at, signature=signature)
