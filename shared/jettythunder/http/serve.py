"""Serves an application the way every service is served: `python -m jettythunder.http.serve module:app`.

The limits of the listener come from the environment (:class:`jettythunder.settings.ListenerSettings`).
"""

import argparse
import logging
import resource

import uvicorn

from jettythunder.http.listener import Listener
from jettythunder.settings import ListenerSettings, load


def main() -> None:
    """Serve until the process is told to end; requests under way are finished first."""
    parser = argparse.ArgumentParser(prog="python -m jettythunder.http.serve", description=__doc__)
    parser.add_argument("application", help="module:name of the ASGI application")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, required=True)
    given = parser.parse_args()
    limits = load(ListenerSettings)
    _allow_files(2 * limits.http_max_connections)
    uvicorn.run(
        given.application,
        host=given.host,
        port=given.port,
        loop="uvloop",
        http=Listener(limits).protocol(),
        ws="none",
        # Who is a client is told by TRUSTED_PROXIES, and by nothing of uvicorn's own.
        proxy_headers=False,
        server_header=False,
        access_log=False,
        log_level=logging.WARNING,
        timeout_keep_alive=limits.http_keep_alive_seconds,
        timeout_graceful_shutdown=limits.http_graceful_seconds,
    )


def _allow_files(wanted: int) -> None:
    """Let the process have this many open files, as far as it may have them: each connection is one."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    if soft != resource.RLIM_INFINITY and soft < most:
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))


if __name__ == "__main__":
    main()
