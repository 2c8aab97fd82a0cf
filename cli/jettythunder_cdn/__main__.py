"""`python -m jettythunder_cdn`: the desktop CDN in the foreground, without what the command line needs."""

import asyncio
import logging
import os
import sys
from contextlib import suppress

from jettythunder_cdn.server import serve
from jettythunder_cdn.settings import load_settings
from jettythunder_client.errors import ClientError

# From glibc's malloc.h.
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD, _M_ARENA_MAX = -1, -3, -8
_LARGE_BYTES = 256 * 1024


def _bound_memory() -> None:
    """Have glibc give blocks back to the system, and keep no heap for each thread."""
    with suppress(OSError, AttributeError, ImportError):
        import ctypes  # noqa: PLC0415 - for this alone

        libc = ctypes.CDLL(None)
        libc.mallopt(_M_ARENA_MAX, 1)
        libc.mallopt(_M_MMAP_THRESHOLD, _LARGE_BYTES)
        libc.mallopt(_M_TRIM_THRESHOLD, _LARGE_BYTES)


def main() -> int:
    """Run it; 1 where it can't start."""
    _bound_memory()
    level = os.environ.get("LOG_LEVEL", "INFO").upper()
    known = level if level in logging.getLevelNamesMapping() else "INFO"
    logging.basicConfig(level=known, format="%(asctime)s %(levelname)s %(message)s")
    try:
        asyncio.run(serve(load_settings(), os.environ))
    except ClientError as error:
        sys.stderr.write(f"{error.detail}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
