"""How a report is divided into pages, and read."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from itertools import pairwise
from uuid import UUID, uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jettythunder.errors import DatabaseUnavailable
from usage_meter.reports.model import Bucket, ReportedAccount, ReportPage, UsageRow, pages
from usage_meter.reports.usage import UsageReport

START = datetime(2026, 1, 1, tzinfo=UTC)
END = datetime(2026, 4, 1, tzinfo=UTC)
MOST = 50


def divided(
    accounts: Sequence[ReportedAccount], bucket: Bucket, from_at: datetime = START, to_at: datetime = END
) -> list[ReportPage]:
    return list(pages(accounts, bucket, from_at=from_at, to_at=to_at, most_rows=MOST))


def account(first_hour: datetime | None = START) -> ReportedAccount:
    return ReportedAccount(uuid4(), first_hour)


moments = st.timedeltas(timedelta(days=-60), timedelta(days=150)).map(lambda since: START + since)


@given(st.lists(st.none() | moments, max_size=30), st.sampled_from(Bucket), moments, moments)
def test_pages_hold_every_bucket_once_and_are_bounded(
    first_hours: list[datetime | None], bucket: Bucket, from_at: datetime, to_at: datetime
) -> None:
    accounts = [account(first and bucket.start(first)) for first in first_hours]
    made = divided(accounts, bucket, from_at, to_at)
    for page in made:
        count = bucket.number_between(page.from_at, page.to_at)
        assert page.from_at == bucket.start(page.from_at)
        assert 0 < count * len(page.account_ids) <= MOST
    for each in accounts:
        mine = [page for page in made if each.account_id in page.account_ids]
        assert all(before.to_at == after.from_at for before, after in pairwise(mine))
        if each.first_hour is None or max(each.first_hour, from_at) >= to_at:
            continue
        assert mine[0].from_at <= max(each.first_hour, bucket.start(from_at))
        assert mine[-1].to_at == to_at
    order = list(dict.fromkeys(account_id for page in made for account_id in page.account_ids))
    assert order == [each.account_id for each in accounts if each.account_id in order]


@pytest.mark.parametrize("bucket", Bucket)
def test_a_report_begins_where_an_account_does(bucket: Bucket) -> None:
    made = divided([account()], bucket, from_at=datetime(445, 1, 1, tzinfo=timezone(timedelta(hours=14))))
    assert made[0].from_at == START


def test_a_report_of_the_far_future_is_empty() -> None:
    late = datetime(9999, 12, 31, 23, tzinfo=timezone(timedelta(hours=-12)))
    assert divided([account()], Bucket.MONTH, from_at=late) == []


@pytest.mark.parametrize("to_at", [START, datetime(445, 1, 1, tzinfo=UTC)])
def test_a_report_that_ends_before_it_begins_is_empty(to_at: datetime) -> None:
    assert divided([account()], Bucket.HOUR, to_at=to_at) == []


def test_an_account_without_usage_costs_no_page() -> None:
    assert divided([account(None)], Bucket.HOUR) == []


class Store:
    """Answers each page with a row for each of its accounts, and fails as often as it is told to."""

    def __init__(self, accounts: Sequence[ReportedAccount], *, failures: int = 0) -> None:
        self.accounts = accounts
        self.failures = failures
        self.asked: list[ReportPage] = []

    async def reported(
        self, on: object, *, account_id: UUID | None, after: UUID | None, page_size: int
    ) -> Sequence[ReportedAccount]:
        ordered = sorted(self.accounts, key=lambda each: each.account_id)
        return [each for each in ordered if after is None or each.account_id > after][:page_size]

    async def usage(self, on: object, *, bucket: Bucket, page: ReportPage) -> list[UsageRow]:
        self.asked.append(page)
        if self.failures:
            self.failures -= 1
            raise DatabaseUnavailable
        return [row(account_id, page.from_at) for account_id in page.account_ids]


def row(account_id: UUID, at: datetime) -> UsageRow:
    nothing = Decimal(0)
    return UsageRow(account_id, "", at, at, 0, nothing, 0, 0, nothing, nothing, nothing)


async def test_a_report_asks_for_a_page_when_its_reader_has_taken_the_one_before() -> None:
    store = Store([account() for _ in range(3)])
    reading = UsageReport(object(), object(), store)  # type: ignore[arg-type]
    rows = reading.read(bucket=Bucket.HOUR, from_at=START, to_at=END)
    first = await anext(rows)
    assert len(store.asked) == 1
    await anext(rows)
    assert len(store.asked) == 2
    left = [each async for page in rows for each in page]
    ids = [each.account_id for each in [*first, *left]]
    assert ids == sorted(ids)
    assert set(ids) == {each.account_id for each in store.accounts}


async def test_a_page_that_fails_is_asked_for_again() -> None:
    store = Store([account()], failures=1)
    reading = UsageReport(object(), object(), store)  # type: ignore[arg-type]
    rows = [each async for each in reading.read(bucket=Bucket.MONTH, from_at=START, to_at=END)]
    assert (len(rows), len(store.asked)) == (1, 2)
