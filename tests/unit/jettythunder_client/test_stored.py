"""What a folder's earlier run has stored."""

from pathlib import Path

from tests.support.waiting import eventually

from jettythunder_client.api import Asset
from jettythunder_client.state import identify
from jettythunder_client.stored import StoredFiles

ASSET: Asset = {"id": "an-asset", "created_at": "2026-01-01T00:00:00Z"}


async def test_a_file_is_noted_soon_though_no_other_follows(tmp_path: Path) -> None:
    file = tmp_path / "a.bin"
    file.write_bytes(b"a")
    identity = identify(file)
    with (
        StoredFiles(tmp_path / "stored", tmp_path, None) as writing,
        StoredFiles(tmp_path / "stored", tmp_path, None) as reading,
    ):
        writing.add("a.bin", identity, ASSET)
        await eventually(lambda: reading.has("a.bin", identity))
