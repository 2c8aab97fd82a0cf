"""The index: which assets are known, which blocks are there, and who was allowed to read what.

SQLite in WAL mode. A commit is an append to a file in the page cache; what a crash loses of it is found by
the scan at start-up.
"""

import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from jettythunder_cdn.model import Asset

_SCHEMA = """
CREATE TABLE IF NOT EXISTS contents (
    content TEXT PRIMARY KEY,
    size_bytes INTEGER NOT NULL,
    verified INTEGER NOT NULL DEFAULT 0,
    pinned INTEGER NOT NULL DEFAULT 0,
    stored_at REAL NOT NULL,
    used_at REAL NOT NULL
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS contents_by_use ON contents (used_at) WHERE NOT pinned;
CREATE TABLE IF NOT EXISTS blocks (
    content TEXT NOT NULL,
    number INTEGER NOT NULL,
    size_bytes INTEGER NOT NULL,
    crc INTEGER NOT NULL,
    allocated_bytes INTEGER NOT NULL,
    PRIMARY KEY (content, number)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS assets (
    id TEXT PRIMARY KEY,
    content TEXT NOT NULL,
    etag TEXT NOT NULL,
    size_bytes INTEGER NOT NULL,
    content_type TEXT NOT NULL,
    disposition TEXT NOT NULL,
    modified TEXT NOT NULL
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS assets_by_content ON assets (content);
CREATE TABLE IF NOT EXISTS grants (
    asset_id TEXT NOT NULL,
    credential TEXT NOT NULL,
    granted_at REAL NOT NULL,
    PRIMARY KEY (asset_id, credential)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS cache_keys (
    cache_key TEXT NOT NULL,
    credential TEXT NOT NULL,
    asset_id TEXT NOT NULL,
    found_at REAL NOT NULL,
    PRIMARY KEY (cache_key, credential)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS days (
    day TEXT PRIMARY KEY,
    hit_bytes INTEGER NOT NULL,
    upstream_bytes INTEGER NOT NULL
) WITHOUT ROWID;
PRAGMA user_version = 1;
"""
_VERSION = 1
_LAST = 2**62


@dataclass(frozen=True)
class Content:
    """Bytes that are kept, as a whole or in part."""

    content: str
    size_bytes: int
    verified: bool
    pinned: bool
    stored_at: float
    used_at: float


@dataclass(frozen=True)
class Block:
    """A block that is kept."""

    number: int
    size_bytes: int
    crc: int
    allocated_bytes: int


@dataclass(frozen=True)
class Kept:
    """A content for people: its names, and how much of it is here."""

    content: Content
    asset_ids: tuple[str, ...]
    disposition: str
    content_type: str
    blocks: int
    allocated_bytes: int


