"""Prepare a one-node Swift: check the file system and write the rings. Runs in Swift's own environment.

usage: prepare_node.py SWIFT_DIR DEVICES OBJECT_PORT CONTAINER_PORT ACCOUNT_PORT

Exits with 3 when the file system under DEVICES keeps no user extended attributes, which Swift needs for every
object's metadata.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import xattr
from swift.common.ring import RingBuilder

NO_EXTENDED_ATTRIBUTES = 3


def keeps_extended_attributes(folder: Path) -> bool:
    """Whether a file in the folder takes a user attribute as large as Swift's metadata usually is."""
    with tempfile.NamedTemporaryFile(dir=folder) as probe:
        try:
            xattr.setxattr(probe.name, "user.swift.metadata", b"x" * 1024)
        except OSError:
            return False
    return True


def write_ring(swift_dir: Path, kind: str, port: int) -> None:
    """Write a ring of 64 partitions, one replica and one device: this node."""
    builder = RingBuilder(6, 1, 0)
    builder.add_dev(
        {"region": 1, "zone": 1, "ip": "127.0.0.1", "port": port, "device": "d1", "weight": 1},
    )
    builder.rebalance()
    builder.get_ring().save(str(swift_dir / f"{kind}.ring.gz"))


def main() -> int:
    swift_dir, devices = Path(sys.argv[1]), Path(sys.argv[2])
    (devices / "d1").mkdir(parents=True, exist_ok=True)
    if not keeps_extended_attributes(devices):
        return NO_EXTENDED_ATTRIBUTES
    for kind, port in zip(("object", "container", "account"), sys.argv[3:6], strict=True):
        write_ring(swift_dir, kind, int(port))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
