"""What the scheduled reconciliation looks at: a queue of accounts, and a round over all of them; and when."""

from collections.abc import Iterable
from uuid import UUID

from jettythunder.database import Queries, Runner
from usage_meter.reconciliation.model import Findings, Round

_queries = Queries("usage_meter.reconciliation")
_queue_changed = _queries.run("queue_changed")
_list_queued = _queries.all("list_queued", UUID)
_begin_look = _queries.run("begin_look")
_note_drift = _queries.run("note_drift")
_forget_drift = _queries.run("forget_drift")
_leave_queue = _queries.run("leave_queue")
_sum_drift = _queries.one("sum_drift", int)
_begin_round = _queries.run("begin_round")
_fetch_round = _queries.one("fetch_round", Round)
_move_round = _queries.run("move_round")
_end_round = _queries.run("end_round")
_run_age_seconds = _queries.maybe("run_age_seconds", float)
_end_run = _queries.run("end_run")


class ReconciliationQueue:
    """Keeps which accounts changed or drift, how far the round over all has come, and when a run ended."""

    async def add(self, on: Runner, *, account_ids: Iterable[UUID]) -> None:
        """Note that accounts' usage changed."""
        await _queue_changed(on, account_ids=list(account_ids))

    async def page(self, on: Runner, *, after: UUID | None, page_size: int) -> list[UUID]:
        """Queued accounts in the order of their ids, those after one."""
        return await _list_queued(on, after=after, page_size=page_size)

    async def begin_look(self, on: Runner, *, account_id: UUID) -> None:
        """Note that a look begins: an account whose usage changes from now on stays queued."""
        await _begin_look(on, account_id=account_id)

    async def note(self, on: Runner, findings: Findings, *, mended_bytes: int = 0) -> None:
        """Keep what a look found: a clean account leaves the queue, any other is looked at again.

        Args:
            mended_bytes: what was mended of it since, which is no drift any more.
        """
        account_id = findings.account_id
        if findings.is_clean:
            await _forget_drift(on, account_id=account_id)
            await _leave_queue(on, account_id=account_id)
        else:
            drift_bytes = findings.drift_bytes - mended_bytes
            await _note_drift(on, account_id=account_id, drift_bytes=drift_bytes)

    async def drift_bytes(self, on: Runner) -> int:
        """What all accounts, and folders of accounts that are gone, drift by."""
        return await _sum_drift(on)

    async def round(self, on: Runner) -> Round:
        """The round over all accounts, which begins where there is none."""
        await _begin_round(on)
        return await _fetch_round(on)

    async def move_round(self, on: Runner, *, after: UUID) -> None:
        """Note that the round has come to an account."""
        await _move_round(on, after=after)

    async def end_round(self, on: Runner) -> None:
        """Note that the round has come to the end."""
        await _end_round(on)

    async def run_age_seconds(self, on: Runner) -> float | None:
        """How long ago the last run that was finished ended, on whichever instance; None before the first."""
        return await _run_age_seconds(on)

    async def end_run(self, on: Runner) -> None:
        """Note that a run was finished."""
        await _end_run(on)
