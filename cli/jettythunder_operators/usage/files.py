"""Usage over time as files: CSV, JSON and Parquet, written as the rows come, so that size does not matter."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from decimal import Decimal
from enum import StrEnum
from itertools import islice
from pathlib import Path
from typing import Any

from jettythunder_client.errors import ClientError

_ROWS_AT_ONCE = 10_000
_COLUMNS = (
    "account_id",
    "agentcache_user_id",
    "period_start",
    "period_end",
    "storage_bytes",
    "storage_byte_hours",
    "bandwidth_bytes",
    "request_count",
    "storage_cost",
    "bandwidth_cost",
    "total_cost",
)

Rows = Iterable[Mapping[str, Any]]


class Format(StrEnum):
    """What a file is."""

    CSV = "csv"
    JSON = "json"
    PARQUET = "parquet"


class MissingPackage(ClientError):
    """A package that is not part of the smallest installation."""

    code, status, retryable = "missing_package", 500, False

    def __init__(self, package: str) -> None:
        super().__init__(f"This needs {package}: pip install 'jettythunder[reports]'.")


def write_csv(rows: Rows, file: Path) -> int:
    """Write rows with a header line; how many there were."""
    count = 0
    with file.open("w", newline="", encoding="utf-8") as opened:
        writer = csv.DictWriter(opened, _COLUMNS, extrasaction="ignore")
        writer.writeheader()
        for count, row in enumerate(rows, 1):  # noqa: B007 - the last one is the number of rows
            writer.writerow(row)
    return count


def write_json(rows: Rows, file: Path) -> int:
    """Write rows as a JSON array, an object a line; how many there were."""
    count = 0
    with file.open("w", encoding="utf-8") as opened:
        opened.write("[")
        for count, row in enumerate(rows, 1):
            opened.write(("," if count > 1 else "") + "\n" + json.dumps(row, default=str))
        opened.write("\n]\n")
    return count


def write_parquet(rows: Rows, file: Path) -> int:
    """Write rows as Parquet with exact decimals and UTC times; how many there were."""
    try:
        import pyarrow as pa  # noqa: PLC0415 - part of the extra `reports`
        import pyarrow.parquet as pq  # noqa: PLC0415
    except ImportError:
        raise MissingPackage("pyarrow") from None
    at = pa.timestamp("us", tz="UTC")
    dollars = pa.decimal128(18, 4)
    types = dict.fromkeys(_COLUMNS, pa.int64()) | {
        "account_id": pa.string(),
        "agentcache_user_id": pa.string(),
        "period_start": at,
        "period_end": at,
        "storage_byte_hours": pa.decimal128(38, 6),
        "storage_cost": dollars,
        "bandwidth_cost": dollars,
        "total_cost": dollars,
    }
    schema = pa.schema(list(types.items()))
    count = 0
    remaining = iter(rows)
    with pq.ParquetWriter(file, schema) as writer:
        while some := [_typed(row) for row in islice(remaining, _ROWS_AT_ONCE)]:
            writer.write_table(pa.Table.from_pylist(some, schema=schema))
            count += len(some)
    return count


def _typed(row: Mapping[str, Any]) -> dict[str, Any]:
    typed = dict(row)
    for name in ("period_start", "period_end"):
        typed[name] = datetime.fromisoformat(row[name])
    typed["storage_byte_hours"] = Decimal(row["storage_byte_hours"]).quantize(Decimal("0.000001"))
    for name in ("storage_cost", "bandwidth_cost", "total_cost"):
        typed[name] = Decimal(row[name]).quantize(Decimal("0.0001"))
    return typed


EXPORTS: Mapping[Format, Callable[[Rows, Path], int]] = {
    Format.CSV: write_csv,
    Format.JSON: write_json,
    Format.PARQUET: write_parquet,
}
