"""Runs supervisord: `python -m jettythunder_dev.supervisord -c FILE`."""

from __future__ import annotations

from supervisor import poller, supervisord


class OneShotPoller(poller.PollPoller):  # type: ignore[misc]  # supervisor has no types
    """A poller whose registrations last for one poll, since supervisord makes them anew before each.

    Supervisor's own keeps the registration of a closed control connection. When its descriptor is reused for
    the standard input of a program that reads none, every poll returns at once and a core is kept busy.
    """

    def poll(self, timeout: float) -> tuple[list[int], list[int]]:
        found: tuple[list[int], list[int]] = super().poll(timeout)
        self.initialize()
        return found

    def unregister_readable(self, fd: int) -> None:
        self.readables.discard(fd)

    def unregister_writable(self, fd: int) -> None:
        self.writables.discard(fd)


if __name__ == "__main__":
    poller.Poller = OneShotPoller
    supervisord.main()
