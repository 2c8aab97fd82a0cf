"""Replays: events of the log, delivered again to one consumer alone."""

from operations.replays.model import HeldReplay, Replay, ReplayCount, ReplayStatus
from operations.replays.replay import Replays
from operations.replays.running import RunningReplays

__all__ = ["HeldReplay", "Replay", "ReplayCount", "ReplayStatus", "Replays", "RunningReplays"]