class Index:
    """The index's file; a damaged one is begun anew, for everything in it can be fetched again."""

    def __init__(self, file: Path) -> None:
        try:
            self._rows = self._opened(file)
        except sqlite3.OperationalError:
            # It is not damaged: the disk is full, or does not let it be opened.
            raise
        except sqlite3.DatabaseError:
            for name in (file.name, f"{file.name}-wal", f"{file.name}-shm"):
                file.with_name(name).unlink(missing_ok=True)
            self._rows = self._opened(file)
        self._trusted = file.with_name("grants.trusted")
        self._forget_distrusted()

    def _forget_distrusted(self) -> None:
        if not self._trusted.exists():
            self._rows.execute("DELETE FROM grants")
            with suppress(OSError):
                self._trusted.touch(mode=0o600)

    @staticmethod
    def _opened(file: Path) -> sqlite3.Connection:
        # Nobody else writes it, so there is nothing to wait for.
        rows = sqlite3.connect(file, timeout=0, isolation_level=None, cached_statements=64)
        try:
            rows.execute("PRAGMA journal_mode = WAL")
            rows.execute("PRAGMA synchronous = NORMAL")
            rows.execute("PRAGMA cache_size = -2000")
            if rows.execute("PRAGMA user_version").fetchone()[0] not in (0, _VERSION):
                raise sqlite3.DatabaseError
            rows.executescript(_SCHEMA)
            if rows.execute("PRAGMA quick_check(1)").fetchone()[0] != "ok":
                raise sqlite3.DatabaseError
        except BaseException:
            rows.close()
            raise
        return rows

    def close(self) -> None:
        """Close the file, its log written back."""
        with suppress(sqlite3.Error):
            self._rows.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        self._rows.close()

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        """All or nothing, on a full disk too: one left open would take in whatever comes after it."""
        self._rows.execute("BEGIN IMMEDIATE")
        try:
            yield
            self._rows.execute("COMMIT")
        except BaseException:
            if self._rows.in_transaction:
                self._rows.execute("ROLLBACK")
            raise

    # Assets

    def asset(self, asset_id: str) -> Asset | None:
        """What is known of an asset."""
        row = self._rows.execute(
            "SELECT id, etag, size_bytes, content_type, disposition, modified FROM assets WHERE id = ?",
            (asset_id,),
        ).fetchone()
        return Asset(*row) if row else None

    def put_asset(self, asset: Asset) -> None:
        """Note what the gateway says of an asset."""
        self._rows.execute(
            "INSERT OR REPLACE INTO assets VALUES (?, ?, ?, ?, ?, ?, ?)",
            (
                asset.id,
                asset.content,
                asset.etag,
                asset.size_bytes,
                asset.content_type,
                asset.disposition,
                asset.modified,
            ),
        )

    def forget_asset(self, asset_id: str) -> str | None:
        """Forget an asset and every right to it; its content, where no other asset has it."""
        known = self.asset(asset_id)
        with self._transaction():
            self._rows.execute("DELETE FROM grants WHERE asset_id = ?", (asset_id,))
            self._rows.execute("DELETE FROM cache_keys WHERE asset_id = ?", (asset_id,))
            self._rows.execute("DELETE FROM assets WHERE id = ?", (asset_id,))
        return None if known is None or self.is_named(known.content) else known.content

    def is_named(self, content: str) -> bool:
        """Whether an asset has the content."""
        query = "SELECT 1 FROM assets WHERE content = ? LIMIT 1"
        return self._rows.execute(query, (content,)).fetchone() is not None

    # Contents and their blocks

    def content(self, content: str) -> Content | None:
        """A content that is kept, as a whole or in part."""
        row = self._rows.execute(
            "SELECT content, size_bytes, verified, pinned, stored_at, used_at FROM contents"
            " WHERE content = ?",
            (content,),
        ).fetchone()
        return _content(row) if row else None

    def open_content(self, asset: Asset, now: float) -> None:
        """Make a content's row, where there is none."""
        self._rows.execute(
            "INSERT OR IGNORE INTO contents (content, size_bytes, stored_at, used_at) VALUES (?, ?, ?, ?)",
            (asset.content, asset.size_bytes, now, now),
        )

    def numbers(self, content: str, first: int, last: int) -> set[int]:
        """Numbers of the blocks that are kept, from ``first`` to ``last``."""
        query = "SELECT number FROM blocks WHERE content = ? AND number BETWEEN ? AND ?"
        return {number for (number,) in self._rows.execute(query, (content, first, last))}

    def block(self, content: str, number: int) -> Block | None:
        """A block that is kept."""
        row = self._rows.execute(
            "SELECT number, size_bytes, crc, allocated_bytes FROM blocks WHERE content = ? AND number = ?",
            (content, number),
        ).fetchone()
        return Block(*row) if row else None

    def block_count(self, content: str, first: int = 0, last: int = _LAST) -> int:
        """How many blocks of a content are kept, from ``first`` to ``last``."""
        query = "SELECT count(*) FROM blocks WHERE content = ? AND number BETWEEN ? AND ?"
        count: int = self._rows.execute(query, (content, first, last)).fetchone()[0]
        return count

    def put_block(self, content: str, block: Block) -> None:
        """Note a block that is on the disk."""
        self._rows.execute(
            "INSERT OR REPLACE INTO blocks VALUES (?, ?, ?, ?, ?)",
            (content, block.number, block.size_bytes, block.crc, block.allocated_bytes),
        )

    def forget_block(self, content: str, number: int) -> None:
        """Forget a block; the whole is then no longer verified."""
        with self._transaction():
            self._rows.execute("DELETE FROM blocks WHERE content = ? AND number = ?", (content, number))
            self._rows.execute("UPDATE contents SET verified = 0 WHERE content = ?", (content,))

    def forget_content(self, content: str) -> int:
        """Forget a content with its blocks; the bytes of the disk that these took."""
        query = "SELECT coalesce(sum(allocated_bytes), 0) FROM blocks WHERE content = ?"
        allocated: int = self._rows.execute(query, (content,)).fetchone()[0]
        with self._transaction():
            self._rows.execute("DELETE FROM blocks WHERE content = ?", (content,))
            self._rows.execute("DELETE FROM contents WHERE content = ?", (content,))
        return allocated

    def rename_content(self, old: str, new: str) -> None:
        """Give a content the name that its verified hash is."""
        with self._transaction():
            self._rows.execute("UPDATE blocks SET content = ? WHERE content = ?", (new, old))
            self._rows.execute("UPDATE contents SET content = ?, verified = 0 WHERE content = ?", (new, old))

    def mark_verified(self, content: str) -> None:
        """Note that the bytes have the hash that the gateway says."""
        self._rows.execute("UPDATE contents SET verified = 1 WHERE content = ?", (content,))

    def pin(self, content: str, *, pinned: bool) -> None:
        """Keep a content from being evicted, or no longer."""
        self._rows.execute("UPDATE contents SET pinned = ? WHERE content = ?", (pinned, content))

    def touch(self, used: Iterable[tuple[str, float]]) -> None:
        """Note when contents were used last."""
        with self._transaction():
            self._rows.executemany(
                "UPDATE contents SET used_at = ? WHERE content = ?", [(at, content) for content, at in used]
            )

    def evictable(self) -> Iterator[str]:
        """Contents that are not pinned, those that were not used for longest first."""
        query = "SELECT content FROM contents WHERE NOT pinned ORDER BY used_at"
        # All at once: rows are deleted while the caller goes through them.
        yield from [content for (content,) in self._rows.execute(query).fetchmany(1000)]

    def all_blocks(self, prefix: str = "") -> Iterator[tuple[str, Block]]:
        """Every block, content by content; only of the contents that begin with a prefix."""
        query = """
            SELECT content, number, size_bytes, crc, allocated_bytes FROM blocks
            WHERE content >= ? AND content < ?
        """
        # Contents are named by hexadecimal digits.
        for content, *block in self._rows.execute(query, (prefix, f"{prefix}g")):
            yield content, Block(*block)

    def forget_blocks(self, gone: Iterable[tuple[str, int]]) -> None:
        """Forget blocks that are not on the disk."""
        for content, number in gone:
            self.forget_block(content, number)

    def allocated_bytes(self) -> int:
        """Bytes of the disk that all blocks take."""
        query = "SELECT coalesce(sum(allocated_bytes), 0) FROM blocks"
        allocated: int = self._rows.execute(query).fetchone()[0]
        return allocated

    def contents(self, limit: int) -> list[Kept]:
        """The contents that were used last."""
        query = """
            SELECT c.content, c.size_bytes, c.verified, c.pinned, c.stored_at, c.used_at,
                   (SELECT group_concat(a.id) FROM assets a WHERE a.content = c.content),
                   (SELECT max(a.disposition) FROM assets a WHERE a.content = c.content),
                   (SELECT max(a.content_type) FROM assets a WHERE a.content = c.content),
                   (SELECT count(*) FROM blocks b WHERE b.content = c.content),
                   (SELECT coalesce(sum(b.allocated_bytes), 0) FROM blocks b WHERE b.content = c.content)
            FROM contents c ORDER BY c.used_at DESC LIMIT ?
        """
        return [
            Kept(
                _content(row[:6]),
                tuple((row[6] or "").split(",")),
                row[7] or "",
                row[8] or "",
                row[9],
                row[10],
            )
            for row in self._rows.execute(query, (limit,))
        ]

    def content_count(self) -> int:
        """How many contents are kept."""
        count: int = self._rows.execute("SELECT count(*) FROM contents").fetchone()[0]
        return count

    # Rights

    def grant(self, credential: str, asset_id: str, at: float) -> None:
        """Note that the gateway let a credential read an asset."""
        self._rows.execute("INSERT OR REPLACE INTO grants VALUES (?, ?, ?)", (asset_id, credential, at))

    def granted_at(self, credential: str, asset_id: str) -> float | None:
        """When the gateway last let the credential read the asset."""
        query = "SELECT granted_at FROM grants WHERE asset_id = ? AND credential = ?"
        row = self._rows.execute(query, (asset_id, credential)).fetchone()
        return float(row[0]) if row else None

    def revoke(self, credential: str, asset_ids: Iterable[str]) -> None:
        """Forget rights, at once."""
        with self._transaction():
            self._rows.executemany(
                "DELETE FROM grants WHERE asset_id = ? AND credential = ?",
                [(asset_id, credential) for asset_id in asset_ids],
            )

    def granted(self, credential: str) -> list[str]:
        """The assets that the gateway let a credential read."""
        query = "SELECT asset_id FROM grants WHERE credential = ?"
        return [str(asset_id) for (asset_id,) in self._rows.execute(query, (credential,))]

    def distrust_grants(self) -> None:
        """Have every right forgotten by the next start: files can be removed where rows can't be."""
        self._trusted.unlink(missing_ok=True)

    def forget_old(self, at: float) -> None:
        """Forget the rights that were last granted before a time, and assets of which nothing is left."""
        with self._transaction():
            self._rows.execute("DELETE FROM grants WHERE granted_at < ?", (at,))
            self._rows.execute("""
                DELETE FROM assets WHERE id NOT IN (SELECT asset_id FROM grants)
                AND content NOT IN (SELECT content FROM contents)
            """)
            self._rows.execute("DELETE FROM cache_keys WHERE asset_id NOT IN (SELECT id FROM assets)")

    # Cache keys

    def named(self, cache_key: str, credential: str) -> tuple[str, float] | None:
        """The asset that a cache key named, and when."""
        query = "SELECT asset_id, found_at FROM cache_keys WHERE cache_key = ? AND credential = ?"
        row = self._rows.execute(query, (cache_key, credential)).fetchone()
        return (str(row[0]), float(row[1])) if row else None

    def put_name(self, cache_key: str, credential: str, asset_id: str, at: float) -> None:
        """Note the asset that a cache key names."""
        row = (cache_key, credential, asset_id, at)
        self._rows.execute("INSERT OR REPLACE INTO cache_keys VALUES (?, ?, ?, ?)", row)

    def forget_name(self, cache_key: str, credential: str) -> None:
        """Forget what a cache key names."""
        self._rows.execute(
            "DELETE FROM cache_keys WHERE cache_key = ? AND credential = ?", (cache_key, credential)
        )

    # Figures

    def add_day(self, day: str, *, hit_bytes: int, upstream_bytes: int) -> None:
        """Add to a day's figures."""
        self._rows.execute(
            "INSERT INTO days VALUES (?, ?, ?) ON CONFLICT (day) DO UPDATE SET"
            " hit_bytes = hit_bytes + excluded.hit_bytes,"
            " upstream_bytes = upstream_bytes + excluded.upstream_bytes",
            (day, hit_bytes, upstream_bytes),
        )

    def days(self, limit: int) -> list[tuple[str, int, int]]:
        """The latest days: date, bytes given from here, bytes fetched."""
        query = "SELECT day, hit_bytes, upstream_bytes FROM days ORDER BY day DESC LIMIT ?"
        return [
            (str(day), int(hit), int(fetched)) for day, hit, fetched in self._rows.execute(query, (limit,))
        ]

    def total(self) -> tuple[int, int]:
        """All days together: bytes given from here, bytes fetched."""
        query = "SELECT coalesce(sum(hit_bytes), 0), coalesce(sum(upstream_bytes), 0) FROM days"
        hit, fetched = self._rows.execute(query).fetchone()
        return int(hit), int(fetched)


def _content(row: tuple[str, int, int, int, float, float]) -> Content:
    content, size_bytes, verified, pinned, stored_at, used_at = row
    return Content(content, size_bytes, bool(verified), bool(pinned), stored_at, used_at)
