"""Reports over HTTP, for operators."""

import re
from collections.abc import AsyncIterator
from decimal import Decimal
from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Depends, Query
from fastapi.responses import StreamingResponse
from pydantic import BaseModel, BeforeValidator, Field, TypeAdapter, WithJsonSchema

from jettythunder.errors import AccountNotFound
from jettythunder.http import OPERATOR_SECURITY, OperatorRoute, provided, raises
from jettythunder.inputs import Day, Moment
from usage_meter.ledger.model import Resource
from usage_meter.ndjson import lines
from usage_meter.reports.model import Bucket, Price, Quota, UsageRow
from usage_meter.reports.prices import Prices
from usage_meter.reports.quotas import LedgerPage, QuotaPage, Quotas
from usage_meter.reports.usage import UsageReport

router = APIRouter(prefix="/usage", tags=["usage"], route_class=OperatorRoute, dependencies=OPERATOR_SECURITY)

PageSize = Annotated[int, Query(ge=1, le=1000, description="Rows a page has at most")]
AnyQuotas = Annotated[Quotas, Depends(provided(Quotas))]
AnyUsageReport = Annotated[UsageReport, Depends(provided(UsageReport))]
AnyPrices = Annotated[Prices, Depends(provided(Prices))]

_usage_row = TypeAdapter(UsageRow)

_FIRST_OF_MONTH = {
    "type": "string",
    "description": "The first day of a month",
    "pattern": "^(000[1-9]|00[1-9][0-9]|0[1-9][0-9]{2}|[1-9][0-9]{3})-(0[1-9]|1[0-2])-01$",
    "examples": ["2026-01-01"],
}

_PLAIN = re.compile(r"^[0-9]{1,6}(\.[0-9]{1,8})?$", re.ASCII)


def _plain(given: object) -> object:
    if isinstance(given, bool) or (isinstance(given, str) and _PLAIN.fullmatch(given) is None):
        raise ValueError("Input should be a number such as 0.023")
    return given


Dollars = Annotated[
    Decimal,
    BeforeValidator(_plain),
    Field(ge=0, max_digits=14, decimal_places=8),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "number", "minimum": 0, "exclusiveMaximum": 1_000_000},
                {"type": "string", "pattern": _PLAIN.pattern},
            ],
            "description": "With up to 8 decimal places",
        }
    ),
]


class PriceRequest(BaseModel):
    """A price in dollars per GB (10^9 bytes): per GB-month stored, or per GB sent."""

    resource: Resource
    effective_from: Annotated[Day, WithJsonSchema(_FIRST_OF_MONTH)]
    usd_per_gb: Dollars
    source: str = Field(min_length=1, max_length=500, description="Where the price comes from")


@router.get("/accounts")
async def list_quotas(quotas: AnyQuotas, cursor: UUID | None = None, page_size: PageSize = 100) -> QuotaPage:
    """Every account's quota, in pages."""
    return await quotas.page(after=cursor, page_size=page_size)


@router.get("/accounts/{account}")
@raises(AccountNotFound)
async def show_quota(account: str, quotas: AnyQuotas) -> Quota:
    """One account's quota, by its id or its user's."""
    return await quotas.one(account)


@router.get("/accounts/{account}/ledger")
@raises(AccountNotFound)
async def list_entries(
    account: str, quotas: AnyQuotas, cursor: int | None = None, page_size: PageSize = 100
) -> LedgerPage:
    """An account's ledger, the newest entries first: what its counters are the sums of."""
    return await quotas.ledger(account, before=cursor, page_size=page_size)


@router.get("/report", response_class=StreamingResponse)
@raises(AccountNotFound)
async def report(
    usage: AnyUsageReport,
    from_at: Annotated[Moment, Query(alias="from")],
    to_at: Annotated[Moment, Query(alias="to")],
    by: Bucket = Bucket.DAY,
    account: str | None = None,
) -> StreamingResponse:
    """Usage per account and hour, day or month (UTC), a JSON object a line."""
    pages = usage.read(bucket=by, from_at=from_at, to_at=to_at, account=account)
    return await lines(_encoded(pages))


@router.get("/prices")
async def list_prices(prices: AnyPrices) -> list[Price]:
    """All prices, the newest first."""
    return await prices.list_all()


@router.put("/prices")
async def set_price(wanted: PriceRequest, prices: AnyPrices) -> list[Price]:
    """Set a price from a month on, and answer with all prices."""
    await prices.set_price(**wanted.model_dump())
    return await prices.list_all()


async def _encoded(pages: AsyncIterator[list[UsageRow]]) -> AsyncIterator[bytes]:
    async for rows in pages:
        yield b"".join(_usage_row.dump_json(row) + b"\n" for row in rows)
