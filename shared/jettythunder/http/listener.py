"""What a listener takes from its clients: how many connections, how long a head, how slow a reader.

Guarantees given here: a client that sends nothing, sends its header slowly or without end, or does not read
its answer, is cut off; idle connections make room for new ones. uvicorn has no limits of these kinds for
httptools.
"""

import asyncio
import contextlib
import functools
import json
import socket
from collections.abc import Callable, Mapping
from http import HTTPStatus

from prometheus_client import Counter, Gauge
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from jettythunder.http import sending
from jettythunder.settings import ListenerSettings

# A kernel takes megabytes for a reader that takes nothing; this much waits for the network at most. How much
# is on its way to a reader that does read is not limited by it.
_UNSENT_BYTES = 256 * 1024

_connections = Gauge("jettythunder_http_connections", "Open connections of clients")
_cut = Counter("jettythunder_http_cut_total", "Connections refused or cut off by a limit", ["reason"])


class Listener:
    """The connections of a server. Those without a request under way are idle."""

    def __init__(self, limits: ListenerSettings) -> None:
        self.limits = limits
        self._open: set[LimitedProtocol] = set()
        # In the order in which they became idle.
        self._idle: dict[LimitedProtocol, None] = {}

    def protocol(self, other_ports: "Mapping[int, Listener] | None" = None) -> type["LimitedProtocol"]:
        """The protocol class of this listener's connections, as uvicorn wants it.

        Args:
            other_ports: the listeners of ports that the same server listens on.
        """
        return type("ListenerProtocol", (LimitedProtocol,), {"listener": self, "by_port": other_ports or {}})

    def admit(self, connection: "LimitedProtocol") -> bool:
        """Take a new connection, idle ones being closed for it; False where there is no room."""
        limits = self.limits
        if (
            len(self._open) >= limits.http_max_connections
            or len(self._idle) >= limits.http_max_idle_connections
        ):
            self._close_longest_idle()
        if len(self._open) >= limits.http_max_connections:
            return False
        self._open.add(connection)
        self._idle[connection] = None
        _connections.inc()
        return True

    def note_busy(self, connection: "LimitedProtocol") -> None:
        """A request is under way on the connection."""
        self._idle.pop(connection, None)

    def note_idle(self, connection: "LimitedProtocol") -> None:
        """No request is under way on the connection any more."""
        if connection not in self._open:
            return
        if len(self._idle) >= self.limits.http_max_idle_connections:
            self._close_longest_idle()
        self._idle[connection] = None

    def forget(self, connection: "LimitedProtocol") -> None:
        """The connection is closed."""
        if connection in self._open:
            self._open.remove(connection)
            _connections.dec()
        self._idle.pop(connection, None)

    def _close_longest_idle(self) -> None:
        longest_idle = next(iter(self._idle), None)
        if longest_idle is not None:
            self.forget(longest_idle)
            longest_idle.cut("idle")


