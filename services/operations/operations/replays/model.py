"""A replay, and what it would do."""

from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum
from typing import Self
from uuid import UUID

from pydantic import BaseModel, ConfigDict

from jettythunder.broker.event_log import EventFilter

# A running replay notes its progress at least this often ...
HEARTBEAT_SECONDS = 15.0
# ... so one that has been silent for so long is dead, and may be resumed.
SILENT_SECONDS = 60.0


class ReplayStatus(StrEnum):
    """What has become of a replay."""

    RUNNING = "running"
    INTERRUPTED = "interrupted"
    COMPLETED = "completed"


class ReplayCount(BaseModel):
    """What a replay would do. ``new`` are those that the consumer has not processed yet."""

    events: int = 0
    new: int = 0
    processed_before: int = 0
    undecodable: int = 0


class Replay(BaseModel):
    """A replay and how far it has come. Offsets are places in the log.

    ``replayed_count`` counts the wanted events that it has come by; those of ``processed_before_count`` the
    consumer had processed, so they were not delivered to it again.
    """

    model_config = ConfigDict(frozen=True)

    id: UUID
    who: str
    consumer: str
    filter: EventFilter
    rate: float | None
    next_offset: int | None
    end_offset: int
    read_count: int
    replayed_count: int
    processed_before_count: int = 0
    status: ReplayStatus
    started_at: datetime
    updated_at: datetime


@dataclass(frozen=True)
class HeldReplay:
    """A replay that was begun or resumed; the audit entry tells who carries it out now."""

    replay: Replay
    audit_id: int

    def reached(self, next_offset: int, *, read_count: int, wanted: int, processed_before: int) -> Self:
        """The replay after some more of the log, with so many wanted events in it."""
        progress = {
            "next_offset": next_offset,
            "read_count": read_count,
            "replayed_count": self.replay.replayed_count + wanted,
            "processed_before_count": self.replay.processed_before_count + processed_before,
        }
        return replace(self, replay=self.replay.model_copy(update=progress))

    def restarted(self) -> Self:
        """The replay as it was before it delivered anything."""
        progress = {"next_offset": None, "read_count": 0, "replayed_count": 0, "processed_before_count": 0}
        return replace(self, replay=self.replay.model_copy(update=progress))

    def ended(self, status: ReplayStatus, at: datetime) -> Replay:
        """The replay after its end."""
        return self.replay.model_copy(update={"status": status, "updated_at": at})
