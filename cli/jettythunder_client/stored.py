"""Which files of a folder were stored by an earlier run, kept in SQLite: their number costs no memory."""

import asyncio
import hashlib
import json
import sqlite3
import time
from collections.abc import AsyncIterator
from contextlib import closing
from datetime import datetime
from pathlib import Path

from jettythunder_client.api import Asset
from jettythunder_client.state import FileIdentity

_KEPT_SECONDS = 90 * 86_400
_NOTED_AT_ONCE = 50
_NOTED_SECONDS = 1.0
_SCHEMA = """
CREATE TABLE IF NOT EXISTS stored (
    scope TEXT, path TEXT, size_bytes INTEGER, modified_ns INTEGER, device TEXT, inode TEXT,
    asset_id TEXT, created_at REAL, stored_at REAL, confirmed INTEGER,
    PRIMARY KEY (scope, path)
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS stored_by_asset ON stored (scope, asset_id);
"""


class StoredFiles:
    """The files of one folder that are stored under the same options; a context manager.

    What is noted is written fifty files at a time, and by the event loop after a second at the latest: those
    few are sent again after a crash.
    """

    def __init__(self, file: Path, folder: Path, options: object) -> None:
        described = json.dumps([str(folder.resolve()), options], default=str)
        self._scope = hashlib.sha256(described.encode()).hexdigest()
        file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        file.touch(mode=0o600)
        self._noted: list[tuple[object, ...]] = []
        self._writing: asyncio.TimerHandle | None = None
        # Each statement is a transaction. A row that a power failure loses is a file that is sent once more.
        self._database = sqlite3.connect(file, timeout=30, isolation_level=None)
        self._database.executescript(f"PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL; {_SCHEMA}")
        self._execute("DELETE FROM stored WHERE stored_at < ?", time.time() - _KEPT_SECONDS)

    def __enter__(self) -> "StoredFiles":
        return self

    def __exit__(self, *_: object) -> None:
        self._write()
        self._database.close()

    async def confirm(self, assets: AsyncIterator[Asset]) -> None:
        """Forget what the account has no more; ``assets`` are its own, newest first."""
        (oldest,) = self._database.execute(
            "SELECT min(created_at) FROM stored WHERE scope = ?", (self._scope,)
        ).fetchone()
        if oldest is None:
            return
        self._execute("UPDATE stored SET confirmed = 0 WHERE scope = ?", self._scope)
        async for asset in assets:
            if _created_at(asset) < oldest:
                break
            self._execute(
                "UPDATE stored SET confirmed = 1 WHERE scope = ? AND asset_id = ?", self._scope, asset["id"]
            )
        self._execute("DELETE FROM stored WHERE scope = ? AND confirmed = 0", self._scope)

    def has(self, relative: str, identity: FileIdentity) -> bool:
        """Whether this very file is stored: its size, time, device and inode are those of then."""
        with closing(
            self._database.execute(
                "SELECT 1 FROM stored WHERE scope = ? AND path = ?"
                " AND size_bytes = ? AND modified_ns = ? AND device = ? AND inode = ?",
                (self._scope, _text(relative), *_row(identity)),
            )
        ) as found:
            return found.fetchone() is not None

    def add(self, relative: str, identity: FileIdentity, asset: Asset) -> None:
        """Note that a file is stored."""
        known = (self._scope, _text(relative), *_row(identity))
        self._noted.append((*known, asset["id"], _created_at(asset), time.time()))
        if len(self._noted) == _NOTED_AT_ONCE:
            self._write()
        elif self._writing is None:
            self._writing = asyncio.get_running_loop().call_later(_NOTED_SECONDS, self._write)

    def forget(self) -> None:
        """Forget the folder's files."""
        self._execute("DELETE FROM stored WHERE scope = ?", self._scope)

    def _write(self) -> None:
        if self._writing is not None:
            self._writing.cancel()
            self._writing = None
        with self._database:
            self._execute("BEGIN IMMEDIATE")
            self._database.executemany(
                "INSERT OR REPLACE INTO stored VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, 1)", self._noted
            )
        self._noted.clear()

    def _execute(self, statement: str, *values: object) -> None:
        self._database.execute(statement, values)


def _text(relative: str) -> str:
    # SQLite takes no half surrogates, which stand for bytes of a name that are no UTF-8.
    return relative.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def _row(identity: FileIdentity) -> tuple[int, int, str, str]:
    # Devices and inodes may be larger than SQLite's integers.
    return identity.size_bytes, identity.modified_ns, str(identity.device), str(identity.inode)


def _created_at(asset: Asset) -> float:
    return datetime.fromisoformat(asset["created_at"]).timestamp()
