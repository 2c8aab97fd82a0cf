"""Events committed with the state they tell of (outbox), and processed once in effect (inbox)."""

from jettythunder.outbox.inbox import first_time
from jettythunder.outbox.writing import Rows, rows, write, write_rows

__all__ = ["Rows", "first_time", "rows", "write", "write_rows"]
