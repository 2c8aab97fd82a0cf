"""Bodies of requests: how large they may be, and what becomes of one that is answered before its end."""

import asyncio
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from jettythunder.errors import PayloadTooLarge, UploadTimedOut
from jettythunder.http.problems import problem

# What a client may still send after an early answer before the connection is closed. A connection that is
# closed on unread bytes is reset, and the answer may be lost with it (RFC 9112, section 9.6).
_DRAIN_BYTES = 64 * 1024 * 1024
_SILENT_SECONDS = 5.0


@dataclass(frozen=True)
class _Pace:
    """How fast all unwanted bodies of a kind are read together, and for how long each."""

    bytes_per_second: int
    seconds: float


# Bodies that can be read to their ends are; of others only clients that read while they send get the answer.
_TO_THE_END = _Pace(64 * 1024 * 1024, seconds=20.0)
_FOR_A_MOMENT = _Pace(16 * 1024 * 1024, seconds=5.0)

_ANNOUNCES_BODY = (b"content-length", b"transfer-encoding")


def has_body(scope: Scope) -> bool:
    """Whether a request announces a body (RFC 9112, section 6)."""
    return any(name in _ANNOUNCES_BODY for name, _ in scope["headers"])


class BodyLimit:
    """Middleware that refuses bodies over ``max_bytes``, by their announced length or when they pass it.

    What it takes reaches the handler as one block, once the handler asks for it.

    Args:
        seconds: how long a body may take from its first byte asked for to its last.
        streamed_paths: paths whose handlers limit and stream their bodies themselves; one that ends with a
            slash stands for all that begin with it.
    """

    def __init__(
        self, app: ASGIApp, *, max_bytes: int, seconds: float = 30, streamed_paths: Sequence[str] = ()
    ) -> None:
        self._app = app
        self._max_bytes = max_bytes
        self._seconds = seconds
        self._streamed_paths = frozenset(path for path in streamed_paths if not path.endswith("/"))
        self._streamed_folders = tuple(path for path in streamed_paths if path.endswith("/"))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or not has_body(scope) or self._is_streamed(scope["path"]):
            await self._app(scope, receive, send)
            return
        announced = next((value for name, value in scope["headers"] if name == b"content-length"), b"0")
        if announced.isdigit() and int(announced) > self._max_bytes:
            await problem(self._refusal())(scope, receive, send)
            return
        is_read = False

        async def receive_whole() -> Message:
            nonlocal is_read
            if is_read:
                return await receive()
            is_read = True
            message = await self._whole(receive)
            if message is None:
                raise self._refusal()
            return message

        await self._app(scope, receive_whole, send)

    async def _whole(self, receive: Receive) -> Message | None:
        """The body in one message, or None where it is too long.

        Raises:
            UploadTimedOut: it did not arrive in time.
        """
        # Collected here and not by the handler: an error's traceback keeps all that its frames refer to.
        body = bytearray()
        more_body = True
        try:
            async with asyncio.timeout(self._seconds):
                while more_body:
                    message = await receive()
                    if message["type"] != "http.request":
                        return message
                    body += message.get("body", b"")
                    more_body = message.get("more_body", False)
                    if len(body) > self._max_bytes:
                        return None
        except TimeoutError:
            body.clear()
            raise UploadTimedOut(f"The body did not arrive within {self._seconds:g} seconds.") from None
        return {"type": "http.request", "body": bytes(body), "more_body": False}

    def _is_streamed(self, path: str) -> bool:
        return path in self._streamed_paths or path.startswith(self._streamed_folders or ("\0",))

    def _refusal(self) -> PayloadTooLarge:
        return PayloadTooLarge(f"The body is larger than the {self._max_bytes} bytes this call takes.")


class EarlyAnswers:
    """Middleware that lets an answer arrive whole though the request's body was not read to its end.

    After such an answer the rest of the body is read, slowly and for a moment where it is not said to end
    soon; the listener closes a connection on which more comes after that (:mod:`jettythunder.http.listener`).
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self._drained_at_once: Counter[_Pace] = Counter()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or not has_body(scope):
            await self._app(scope, receive, send)
            return
        body = _Body(receive, scope)

        async def send_then_drain(message: Message) -> None:
            is_last = message["type"] == "http.response.body" and not message.get("more_body", False)
            if not is_last or body.is_over:
                await send(message)
                return
            await send({**message, "more_body": True})
            await self._drain(body)
            await send({"type": "http.response.body", "body": b"", "more_body": False})

        await self._app(scope, body.receive, send_then_drain)

    async def _drain(self, body: "_Body") -> None:
        left = _DRAIN_BYTES
        pace = _TO_THE_END if body.ends_within(_DRAIN_BYTES) else _FOR_A_MOMENT
        self._drained_at_once[pace] += 1
        try:
            async with asyncio.timeout(pace.seconds):
                while not body.is_complete and left > 0:
                    async with asyncio.timeout(_SILENT_SECONDS):
                        count = len((await body.receive()).get("body", b""))
                    left -= count
                    await asyncio.sleep(count * self._drained_at_once[pace] / pace.bytes_per_second)
        except TimeoutError:
            pass
        finally:
            self._drained_at_once[pace] -= 1


class _Body:
    """A request's body, and whether it was read to its end."""

    def __init__(self, receive: Receive, scope: Scope) -> None:
        self._receive = receive
        headers = dict(scope["headers"])
        self._waits_for_continue = b"100-continue" in headers.get(b"expect", b"").lower()
        self._announced = headers.get(b"content-length", b"")
        self.is_complete = False

    @property
    def is_over(self) -> bool:
        """Whether nothing of it is left to read, or none of it will come before somebody asks."""
        return self.is_complete or self._waits_for_continue

    def ends_within(self, size_bytes: int) -> bool:
        """Whether it is announced to be no longer."""
        return self._announced.isdigit() and int(self._announced) <= size_bytes

    async def receive(self) -> Message:
        self._waits_for_continue = False
        message = await self._receive()
        self.is_complete = message["type"] != "http.request" or not message.get("more_body", False)
        return message
