"""Starting, stopping and asking the desktop CDN from another process of the same user."""

import http.client
import json
import os
import signal
import subprocess
import sys
import time
from typing import Any

from jettythunder_cdn.errors import DidNotStart, NotRunning
from jettythunder_cdn.instance import Holder, running
from jettythunder_cdn.settings import Settings
from jettythunder_client.cdn import read_token
from jettythunder_client.errors import ApiError

START_SECONDS = 15.0
STOP_SECONDS = 15.0
_ANSWER_SECONDS = 30.0
_POLL_SECONDS = 0.05


def start(settings: Settings) -> Holder:
    """Start it in the background and wait until it answers; the one that runs, if one does.

    Raises:
        DidNotStart: it ended at once, or does not answer.
    """
    if (holder := running(settings.state_dir)) is not None:
        return holder
    settings.state_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
    with (settings.state_dir / "log").open("ab") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "jettythunder_cdn"],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    return await_start(settings, process)


def await_start(settings: Settings, process: subprocess.Popen[bytes] | None = None) -> Holder:
    """Wait until it answers.

    Raises:
        DidNotStart: it ended, or does not answer.
    """
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        holder = running(settings.state_dir)
        if holder is not None and is_answering(holder.port):
            return holder
        if process is not None and process.poll() is not None:
            break
        time.sleep(_POLL_SECONDS)
    raise DidNotStart(f"The desktop CDN did not start. {_last_line(settings)}")


def stop(settings: Settings) -> bool:
    """Stop it and wait for its end; False where none runs.

    Raises:
        NotRunning: it does not end.
    """
    holder = running(settings.state_dir)
    if holder is None:
        return False
    os.kill(holder.pid, signal.SIGTERM)
    deadline = time.monotonic() + STOP_SECONDS
    while running(settings.state_dir) is not None:
        if time.monotonic() > deadline:
            raise NotRunning(f"Process {holder.pid} does not end: kill it.")
        time.sleep(_POLL_SECONDS)
    return True


def call(settings: Settings, method: str, path: str, *, seconds: float = _ANSWER_SECONDS) -> dict[str, Any]:
    """One call to the desktop CDN that runs, and its answer.

    Raises:
        NotRunning: none runs.
        ApiError: what it answered.
    """
    holder, token = running(settings.state_dir), read_token(settings.state_dir)
    if holder is None or token is None:
        raise NotRunning
    connection = http.client.HTTPConnection("127.0.0.1", holder.port, timeout=seconds)
    try:
        connection.request(method, path, headers={"Authorization": f"Bearer {token}"})
        response = connection.getresponse()
        answer: dict[str, Any] = json.loads(response.read())
    except (OSError, ValueError, http.client.HTTPException) as error:
        raise NotRunning(f"The desktop CDN on port {holder.port} does not answer: {error}.") from None
    finally:
        connection.close()
    if response.status >= 400:
        raise ApiError(
            str(answer.get("detail")),
            code=str(answer.get("code")),
            status=response.status,
            retryable=bool(answer.get("retryable")),
        )
    return answer


def is_answering(port: int) -> bool:
    """Whether a desktop CDN answers on the port."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=1)
    try:
        connection.request("GET", "/healthz")
        return bool(json.loads(connection.getresponse().read()).get("service") == "jettythunder-cdn")
    except (OSError, ValueError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def _last_line(settings: Settings) -> str:
    log = settings.state_dir / "log"
    lines = log.read_text(errors="replace").splitlines() if log.exists() else []
    return lines[-1] if lines else "Run `jettythunder cdn run` to see why."
