"""What is remembered between runs: unfinished uploads, and how fast a connection was."""

import hashlib
import json
import os
import re
import stat
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from jettythunder_client.config import Config
from jettythunder_client.errors import FileUnreadable
from jettythunder_client.private_files import write_private

_PLAIN_ID = re.compile(r"[A-Za-z0-9-]{1,64}")


@dataclass(frozen=True)
class FileIdentity:
    """What a file is recognised by: another size, time, device or inode is another file."""

    path: str
    size_bytes: int
    modified_ns: int
    device: int
    inode: int


def identify(path: Path) -> FileIdentity:
    """The identity of a regular file.

    Raises:
        FileUnreadable: there is none, or it is a folder or a pipe.
    """
    try:
        found = path.stat()
    except OSError as error:
        raise FileUnreadable(f"{path} can't be read: {error.strerror}.") from None
    if not stat.S_ISREG(found.st_mode):
        raise FileUnreadable(f"{path} is {kind_of(found.st_mode)}, not a regular file.")
    return FileIdentity(os.path.realpath(path), found.st_size, found.st_mtime_ns, found.st_dev, found.st_ino)


def kind_of(mode: int) -> str:
    """What a path leads to, in words, by its mode."""
    kinds = (
        (stat.S_ISDIR, "a folder"),
        (stat.S_ISFIFO, "a pipe"),
        (stat.S_ISSOCK, "a socket"),
        (stat.S_ISCHR, "a device"),
        (stat.S_ISBLK, "a device"),
    )
    return next((words for is_kind, words in kinds if is_kind(mode)), "a file")


@dataclass(frozen=True)
class Unfinished:
    """An upload session that this machine began and has not finished."""

    upload_id: str
    file: FileIdentity
    chunk_size_bytes: int
    began_at: float


class StateStore:
    """Small files in a folder of the account's own, one per session, replaced in one step."""

    def __init__(self, config: Config) -> None:
        account = hashlib.sha256(f"{config.api_url}\n{config.api_key}".encode()).hexdigest()[:16]
        self._folder = config.state_dir / account
        self._speed_file = self._folder / "speed.json"

    @property
    def stored_file(self) -> Path:
        """Where it is kept which files of folders are stored."""
        return self._folder / "stored.sqlite"

    def save(self, unfinished: Unfinished) -> None:
        write_private(self._file(unfinished.upload_id), json.dumps(asdict(unfinished)))

    def forget(self, upload_id: str) -> None:
        self._file(upload_id).unlink(missing_ok=True)

    def all(self) -> list[Unfinished]:
        """Every unfinished upload, the latest first; a damaged file is none."""
        found = []
        for file in self._folder.glob("upload-*.json"):
            content = _read(file)
            try:
                found.append(Unfinished(**{**content, "file": FileIdentity(**content["file"])}))
            except (KeyError, TypeError):
                continue
        return sorted(found, key=lambda unfinished: unfinished.began_at, reverse=True)

    def find(self, path: Path) -> Unfinished | None:
        """The latest unfinished upload of the file at ``path``, whatever the file holds by now."""
        real = os.path.realpath(path)
        return next((unfinished for unfinished in self.all() if unfinished.file.path == real), None)

    def connection_speed(self) -> float | None:
        """Bytes per second that one connection carried in the last transfer."""
        speed = _read(self._speed_file).get("bytes_per_second")
        return float(speed) if isinstance(speed, int | float) and speed > 0 else None

    def remember_connection_speed(self, bytes_per_second: float) -> None:
        write_private(self._speed_file, json.dumps({"bytes_per_second": bytes_per_second}))

    def _file(self, upload_id: str) -> Path:
        # The id is the server's word: only a harmless one is a file's name.
        name = upload_id if _PLAIN_ID.fullmatch(upload_id) else hashlib.sha256(upload_id.encode()).hexdigest()
        return self._folder / f"upload-{name}.json"


def _read(file: Path) -> dict[str, Any]:
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}
