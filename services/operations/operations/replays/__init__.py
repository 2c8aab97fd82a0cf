"""Replays: events of the log, delivered again to one consumer alone."""

from operations.replays.model import Replay, ReplayCount, ReplayStatus
from operations.replays.replay import Replays
from operations.replays.running import RunningReplays

__all__ = ["Replay", "ReplayCount", "ReplayStatus", "Replays", "RunningReplays"]