class LimitedProtocol(HttpToolsProtocol):
    """One connection, held to its listener's limits."""

    listener: Listener
    by_port: Mapping[int, Listener]

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        if self.server is not None:
            self.listener = self.by_port.get(self.server[1] or 0, self.listener)
        with contextlib.suppress(OSError, AttributeError):
            transport.get_extra_info("socket").setsockopt(
                socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, _UNSENT_BYTES
            )
        self._is_in_head = True
        # What the parser has given of the head, and what it has been given.
        self._parsed_bytes = self._fed_bytes = 0
        self._refusal: tuple[HTTPStatus, str] | None = None
        self._unsent_bytes = 0
        self._head_timer: asyncio.TimerHandle | None = None
        self._send_timer: asyncio.TimerHandle | None = None
        if self.listener.admit(self):
            self._wait_for_head()
        else:
            self._refuse(HTTPStatus.SERVICE_UNAVAILABLE, "too_many_connections", reason="connections")

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        # The cycle refers to this protocol: what was received of a body would stay in memory until the
        # garbage collector runs.
        self.cycle = None  # type: ignore[assignment]
        self.listener.forget(self)
        self._stop_waiting_for_head()
        self._stop_watching_reader()

    def cut(self, reason: str) -> None:
        """Close the connection at once, whatever is still to be sent."""
        _cut.labels(reason).inc()
        self.transport.abort()

    # The head of a request

    def data_received(self, data: bytes) -> None:
        if self.transport.is_closing():
            return
        was_in_head = self._is_in_head
        if not self._is_busy:
            self._wait_for_head()
        super().data_received(data)
        if was_in_head and self._is_in_head:
            self._fed_bytes += len(data)
            if (
                self._fed_bytes > self.listener.limits.http_max_header_bytes
                and not self.transport.is_closing()
            ):
                self._refuse_head()

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._is_in_head = True
        self._parsed_bytes = self._fed_bytes = 0

    def on_url(self, url: bytes) -> None:
        self._count(len(url))
        super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        self._count(len(name) + len(value))
        super().on_header(name, value)

    def on_headers_complete(self) -> None:
        self._is_in_head = False
        self._stop_waiting_for_head()
        self.listener.note_busy(self)
        super().on_headers_complete()
        if self.transport.get_extra_info("sslcontext") is None:
            sender = sending.FileSender(
                self.cycle,
                stall_seconds=self.listener.limits.http_send_stall_seconds,
                cut=functools.partial(self.cut, "reader"),
            )
            self.scope["extensions"] = {sending.EXTENSION: sender}  # type: ignore[dict-item]

    def on_body(self, body: bytes) -> None:
        super().on_body(body)
        if self.cycle.response_complete and not self.transport.is_closing():
            # The request was answered, and its client had its time to notice.
            _cut.labels("unwanted_body").inc()
            self.transport.close()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        if not self._is_busy:
            self.listener.note_idle(self)
        if self.transport.get_write_buffer_size():
            self._watch_reader()

    def send_400_response(self, msg: str) -> None:
        if self._parsed_bytes > self.listener.limits.http_max_header_bytes:
            self._refuse_head()
        else:
            self._refuse(HTTPStatus.BAD_REQUEST, "bad_request", reason="malformed")

    @property
    def _is_busy(self) -> bool:
        return self.cycle is not None and not self.cycle.response_complete

    def _count(self, count: int) -> None:
        self._parsed_bytes += count
        if self._parsed_bytes > self.listener.limits.http_max_header_bytes:
            # The parser stops with it, and send_400_response answers.
            raise ValueError("The head of the request is too large.")

    def _wait_for_head(self) -> None:
        if self._head_timer is None:
            self._head_timer = self._later(self.listener.limits.http_header_seconds, self._give_up_head)

    def _stop_waiting_for_head(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None

    def _give_up_head(self) -> None:
        if self._is_busy or self.transport.is_closing():
            self._head_timer = None
        elif self._fed_bytes:
            self._refuse(HTTPStatus.REQUEST_TIMEOUT, "request_timed_out", reason="header_time")
        else:
            self.cut("silent")

    def _refuse_head(self) -> None:
        self._refuse(
            HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, "request_header_too_large", reason="header_size"
        )

    def _refuse(self, status: HTTPStatus, code: str, *, reason: str) -> None:
        _cut.labels(reason).inc()
        if not self._is_busy:
            self.transport.write(_problem(status, code))
            self._watch_reader()
        self.transport.close()

    # The reader of an answer

    def pause_writing(self) -> None:
        super().pause_writing()
        self._watch_reader()

    def resume_writing(self) -> None:
        super().resume_writing()
        self._stop_watching_reader()

    def _watch_reader(self) -> None:
        if self._send_timer is None:
            self._unsent_bytes = self.transport.get_write_buffer_size()
            self._send_timer = self._later(self.listener.limits.http_send_stall_seconds, self._check_reader)

    def _stop_watching_reader(self) -> None:
        if self._send_timer is not None:
            self._send_timer.cancel()
            self._send_timer = None

    def _check_reader(self) -> None:
        self._send_timer = None
        taken_bytes = self._unsent_bytes - self.transport.get_write_buffer_size()
        limits = self.listener.limits
        if not self.transport.get_write_buffer_size():
            return
        if taken_bytes < limits.http_send_min_bytes_per_second * limits.http_send_stall_seconds:
            self.cut("reader")
        else:
            self._watch_reader()

    def _later(self, seconds: float, call: Callable[[], None]) -> asyncio.TimerHandle:
        return self.loop.call_later(seconds, call)


def _problem(status: HTTPStatus, code: str) -> bytes:
    """An answer before any application is asked, as problem+json like all others."""
    body = json.dumps(
        {
            "type": f"urn:jettythunder:error:{code}",
            "title": status.phrase,
            "status": status.value,
            "detail": status.description or status.phrase,
            "code": code,
            "retryable": status in (HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.SERVICE_UNAVAILABLE),
            "success": False,
        }
    ).encode()
    retry = "retry-after: 1\r\n" if status is HTTPStatus.SERVICE_UNAVAILABLE else ""
    head = (
        f"HTTP/1.1 {status.value} {status.phrase}\r\ncontent-type: application/problem+json\r\n"
        f"content-length: {len(body)}\r\n{retry}connection: close\r\n\r\n"
    )
    return head.encode() + body
