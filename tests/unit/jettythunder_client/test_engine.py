"""What the engine does with refusals."""

from collections.abc import Callable

import pytest

from jettythunder_client.budget import Budget
from jettythunder_client.engine import Engine
from jettythunder_client.errors import ApiError
from jettythunder_client.rate_limit import RateLimit
from jettythunder_client.scheduler import Attempt, Limits


@pytest.mark.parametrize("code", ["link_expired", "link_revoked"])
async def test_a_token_that_has_ended_is_no_failure_of_the_edge(code: str) -> None:
    refusals = [ApiError("Ask for a new one.", code=code, status=403, retryable=False)] * 6

    async def transfer(_: Attempt, moved: Callable[[int], None]) -> None:
        moved(10)
        if refusals:
            raise refusals.pop()

    engine = Engine(
        transfer,
        chunks={1: 10},
        latencies={"edge": 0.001},
        regions={"edge": "here"},
        limits=Limits(max_parallel=1),
        budget=Budget(1, RateLimit()),
        total_bytes=10,
        stall_seconds=30,
        observe=lambda _: None,
    )
    stats = await engine.run()
    assert (stats.transferred_bytes, stats.retries) == (10, 6)
    assert engine.scheduler.edges["edge"].failures == 0
