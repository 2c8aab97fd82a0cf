"""Rates by the time of day, held by all connections together; on a virtual clock."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from tests.support.virtual_time import now, run_virtually

from jettythunder_client.config import Config, LimitInFile, forget_credentials, load_config, store_credentials
from jettythunder_client.errors import InvalidConfiguration
from jettythunder_client.rate_limit import RateLimit, parse_limit

K = 1024
MONDAY = datetime(2026, 1, 5)  # noqa: DTZ001 - timetables are in local time
KEYS = {"JETTYTHUNDER_API_KEY": "jt_test_env", "JETTYTHUNDER_API_SECRET": "jts_env"}


@pytest.mark.parametrize(
    ("text", "rate"),
    [
        ("4096", 4096),
        ("500k", 500 * K),
        ("2M", 2 * K * K),
        ("1.5m", 1.5 * K * K),
        ("1G", K**3),
        ("off", None),
        ("0", None),
    ],
)
def test_rates_are_written_as_for_curl_and_rclone(text: str, rate: float | None) -> None:
    assert parse_limit(text).rate_at(MONDAY) == rate


@pytest.mark.parametrize(
    "text",
    ["", "fast", "-1k", "10", "8Mbit", "08:00", "8:00,", "25:00,1M", "08:61,1M", "Foo-08:00,1M", "1M 2M"],
)
def test_what_is_no_limit_is_refused_in_a_sentence(text: str) -> None:
    with pytest.raises(InvalidConfiguration, match=r"\.$"):
        parse_limit(text)


def test_bits_are_explained() -> None:
    with pytest.raises(InvalidConfiguration, match="bytes, not bits"):
        parse_limit("8Mbit")


@pytest.mark.parametrize(
    ("time", "rate"),
    [("00:00", None), ("07:59", None), ("08:00", 512 * K), ("18:59", 512 * K), ("19:00", None)],
)
def test_a_timetable_holds_every_day_and_wraps_at_midnight(time: str, rate: float | None) -> None:
    hours, minutes = map(int, time.split(":"))
    for day in range(7):
        when = MONDAY + timedelta(days=day, hours=hours, minutes=minutes)
        assert parse_limit("08:00,512k 19:00,off").rate_at(when) == rate


def test_days_of_the_week_hold_until_the_next_entry() -> None:
    timetable = parse_limit("Mon-08:00,1M Sat-00:00,off")
    found = [timetable.rate_at(MONDAY + timedelta(days=day, hours=12)) for day in range(7)]
    assert found == [K * K] * 5 + [None] * 2
    assert timetable.rate_at(MONDAY) is None


async def carry(limit: RateLimit, size_bytes: int) -> None:
    async for _ in limit.pieces(bytes(size_bytes)):
        pass


@pytest.mark.parametrize("connections", [1, 7, 32])
def test_all_connections_together_hold_the_rate(connections: int) -> None:
    async def run() -> float:
        limit = RateLimit(parse_limit("1M"))
        await asyncio.gather(*(carry(limit, 10 * K * K // connections) for _ in range(connections)))
        return now()

    assert run_virtually(run()) == pytest.approx(10, rel=0.02)


def test_connections_have_their_turns() -> None:
    async def run() -> None:
        limit = RateLimit(parse_limit("64k"))
        last: dict[int, float] = {}

        async def send(number: int) -> None:
            last[number] = now()
            async for _ in limit.pieces(bytes(64 * K)):
                assert now() - last[number] < 1
                last[number] = now()

        await asyncio.gather(*(send(number) for number in range(4)))

    run_virtually(run())


def test_no_piece_is_sent_in_a_burst_after_a_pause() -> None:
    async def run() -> float:
        limit = RateLimit(parse_limit("1M"))
        await carry(limit, K)
        await asyncio.sleep(1000)
        began = now()
        await carry(limit, K * K)
        return now() - began

    assert run_virtually(run()) > 0.85


def changed_while_running(change: Callable[[RateLimit], None], limit: RateLimit) -> float:
    async def run() -> float:
        sending = asyncio.create_task(carry(limit, 100 * K * K))
        await asyncio.sleep(5)
        change(limit)
        await sending
        return now()

    return run_virtually(run())


def test_a_change_takes_effect_while_running() -> None:
    slow = RateLimit(parse_limit("16k"))
    assert changed_while_running(lambda limit: limit.set(parse_limit("off")), slow) < 6.1
    fast = RateLimit(parse_limit("10M"))
    assert changed_while_running(lambda limit: limit.set(parse_limit("1M")), fast) == pytest.approx(
        55, rel=0.05
    )


def test_the_timetable_takes_effect_while_running() -> None:
    async def run() -> float:
        began = MONDAY + timedelta(hours=7, minutes=59)
        limit = RateLimit(
            parse_limit("08:00,off 19:00,64k"), local_time=lambda: began + timedelta(seconds=now())
        )
        await carry(limit, 100 * K * K)
        return now()

    assert 60 <= run_virtually(run()) < 61.1


def test_a_file_that_changes_is_read_again(tmp_path: Path) -> None:
    file = tmp_path / "config.toml"
    file.write_text('limit_rate = "16k"\n')
    config = load_config(environment=KEYS, config_file=file)
    assert config.limit_file == file

    def change(_: RateLimit) -> None:
        file.write_text("limit_rate = 'nonsense'\n")
        file.write_text("# no limit any more\n")

    limit = RateLimit(config.limit, reread=LimitInFile(file, config.limit))
    assert changed_while_running(change, limit) < 9


def test_the_limit_comes_from_flags_before_environment_before_file(tmp_path: Path) -> None:
    file = tmp_path / "config.toml"
    file.write_text("limit_rate = 8192\n")

    def rate(**given: object) -> float | None:
        config: Config = load_config(config_file=file, **given)  # type: ignore[arg-type]
        return config.limit.rate_at(MONDAY)

    assert rate(environment=KEYS) == 8192
    environment = {**KEYS, "JETTYSPEED_LIMIT_RATE": "1M"}
    assert rate(environment=environment) == K * K
    assert rate(environment=environment, limit_rate="2M") == 2 * K * K


def test_signing_in_and_out_keeps_the_other_settings(tmp_path: Path) -> None:
    file = tmp_path / "config.toml"
    file.write_text('limit_rate = "2M"\n')
    store_credentials(api_url="http://file", api_key="jt_file", api_secret="jts_file", config_file=file)
    assert load_config(environment={}, config_file=file).limit.rate_at(MONDAY) == 2 * K * K
    forget_credentials(file)
    assert file.read_text() == 'limit_rate = "2M"\n'
    file.write_text('api_key = "jt_file"\n')
    forget_credentials(file)
    assert not file.exists()
