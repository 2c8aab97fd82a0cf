"""The usage-meter's doors, for ops: quotas, ledger, reports, adjustments, reconciliation and prices."""

from collections.abc import AsyncIterator
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Annotated, Any, Literal, cast
from uuid import UUID, uuid4

from fastapi import APIRouter, Depends, Query, Request
from fastapi.responses import StreamingResponse
from jettythunder.web import ops_only
from pydantic import AwareDatetime, BaseModel, Field, TypeAdapter

from usage_meter.domain import Adjustment, Resource
from usage_meter.findings import Findings
from usage_meter.reconciliation import Reconciliation
from usage_meter.reports import Reports
from usage_meter.service import Meter

router = APIRouter(prefix="/usage", tags=["usage"], dependencies=[Depends(ops_only)])

NDJSON = "application/x-ndjson"

PageSize = Annotated[int, Query(ge=1, le=1000, description="Rows a page has at most")]


class QuotaPage(BaseModel):
    """Quota answers, and the cursor of the next page."""

    accounts: list[dict[str, Any]]
    next_cursor: UUID | None


class LedgerPage(BaseModel):
    """Ledger entries, the newest first, and the cursor of the next page."""

    entries: list[dict[str, Any]]
    next_cursor: int | None


class AdjustmentRequest(BaseModel):
    """A correction. Sending the same ``id`` again changes nothing."""

    id: UUID = Field(default_factory=uuid4)
    account: str = Field(description="The account's id, or its user's")
    resource: Resource
    bytes: int = Field(description="What to add to the bytes used; negative takes away")
    reason: str = Field(min_length=3, max_length=500)
    author: str = Field(min_length=1, max_length=200)
    occurred_at: AwareDatetime | None = Field(
        default=None, description="Which hour it corrects; now if left out"
    )


class AdjustmentAnswer(BaseModel):
    """Whether the adjustment was new, and the quota after it."""

    id: UUID
    booked: bool
    quota: dict[str, Any]


class ReconcileRequest(BaseModel):
    """Which account, all by default, and whether to mend what is found."""

    account: str | None = None
    fix: bool = False


class PriceRequest(BaseModel):
    """A price in dollars per GB (10^9 bytes): per GB-month stored, or per GB sent."""

    resource: Resource
    effective_from: date = Field(description="The first day of a month")
    usd_per_gb: Decimal = Field(ge=0, max_digits=14, decimal_places=8)
    source: str = Field(min_length=1, max_length=500, description="Where the price comes from")


class _Line(BaseModel):
    """Findings as they travel, with what is computed from them."""

    findings: Findings
    drift_bytes: int
    is_clean: bool
    needs_a_person: bool


_row = TypeAdapter(dict[str, Any])


def _reports(request: Request) -> Reports:
    return cast("Reports", request.app.state.reports)


def _meter(request: Request) -> Meter:
    return cast("Meter", request.app.state.meter)


def _reconciliation(request: Request) -> Reconciliation:
    return cast("Reconciliation", request.app.state.reconciliation)


AnyReports = Annotated[Reports, Depends(_reports)]
AnyMeter = Annotated[Meter, Depends(_meter)]
AnyReconciliation = Annotated[Reconciliation, Depends(_reconciliation)]


@router.get("/accounts")
async def list_quotas(
    reports: AnyReports, cursor: UUID | None = None, page_size: PageSize = 100
) -> QuotaPage:
    """Every account's quota answer, in pages."""
    rows, next_cursor = await reports.quotas(after=cursor, page_size=page_size)
    return QuotaPage(accounts=rows, next_cursor=next_cursor)


@router.get("/accounts/{account}")
async def show_quota(account: str, reports: AnyReports) -> dict[str, Any]:
    """One account's quota answer, by its id or its user's."""
    return await reports.quota(account)


@router.get("/accounts/{account}/ledger")
async def list_entries(
    account: str, reports: AnyReports, cursor: int | None = None, page_size: PageSize = 100
) -> LedgerPage:
    """An account's ledger, the newest entries first: what its counters are the sums of."""
    rows, next_cursor = await reports.entries(account, before=cursor, page_size=page_size)
    return LedgerPage(entries=rows, next_cursor=next_cursor)


@router.get("/report", response_class=StreamingResponse)
async def report(
    reports: AnyReports,
    from_at: Annotated[AwareDatetime, Query(alias="from")],
    to_at: Annotated[AwareDatetime, Query(alias="to")],
    by: Literal["hour", "day", "month"] = "day",
    account: str | None = None,
) -> StreamingResponse:
    """Usage per account and hour, day or month (UTC), a JSON object a line."""
    named = await reports.account(account) if account else None
    rows = reports.usage(bucket=by, from_at=from_at, to_at=to_at, account=named)
    return StreamingResponse(_lines(rows), media_type=NDJSON)


@router.post("/adjustments")
async def adjust(wanted: AdjustmentRequest, meter: AnyMeter, reports: AnyReports) -> AdjustmentAnswer:
    """Correct an account's usage; reason and author stay in the ledger."""
    account = await reports.account(wanted.account)
    named = wanted.model_dump(exclude={"account", "bytes"})
    adjustment = Adjustment(account_id=account.id, used_delta_bytes=wanted.bytes, **named)
    booked = await meter.adjust(adjustment)
    return AdjustmentAnswer(id=wanted.id, booked=booked, quota=await reports.quota(str(account.id)))


@router.post("/reconcile", response_class=StreamingResponse)
async def reconcile(wanted: ReconcileRequest, reconciliation: AnyReconciliation) -> StreamingResponse:
    """Compare bucket, assets, ledger and counters, an account a line; ``fix`` mends what differs."""
    found = reconciliation.run(account=wanted.account, fix=wanted.fix)
    # The first account is looked at before the answer begins, so that an error still has its status.
    first = await anext(found, None)
    return StreamingResponse(_findings(first, found), media_type=NDJSON)


@router.get("/prices")
async def list_prices(reports: AnyReports) -> list[dict[str, Any]]:
    """All prices, the newest first."""
    return await reports.prices()


@router.put("/prices")
async def set_price(wanted: PriceRequest, reports: AnyReports) -> list[dict[str, Any]]:
    """Set a price from a month on, and answer with all prices."""
    start = datetime.combine(wanted.effective_from, datetime.min.time(), UTC)
    await reports.set_price(**wanted.model_dump(exclude={"effective_from"}), effective_from=start)
    return await reports.prices()


async def _lines(rows: AsyncIterator[dict[str, Any]]) -> AsyncIterator[bytes]:
    async for row in rows:
        yield _row.dump_json(row) + b"\n"


async def _findings(first: Findings | None, rest: AsyncIterator[Findings]) -> AsyncIterator[bytes]:
    if first is None:
        return
    yield _line(first)
    async for findings in rest:
        yield _line(findings)


def _line(findings: Findings) -> bytes:
    line = _Line(
        findings=findings,
        drift_bytes=findings.drift_bytes,
        is_clean=findings.is_clean,
        needs_a_person=findings.needs_a_person,
    )
    return line.model_dump_json().encode() + b"\n"
