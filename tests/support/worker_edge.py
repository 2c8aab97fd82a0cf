"""The Cloudflare Worker in workerd on this machine, as `wrangler dev` runs it without Cloudflare."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import httpx
import psutil
from tests.support.infrastructure import Infrastructure, choose_first_port
from tests.support.logs import watched_logs
from tests.support.waiting import eventually_sync

from jettythunder_dev.layout import REPOSITORY
from jettythunder_dev.ports import PortAllocator

WORKER = REPOSITORY / "deploy" / "cloudflare-worker"
EDGE_SECRET = "edge-secret-of-the-tests-0123456789abcdef"
_START_SECONDS = 60


@dataclass(frozen=True)
class WorkerEdge:
    """A running Worker."""

    url: str
    process: subprocess.Popen[bytes]
    log_file: Path

    @property
    def workerd(self) -> list[psutil.Process]:
        """The processes that serve; wrangler beside them starts them, and logs."""
        family = psutil.Process(self.process.pid).children(recursive=True)
        return [each for each in family if each.name() == "workerd"]

    def kill(self) -> None:
        """End wrangler and workerd, and wait for the end."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()


@contextlib.contextmanager
def running_worker(
    infrastructure: Infrastructure, folder: Path, *, gateway_url: str, edge_id: str, **told: str
) -> Iterator[WorkerEdge]:
    """The Worker as an edge of a gateway that takes EDGE_SECRET; ended afterwards."""
    variables = {
        "EDGE_ID": edge_id,
        "EDGE_REGION": "workerd",
        "GATEWAY_URL": gateway_url,
        "STORAGE_URL": infrastructure.s3.endpoint,
        "VERIFYING_KEYS": infrastructure.environment["JETTYTHUNDER_VERIFYING_KEYS"],
        "EDGE_SECRET": EDGE_SECRET,
        **told,
    }
    # Read instead of the arguments, which every user of the machine sees.
    settings = folder / "worker.env"
    settings.write_text("".join(f"{name}={value}\n" for name, value in variables.items()))
    watched_logs.watch(folder)
    with closing(PortAllocator(remembered={}, held={})) as allocator:
        port = allocator.choose("worker", choose_first_port())
        inspector_port = allocator.choose("worker-inspector", port + 1)
        command = [
            str(WORKER / "node_modules" / ".bin" / "wrangler"),
            *("dev", "--local", "--ip", "127.0.0.1", "--port", str(port)),
            *("--inspector-port", str(inspector_port), "--env-file", str(settings)),
            *("--persist-to", str(folder / "state"), "--show-interactive-dev-session=false"),
        ]
        inherited = {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}
        quiet = {"CI": "1", "WRANGLER_SEND_METRICS": "false", "WRANGLER_LOG_PATH": str(folder / "wrangler")}
        log_file = folder / "worker.log"
        with log_file.open("wb") as log:
            process = subprocess.Popen(
                command,
                cwd=WORKER,
                env=inherited | quiet,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        worker = WorkerEdge(f"http://127.0.0.1:{port}", process, log_file)
        try:
            eventually_sync(lambda: _serves(worker), timeout_seconds=_START_SECONDS)
            yield worker
        finally:
            worker.kill()


def _serves(worker: WorkerEdge) -> bool:
    assert worker.process.poll() is None, "wrangler has ended"
    try:
        return httpx.get(f"{worker.url}/healthz", timeout=2).status_code == 200
    except httpx.TransportError:
        return False
