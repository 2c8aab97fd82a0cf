"""Replays that run in this process, beyond the call that began them."""

import asyncio

from jettythunder import telemetry
from jettythunder.errors import JettyThunderError
from operations.replays.model import HeldReplay
from operations.replays.replay import Replays

log = telemetry.logger(__name__)


class RunningReplays:
    """Runs replays in the background. One that this process does not finish is noted as interrupted."""

    def __init__(self, replays: Replays) -> None:
        self._replays = replays
        self._tasks: set[asyncio.Task[None]] = set()

    def start(self, held: HeldReplay) -> None:
        """Carry a replay out."""
        task = asyncio.create_task(self._run(held), name=f"replay {held.replay.id}")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def drain(self) -> None:
        """Wait for the replays that run."""
        await asyncio.gather(*self._tasks)

    async def close(self) -> None:
        """Interrupt the replays that run; they can be resumed."""
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _run(self, held: HeldReplay) -> None:
        replay_id = str(held.replay.id)
        try:
            await self._replays.run(held)
        except JettyThunderError as error:
            log.warning("replay interrupted", replay=replay_id, code=error.code, reason=error.detail)
        except Exception as error:
            log.error("replay failed", replay=replay_id, exc_info=error)
