"""Leases: uploads stay open for as long as somebody works on them."""

import asyncio
from uuid import UUID

import pytest
from tests.support.virtual_time import run_virtually

from jettythunder.errors import UploadNotOpen
from storage_gateway.uploads.lease import Leases
from storage_gateway.uploads.model import Status

from .fakes import FakeUploadStore, State, made_upload

LEASE_SECONDS = 300
RENEWAL_SECONDS = LEASE_SECONDS / 4


class Worked:
    """Two open uploads, and leases on a virtual clock."""

    def __init__(self) -> None:
        self.state = State()
        self.store = FakeUploadStore(self.state)
        self.leases = Leases(self.store, lease_seconds=LEASE_SECONDS)
        self.first, self.second = (self.state.add(made_upload()).id for _ in range(2))
        self.leases.start()

    @property
    def renewals(self) -> list[set[UUID]]:
        return self.store.renewals


def test_a_lease_is_renewed_for_as_long_as_it_is_held() -> None:
    async def run() -> None:
        worked = Worked()
        await asyncio.sleep(RENEWAL_SECONDS * 3.5)
        assert worked.renewals == []
        with worked.leases.held(worked.first):
            await asyncio.sleep(RENEWAL_SECONDS)
            with worked.leases.held(worked.second):
                await asyncio.sleep(RENEWAL_SECONDS)
        await asyncio.sleep(RENEWAL_SECONDS * 5)
        assert worked.renewals == [{worked.first}, {worked.first, worked.second}]
        await worked.leases.close()

    run_virtually(run())


def test_a_lease_that_several_hold_is_renewed_until_the_last_lets_go() -> None:
    async def run() -> None:
        worked = Worked()
        with worked.leases.held(worked.first):
            with worked.leases.held(worked.first):
                pass
            await asyncio.sleep(RENEWAL_SECONDS * 1.5)
        assert worked.renewals == [{worked.first}]
        await worked.leases.close()

    run_virtually(run())


def test_after_its_upload_was_closed_a_lease_is_lost() -> None:
    async def run() -> None:
        worked = Worked()
        with worked.leases.held(worked.first), worked.leases.held(worked.second):
            worked.state.change(worked.first, status=Status.EXPIRED)
            worked.leases.check(worked.first)
            await asyncio.sleep(RENEWAL_SECONDS * 1.5)
            with pytest.raises(UploadNotOpen):
                worked.leases.check(worked.first)
            worked.leases.check(worked.second)
        # What nobody works on any more is nobody's loss.
        worked.leases.check(worked.first)
        await worked.leases.close()

    run_virtually(run())


def test_after_the_close_nothing_is_renewed() -> None:
    async def run() -> None:
        worked = Worked()
        with worked.leases.held(worked.first):
            await worked.leases.close()
            await asyncio.sleep(LEASE_SECONDS)
        assert worked.renewals == []

    run_virtually(run())
