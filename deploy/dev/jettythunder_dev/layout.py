"""The data folder: where everything of one stack lives, and who may read it."""

from __future__ import annotations

import getpass
import hashlib
import os
import pwd
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from jettythunder_dev.errors import StackError

REPOSITORY = Path(__file__).resolve().parents[3]
TEMPLATES = REPOSITORY / "deploy" / "dev"
NEEDED_FREE_BYTES = 2**30

# The kernel's limit for the path of a Unix socket is 104 bytes on macOS and 108 on Linux; supervisor binds a
# name with a suffix of its own first.
LONGEST_SOCKET_PATH = 90


@dataclass(frozen=True)
class Layout:
    """The paths of one stack. `root` is absolute and resolved; `shown` is the path as the user gave it."""

    root: Path
    shown: Path

    @property
    def logs(self) -> Path:
        return self.root / "logs"

    @property
    def run(self) -> Path:
        return self.root / "run"

    @property
    def spool(self) -> Path:
        return self.root / "spool"

    @property
    def cache(self) -> Path:
        return self.root / "cache"

    @property
    def postgres(self) -> Path:
        return self.root / "postgres"

    @property
    def rabbitmq(self) -> Path:
        return self.root / "rabbitmq"

    @property
    def s3(self) -> Path:
        return self.root / "s3"

    @property
    def environment_file(self) -> Path:
        return self.root / "env"

    @property
    def state_file(self) -> Path:
        return self.root / "stack.json"

    @property
    def identifier(self) -> str:
        """A short name, unique per data folder, for what is named machine-wide (nodes, projects)."""
        return f"jettythunder-{hashlib.sha256(str(self.root).encode()).hexdigest()[:8]}"

    @property
    def supervisor_socket(self) -> Path:
        """The control socket: in the data folder, or, when that path is too long for a socket, beside it."""
        preferred = self.run / "supervisor.sock"
        if len(str(preferred)) <= LONGEST_SOCKET_PATH:
            return preferred
        return Path(tempfile.gettempdir()) / f"{self.identifier}-{os.getuid()}.sock"

    def create(self) -> None:
        """Make the folders for the owner alone; a PostgreSQL user of its own may pass through the root."""
        mode = 0o711 if server_user() else 0o700
        try:
            self.root.mkdir(parents=True, exist_ok=True)
            self.root.chmod(mode)
            for folder in (self.logs, self.run, self.spool, self.cache):
                folder.mkdir(exist_ok=True)
                folder.chmod(0o700)
        except OSError as error:
            raise StackError(
                f"The data folder {self.shown} cannot be written ({error.strerror}): make it writable, or "
                "set JETTYTHUNDER_DATA_DIR to a folder that is."
            ) from error

    def check_free_space(self) -> None:
        """Raise StackError where less than NEEDED_FREE_BYTES are free on the data folder's disk."""
        free_bytes = shutil.disk_usage(self.root).free
        if free_bytes < NEEDED_FREE_BYTES:
            raise StackError(
                f"The disk of {self.shown} has {free_bytes / 1e6:.0f} MB free and the stack needs at least "
                f"{NEEDED_FREE_BYTES / 1e6:.0f} MB: free some space, or set JETTYTHUNDER_DATA_DIR to a "
                "folder on another disk."
            )


def current_user() -> str:
    return getpass.getuser() if os.getuid() else "root"


def server_user() -> pwd.struct_passwd | None:
    """The user that PostgreSQL runs as when root starts the stack (PostgreSQL refuses root); else None."""
    if os.getuid() != 0:
        return None
    for name in ("postgres", "_postgres", "nobody"):
        try:
            return pwd.getpwnam(name)
        except KeyError:
            continue
    raise StackError(
        "PostgreSQL does not run as root and there is no user `postgres`: add one with `useradd -r "
        "postgres`, or start the stack as another user."
    )


def can_enter(folder: Path, user: pwd.struct_passwd) -> bool:
    """Whether the user may enter the folder: each existing folder on the way needs its execute bit."""
    for step in (folder, *folder.parents):
        if not step.exists():
            continue
        status = step.stat()
        if status.st_uid == user.pw_uid:
            allowed = status.st_mode & 0o100
        elif status.st_gid == user.pw_gid:
            allowed = status.st_mode & 0o010
        else:
            allowed = status.st_mode & 0o001
        if not allowed:
            return False
    return True


def find_layout(data_dir: Path | None, environment: Mapping[str, str]) -> Layout:
    """The layout of the wanted data folder: the argument, JETTYTHUNDER_DATA_DIR, or .jettythunder here.

    A root user's checkout often lies in a folder that only root may enter (/root), where PostgreSQL, running
    as a user of its own, would not reach its cluster. The default folder is then a link to one in /var/lib.
    """
    named = data_dir or (Path(value) if (value := environment.get("JETTYTHUNDER_DATA_DIR")) else None)
    shown = (named or REPOSITORY / ".jettythunder").expanduser().absolute()
    user = server_user_if_any()
    if user is None or can_enter(shown.parent, user):
        return Layout(root=shown.resolve(), shown=shown)
    if shown.is_symlink():
        return Layout(root=shown.resolve(), shown=shown)
    if named is not None or shown.exists():
        raise StackError(
            f"PostgreSQL runs as the user `{user.pw_name}`, who may not enter {shown}: set "
            "JETTYTHUNDER_DATA_DIR to a folder that everyone may enter, such as /var/lib/jettythunder."
        )
    digest = hashlib.sha256(str(shown).encode()).hexdigest()[:8]
    return Layout(root=Path(f"/var/lib/jettythunder-{digest}"), shown=shown)


def server_user_if_any() -> pwd.struct_passwd | None:
    """As server_user, but None too where the user is not there yet (apt makes it with PostgreSQL)."""
    try:
        return server_user()
    except StackError:
        return None


def link_default_folder(layout: Layout) -> None:
    """Link the shown data folder to the real one, where find_layout had to place it elsewhere."""
    if layout.shown.resolve() != layout.root and not layout.shown.exists():
        layout.root.mkdir(parents=True, exist_ok=True)
        layout.shown.symlink_to(layout.root)


def read_template(name: str) -> str:
    """A configuration template of deploy/dev."""
    try:
        return (TEMPLATES / name).read_text()
    except FileNotFoundError as error:
        raise StackError(
            f"{TEMPLATES / name} is missing: the stack runs from a checkout of the repository, installed "
            "with `make install`."
        ) from error
