"""Reconciliation over HTTP, for operators."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Annotated

from fastapi import APIRouter, Depends
from fastapi.responses import StreamingResponse
from pydantic import BaseModel, Field, StrictBool, TypeAdapter

from jettythunder.errors import AccountNotFound, InsufficientScope, StorageUnavailable
from jettythunder.http import OPERATOR_SECURITY, CurrentOperator, ReadingRoute, provided, raises
from jettythunder.operators import Scope
from usage_meter.errors import ReconciliationRunning
from usage_meter.ndjson import lines
from usage_meter.reconciliation.model import Findings
from usage_meter.reconciliation.reconcile import Reconciliation

router = APIRouter(prefix="/usage", tags=["usage"], route_class=ReadingRoute, dependencies=OPERATOR_SECURITY)

AnyReconciliation = Annotated[Reconciliation, Depends(provided(Reconciliation))]


class ReconcileRequest(BaseModel):
    """Which account, all by default, and whether to mend what is found."""

    # PostgreSQL stores no NUL.
    account: str | None = Field(default=None, pattern=r"^[^\x00]*$")
    fix: StrictBool = False


@dataclass(frozen=True)
class _Line:
    """Findings as they are sent, with what is computed from them."""

    findings: Findings
    drift_bytes: int
    is_clean: bool
    needs_a_person: bool


_line = TypeAdapter(_Line)


@router.post("/reconcile", response_class=StreamingResponse)
@raises(AccountNotFound, ReconciliationRunning, StorageUnavailable, InsufficientScope)
async def reconcile(
    wanted: ReconcileRequest, reconciliation: AnyReconciliation, operator: CurrentOperator
) -> StreamingResponse:
    """Compare bucket, assets, ledger, counters and hours, an account a line; ``fix`` mends what differs."""
    if wanted.fix:
        operator.require(Scope.OPS_WRITE)
    return await lines(_encoded(reconciliation.run(account=wanted.account, fix=wanted.fix)))


async def _encoded(found: AsyncIterator[Findings]) -> AsyncIterator[bytes]:
    async for findings in found:
        line = _Line(findings, findings.drift_bytes, findings.is_clean, findings.needs_a_person)
        yield _line.dump_json(line) + b"\n"
