"""A service as a process: the ports that it listens on."""

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import httpx
from tests.support.waiting import eventually_sync

ENVIRONMENT = {
    "DATABASE_URL": "postgresql://nobody@localhost/none",
    "RABBITMQ_URL": "amqp://nobody@localhost/",
    "JETTYTHUNDER_OPS_TOKEN": "t" * 32,
    "PATH": os.defpath,
    "PYTHONPATH": str(Path.cwd()),
    "PYTHONWARNINGS": "ignore",
}
OPS = {"Authorization": f"Bearer {'t' * 32}"}


def free_ports(count: int) -> list[int]:
    taken = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [each.getsockname()[1] for each in taken]
    for each in taken:
        each.close()
    return ports


def command(port: int) -> list[str]:
    return [
        sys.executable,
        "-m",
        "jettythunder.http.serve",
        "tests.unit.shared.served:app",
        "--port",
        str(port),
    ]


@contextmanager
def running(port: int, **environment: str) -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen(command(port), env={**ENVIRONMENT, **environment})
    try:
        eventually_sync(lambda: status(port, "/healthz") == 200, timeout_seconds=60)
        yield process
    finally:
        process.terminate()
        process.wait(30)


def status(port: int, path: str) -> int | None:
    try:
        return httpx.get(f"http://127.0.0.1:{port}{path}", headers=OPS).status_code
    except httpx.TransportError:
        return None


def test_internal_paths_are_served_on_the_internal_port_only() -> None:
    public, internal = free_ports(2)
    with running(public, INTERNAL_PORT=str(internal)):
        assert [status(public, path) for path in ("/public", "/metrics", "/readyz")] == [200, 404, 200]
        assert [status(internal, path) for path in ("/public", "/metrics", "/readyz")] == [404, 200, 200]


def test_connections_that_fill_the_public_port_leave_the_internal_one_open() -> None:
    public, internal = free_ports(2)
    limits = {"HTTP_MAX_CONNECTIONS": "2", "HTTP_MAX_IDLE_CONNECTIONS": "2"}
    with running(public, INTERNAL_PORT=str(internal), **limits):
        held = []
        for _ in range(2):
            # A request that has begun is not idle, so nothing makes room for the next.
            connection = socket.create_connection(("127.0.0.1", public))
            connection.sendall(b"GET /readyz HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n")
            held.append(connection)
        eventually_sync(lambda: status(public, "/readyz") == 503)
        assert status(internal, "/readyz") == 200
        for connection in held:
            connection.close()


def test_a_port_that_is_taken_is_named() -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        stopped = subprocess.run(
            command(port), env=ENVIRONMENT, capture_output=True, text=True, timeout=60, check=False
        )
    assert stopped.returncode != 0
    assert stopped.stderr.strip() == f"Can't listen on 127.0.0.1, port {port}: Address already in use."


def test_a_service_that_is_stopped_finishes_its_work_before_it_stops_listening() -> None:
    (port,) = free_ports(1)
    with running(port) as process, ThreadPoolExecutor() as pool:
        begun = pool.submit(httpx.get, f"http://127.0.0.1:{port}/work", timeout=60)
        eventually_sync(lambda: working(port))
        process.terminate()
        eventually_sync(lambda: status(port, "/readyz") == 503)
        assert status(port, "/healthz") == 200
        refused = httpx.get(f"http://127.0.0.1:{port}/work")
        assert (refused.status_code, refused.json()["code"]) == (503, "shutting_down")
        assert int(refused.headers["retry-after"]) > 0
        # The next request of this client goes to another instance.
        assert refused.headers["connection"] == "close"
        assert process.poll() is None
        assert status(port, "/release") == 200
        assert begun.result().status_code == 200
        process.wait(30)
    assert status(port, "/healthz") is None


def test_work_that_is_not_finished_in_time_fails_with_an_answer() -> None:
    (port,) = free_ports(1)
    with running(port, DRAIN_SECONDS="0.2") as process, ThreadPoolExecutor() as pool:
        begun = pool.submit(httpx.get, f"http://127.0.0.1:{port}/work", timeout=60)
        eventually_sync(lambda: working(port))
        process.terminate()
        cut_off = begun.result()
        assert (cut_off.status_code, cut_off.json()["code"]) == (503, "shutting_down")
        process.wait(30)


def working(port: int) -> bool:
    return httpx.get(f"http://127.0.0.1:{port}/works").text == "1"


def test_a_service_is_started_by_its_name() -> None:
    (port,) = free_ports(1)
    serve = [sys.executable, "-m", "jettythunder_cli.main", "serve"]
    arguments = ["operations", "--host", "127.0.0.1", "--port", str(port)]
    with socket.create_server(("127.0.0.1", port)):
        stopped = subprocess.run(
            [*serve, *arguments], env=ENVIRONMENT, capture_output=True, text=True, timeout=60, check=False
        )
    assert stopped.stderr.strip() == f"Can't listen on 127.0.0.1, port {port}: Address already in use."


def test_a_service_that_there_is_not_is_refused_with_those_that_there_are() -> None:
    serve = [sys.executable, "-m", "jettythunder_cli.main", "serve", "gateway"]
    refused = subprocess.run(serve, env=ENVIRONMENT, capture_output=True, text=True, timeout=60, check=False)
    assert refused.returncode == 2
    assert all(name in refused.stderr for name in ("storage-gateway", "chunk-worker", "edge"))
