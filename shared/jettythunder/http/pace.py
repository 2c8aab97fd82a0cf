"""How fast a client has to send."""

import asyncio
from collections.abc import AsyncIterator

from jettythunder.errors import UploadTimedOut

WINDOW_SECONDS = 30.0


class Pace:
    """Waits for a client's bytes, for no longer than the client may take.

    Only the time of waiting for the client counts: a client whose bytes are not read for a while is not slow.

    Args:
        stall_seconds: the longest silence.
        least_bytes_per_second: what must arrive on average in each window of ``WINDOW_SECONDS``; nothing is
            refused before the first one is over.
    """

    def __init__(self, *, stall_seconds: float, least_bytes_per_second: int) -> None:
        self._stall_seconds = stall_seconds
        self._least_bytes_per_second = least_bytes_per_second
        self._waited_seconds = 0.0
        self._received_bytes = 0

    async def receive(self, stream: AsyncIterator[bytes]) -> bytes | None:
        """The next bytes, or None at the end.

        Raises:
            UploadTimedOut: nothing arrived for too long, or too little in the last window.
        """
        loop = asyncio.get_running_loop()
        began = loop.time()
        try:
            async with asyncio.timeout(self._stall_seconds):
                block = await anext(stream, None)
        except TimeoutError:
            raise UploadTimedOut from None
        if block is not None:
            self._note(len(block), loop.time() - began)
        return block

    def _note(self, received_bytes: int, waited_seconds: float) -> None:
        self._received_bytes += received_bytes
        self._waited_seconds += waited_seconds
        if self._waited_seconds < WINDOW_SECONDS:
            return
        if self._received_bytes < self._least_bytes_per_second * self._waited_seconds:
            raise UploadTimedOut(
                f"Less than {self._least_bytes_per_second} bytes arrived in a second, so the upload was given"
                " up. Nothing was stored; send it again over a faster connection."
            )
        self._received_bytes = 0
        self._waited_seconds = 0.0
