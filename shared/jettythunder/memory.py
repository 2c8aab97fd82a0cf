"""Memory for blocks of bytes that come and go."""

import ctypes

# Parameters of mallopt(3), from glibc's malloc.h.
_M_TRIM_THRESHOLD = -1
_M_MMAP_THRESHOLD = -3

# The most that glibc takes for the second one on 64-bit systems.
_LARGEST_POOLED_BYTES = 32 << 20
_KEPT_BYTES = 64 << 20


def keep_freed_memory() -> None:
    """Have up to 64 MiB of freed memory kept for the next blocks instead of given back to the kernel.

    By default glibc takes a block over 128 KiB from the kernel and gives it back when it is freed, so that
    each block of a stream faults in all its pages again: most of the CPU time of passing bytes on. Where the
    C library has no mallopt, nothing changes.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError):
        return
    mallopt(_M_MMAP_THRESHOLD, _LARGEST_POOLED_BYTES)
    mallopt(_M_TRIM_THRESHOLD, _KEPT_BYTES)
