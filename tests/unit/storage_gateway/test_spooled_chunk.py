"""A chunk in the spool: its bytes come back as they went in, or not at all."""

import os
import resource
from collections.abc import Iterator
from pathlib import Path
from uuid import UUID

import pytest

from jettythunder.checksums import Algorithm
from storage_gateway.errors import SpoolFull
from storage_gateway.uploads.spool import BLOCK_BYTES, Holding, SpooledChunk

LIMIT_BYTES = 3 * BLOCK_BYTES // 2


@pytest.fixture
def small_disk() -> Iterator[None]:
    """A limit on the size of files stands in for a small disk: it cuts the write that reaches it, too."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (LIMIT_BYTES, hard))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def chunk_in(directory: Path) -> SpooledChunk:
    return SpooledChunk(
        directory, 1, Holding(UUID(int=1)), most_bytes=10 * BLOCK_BYTES, algorithm=Algorithm.MD5
    )


@pytest.mark.parametrize("sizes", [[10], [10, 10], [BLOCK_BYTES], [100, BLOCK_BYTES, 5]])
async def test_bytes_come_back(tmp_path: Path, sizes: list[int]) -> None:
    chunk = chunk_in(tmp_path)
    blocks = [os.urandom(size) for size in sizes]
    for block in blocks:
        chunk.append([memoryview(block)[:7], memoryview(block)[7:]])
    assert b"".join([block async for block in chunk.blocks()]) == b"".join(blocks)
    assert chunk.size_bytes == sum(sizes)


@pytest.mark.usefixtures("small_disk")
def test_a_block_that_the_disk_takes_in_part_is_an_error(tmp_path: Path) -> None:
    chunk = chunk_in(tmp_path)
    chunk.append([memoryview(os.urandom(BLOCK_BYTES))])
    with pytest.raises(SpoolFull):
        chunk.append([memoryview(os.urandom(BLOCK_BYTES))])
