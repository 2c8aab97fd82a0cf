"""What ops do with events: look, trace, replay, work on dead letters. The CLI and the admin API share it."""

from jettythunder.operations.audit import Audit
from jettythunder.operations.dead_letters import DeadLetter, DeadLetterGroup, DeadLetters, Selection
from jettythunder.operations.replay import Replay, ReplayCount, Replays
from jettythunder.operations.service import Operations, describe, open_operations
from jettythunder.operations.tracing import TraceNode

__all__ = [
    "Audit",
    "DeadLetter",
    "DeadLetterGroup",
    "DeadLetters",
    "Operations",
    "Replay",
    "ReplayCount",
    "Replays",
    "Selection",
    "TraceNode",
    "describe",
    "open_operations",
]
