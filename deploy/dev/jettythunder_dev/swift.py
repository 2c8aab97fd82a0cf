"""The S3 server as a role: OpenStack Swift with its s3api middleware, from PyPI, in its own environment."""

from __future__ import annotations

import hashlib
import re
import shutil
import subprocess
import sys
from pathlib import Path
from string import Template

from jettythunder_client.private_files import write_private
from jettythunder_dev.clients import list_buckets
from jettythunder_dev.errors import StackError
from jettythunder_dev.layout import TEMPLATES, Layout, current_user, read_template
from jettythunder_dev.locks import one_at_a_time
from jettythunder_dev.programs import Program

ACCOUNT = "jetty"
ACCOUNT_USER = "thunder"
REGION = "us-east-1"
NO_EXTENDED_ATTRIBUTES = 3
STORAGE_KINDS = ("object", "container", "account")


class NativeSwift:
    """One Swift node: a proxy that speaks S3, and an object, a container and an account server behind it.

    `ports` are those of the proxy and of the three storage servers, in the order of STORAGE_KINDS.
    """

    name = "s3"
    source = "native"

    def __init__(self, *, layout: Layout, ports: list[int], secret: str, cache: Path) -> None:
        self._folder = layout.s3
        self._swift_dir = layout.s3 / "etc"
        self._port, *self._storage_ports = ports
        self._secret = secret
        self._requirements = TEMPLATES / "swift-requirements.lock"
        digest = hashlib.sha256(self._requirements.read_bytes() + sys.version.encode()).hexdigest()[:12]
        self._venv = cache / f"swift-{digest}"
        pinned = re.search(r"^swift==(\S+)", self._requirements.read_text(), flags=re.MULTILINE)
        self.version = pinned.group(1) if pinned else "unknown"

    def prepare(self) -> None:
        """Make Swift's environment, where it is not there yet, and write the rings and configurations."""
        self.install()
        self._swift_dir.mkdir(parents=True, exist_ok=True)
        self._write_rings()
        places = {"swift_dir": str(self._swift_dir), "user": current_user()}
        write_private(self._swift_dir / "swift.conf", read_template("swift/swift.conf"))
        storage = Template(read_template("swift/storage.conf"))
        for kind, port in zip(STORAGE_KINDS, self._storage_ports, strict=True):
            text = storage.substitute(places, kind=kind, port=port, devices=self._folder / "node")
            write_private(self._swift_dir / f"{kind}.conf", text)
        proxy = Template(read_template("swift/proxy.conf")).substitute(
            places,
            host="127.0.0.1",
            encryption="",
            port=self._port,
            region=REGION,
            account=ACCOUNT,
            account_user=ACCOUNT_USER,
            secret=self._secret,
        )
        write_private(self._swift_dir / "proxy.conf", proxy)

    def install(self) -> None:
        """Make the virtual environment with the pinned Swift; the name carries the pins' digest."""
        with one_at_a_time(self._venv.with_name(f"{self._venv.name}.lock")):
            if not (self._venv / "complete").exists():
                self._make_environment()

    def _make_environment(self) -> None:
        shutil.rmtree(self._venv, ignore_errors=True)
        self._run_step([sys.executable, "-m", "venv", str(self._venv)])
        pip = [str(self._venv / "bin" / "python"), "-m", "pip", "install", "--quiet", "--no-input"]
        self._run_step(
            [*pip, "--disable-pip-version-check", "--require-hashes", "-r", str(self._requirements)]
        )
        (self._venv / "complete").touch()

    def _run_step(self, command: list[str]) -> None:
        finished = subprocess.run(
            command, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL
        )
        if finished.returncode:
            last_lines = "\n".join((finished.stdout + finished.stderr).strip().splitlines()[-8:])
            raise StackError(
                f"The S3 server's environment could not be made: `{' '.join(command)}` failed. Check the "
                f"network and the disk, and repeat.\n{last_lines}"
            )

    def _write_rings(self) -> None:
        """Write the rings and check the file system, where that was not done for these ports already."""
        ports = [str(port) for port in self._storage_ports]
        marker = self._swift_dir / "ring-ports"
        if marker.exists() and marker.read_text().split() == ports:
            return
        made = subprocess.run(
            [
                self._venv / "bin" / "python",
                TEMPLATES / "swift" / "prepare_node.py",
                self._swift_dir,
                self._folder / "node",
                *ports,
            ],
            capture_output=True,
            text=True,
            check=False,
        )
        if made.returncode == NO_EXTENDED_ATTRIBUTES:
            raise StackError(
                f"The file system of {self._folder} keeps no user extended attributes, which the S3 server "
                "needs: set JETTYTHUNDER_DATA_DIR to a folder on ext4, xfs, btrfs or APFS."
            )
        if made.returncode:
            raise StackError(f"The S3 server's rings could not be written:\n{made.stderr.strip()}")
        marker.write_text(" ".join(ports))

    def programs(self) -> list[Program]:
        kinds = (*STORAGE_KINDS, "proxy")
        return [
            Program(
                name="s3" if kind == "proxy" else f"s3-{kind}",
                command=[
                    str(self._venv / "bin" / "python"),
                    str(self._venv / "bin" / f"swift-{kind}-server"),
                    str(self._swift_dir / f"{kind}.conf"),
                    "--verbose",
                ],
                directory=self._folder,
                environment={"PYTHONWARNINGS": "ignore", "PYTHONUNBUFFERED": "1"},
                priority=11 if kind == "proxy" else 10,
                stop_wait_seconds=10,
            )
            for kind in kinds
        ]

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self._port}"

    def ping(self) -> None:
        list_buckets(self.endpoint, REGION, f"{ACCOUNT}:{ACCOUNT_USER}", self._secret)

    def complete(self) -> None:
        """The bucket is the provisioning service's to make."""

    def variables(self) -> dict[str, str]:
        return {
            "LYVE_ENDPOINT": self.endpoint,
            "LYVE_REGION": REGION,
            "LYVE_ACCESS_KEY_ID": f"{ACCOUNT}:{ACCOUNT_USER}",
            "LYVE_SECRET_ACCESS_KEY": self._secret,
        }

    def describe(self) -> str:
        return f"S3 (Swift {self.version}) on 127.0.0.1:{self._port}"


def environment_for_tools(variables: dict[str, str]) -> dict[str, str]:
    """The same access, under the names by which aws-cli and boto3 know it."""
    return {
        "AWS_ACCESS_KEY_ID": variables["LYVE_ACCESS_KEY_ID"],
        "AWS_SECRET_ACCESS_KEY": variables["LYVE_SECRET_ACCESS_KEY"],
        "AWS_DEFAULT_REGION": variables["LYVE_REGION"],
        "AWS_EC2_METADATA_DISABLED": "true",
    }
