"""How a file is cut into chunks."""

from jettythunder_client.errors import InvalidConfiguration

MIN_CHUNK_BYTES = 5 * 1024 * 1024
MAX_CHUNK_BYTES = 5_000_000_000
MAX_CHUNKS = 10_000
_SECONDS_A_CHUNK = 4.0
_CHUNKS_WANTED = 64
_STEP_BYTES = 1024 * 1024


def choose_chunk_size(
    size_bytes: int, *, usual_bytes: int, bytes_per_second: float | None, fixed: bool = False
) -> int:
    """A chunk size in bytes, within what S3 takes: 5 MiB to 5 GB, and 10,000 parts at most.

    A chunk shall take a few seconds at the speed that one connection had the last time
    (``bytes_per_second``); without that it is ``usual_bytes``. Smaller files get smaller chunks, so that all
    edges have something to do until the end. ``fixed`` insists on ``usual_bytes`` where S3 allows it.
    """
    if size_bytes < 0:
        raise InvalidConfiguration("A file's size can't be negative.")
    wanted = usual_bytes
    if not fixed:
        if bytes_per_second:
            wanted = int(bytes_per_second * _SECONDS_A_CHUNK)
        wanted = min(wanted, size_bytes // _CHUNKS_WANTED)
    floor = max(MIN_CHUNK_BYTES, -(-size_bytes // MAX_CHUNKS))
    stepped = -(-max(wanted, floor) // _STEP_BYTES) * _STEP_BYTES if not fixed else max(wanted, floor)
    return min(stepped, MAX_CHUNK_BYTES)


def chunk_range(number: int, *, chunk_size_bytes: int, size_bytes: int) -> tuple[int, int]:
    """Offset and length in bytes of chunk ``number``, counted from 1."""
    offset = (number - 1) * chunk_size_bytes
    return offset, min(chunk_size_bytes, size_bytes - offset)


def chunk_sizes(*, chunk_size_bytes: int, size_bytes: int) -> dict[int, int]:
    """The size in bytes of every chunk, by number from 1 on."""
    count = -(-size_bytes // chunk_size_bytes)
    return {
        number: chunk_range(number, chunk_size_bytes=chunk_size_bytes, size_bytes=size_bytes)[1]
        for number in range(1, count + 1)
    }
