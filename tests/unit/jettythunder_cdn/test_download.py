"""The library's downloads read through the desktop CDN where one runs, and do without it where not."""

from __future__ import annotations

from pathlib import Path

from tests.support.cdn import KEY, SECRET, Bytes, Cdn, Gateway

from jettythunder_client import AsyncClient, Config, DownloadResult
from jettythunder_client.events import Event, Notice

FILM = Bytes(9_000_000, seed=4)


async def download(
    gateway: Gateway, cdn: Cdn, folder: Path, *, url: str | None = None, seen: list[Event] | None = None
) -> DownloadResult:
    config = Config(
        gateway.url,
        KEY,
        SECRET,
        state_dir=cdn.settings.state_dir.parent,
        retry_seconds=1,
        cdn_url=url or cdn.url,
    )
    async with AsyncClient(config, observe=(seen if seen is not None else []).append) as client:
        result = await client.download(asset_id="film", target=folder / "film.bin", overwrite=True)
    await cdn.cache.settled()
    return result


def paths(gateway: Gateway) -> list[str]:
    """What was asked for, but for records."""
    return [path for method, path, _ in gateway.requests if method == "GET" and "/assets/" not in path]


async def test_what_is_here_is_not_downloaded_again(gateway: Gateway, cdn: Cdn, tmp_path: Path) -> None:
    gateway.add("film", FILM)
    for _ in range(2):
        result = await download(gateway, cdn, tmp_path)
        assert result.path.read_bytes() == FILM.read(0, FILM.size_bytes)
    # No link, which would count the whole asset, and each block once.
    assert set(paths(gateway)) == {"/api/storage/stream/film"}
    assert cdn.cache.figures.upstream_bytes == FILM.size_bytes


async def test_without_a_desktop_cdn_it_goes_as_ever(gateway: Gateway, cdn: Cdn, tmp_path: Path) -> None:
    gateway.add("film", FILM)
    result = await download(gateway, cdn, tmp_path, url="http://127.0.0.1:9")
    assert result.path.read_bytes() == FILM.read(0, FILM.size_bytes)
    assert "/api/storage/download" in paths(gateway)
    assert cdn.cache.figures.upstream_bytes == 0


async def test_a_desktop_cdn_that_fails_is_done_without(gateway: Gateway, cdn: Cdn, tmp_path: Path) -> None:
    gateway.add("film", FILM)
    # The entity tag is none that the desktop CDN can take, so that it answers with an error.
    gateway.etags["film"] = ""
    result = await download(gateway, cdn, tmp_path)
    assert result.path.read_bytes() == FILM.read(0, FILM.size_bytes)
    assert "/api/storage/download" not in paths(gateway)


async def test_other_bytes_than_the_asset_s_are_fetched_anew(
    gateway: Gateway, cdn: Cdn, tmp_path: Path
) -> None:
    gateway.add("film", Bytes(FILM.size_bytes, seed=5), etag="asset-film")
    await cdn.get("/v1/assets/film")
    gateway.contents["film"] = FILM
    seen: list[Event] = []
    result = await download(gateway, cdn, tmp_path, seen=seen)
    assert result.path.read_bytes() == FILM.read(0, FILM.size_bytes)
    assert [event for event in seen if isinstance(event, Notice)]
