"""How throughput grows with the number of chunk-workers, where the object storage answers slowly.

    make bench-scale-out ARGS="--workers 1 2 4 8 --out results"

Each part is acknowledged 200 ms late, by a proxy before the S3 server. Every worker stores one chunk at a
time (CHUNK_WORKER_PREFETCH=1), so that it waits most of its time and their number is what counts; by default
it takes four at once. The last row is the limit of the machine, with all workers and without delay.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path

import psutil
import uvloop
from rich.console import Console
from tests.performance.contenders import CURL, MB, fill, run_program
from tests.performance.stack import Account, provision
from tests.performance.table import Table, add_output_options, show
from tests.support.infrastructure import ServiceStarter, running_infrastructure, start_services
from tests.support.slow_storage import slow_storage

UPLOADS_AT_ONCE = 2
CHUNK_MB = 6

progress = Console(stderr=True, highlight=False)


@dataclass(frozen=True)
class Measure:
    """So many workers' throughput, and how busy the machine's cores were meanwhile."""

    workers: int
    delay_seconds: float
    size_bytes: int
    seconds: float
    bytes_per_second: float
    cpu_share: float


class Bench:
    """Uploads through the gateway, stored by the workers that are running."""

    def __init__(self, gateway_url: str, account: Account, folder: Path) -> None:
        self._url = f"{gateway_url}/api/storage/upload"
        self._folder = folder
        self._headers = account.curl_headers

    async def measure(self, workers: int, delay_seconds: float, size_bytes: int) -> Measure:
        """The throughput of uploading so many bytes."""
        files = [self._folder / f"film-{number}.bin" for number in range(UPLOADS_AT_ONCE)]
        for file in files:
            await asyncio.to_thread(fill, file, size_bytes // UPLOADS_AT_ONCE)
        psutil.cpu_percent()
        loop = asyncio.get_running_loop()
        began = loop.time()
        await asyncio.gather(*(self._upload(file) for file in files))
        seconds = loop.time() - began
        busy = psutil.cpu_percent() / 100
        return Measure(workers, delay_seconds, size_bytes, seconds, size_bytes / seconds, busy)

    async def _upload(self, file: Path) -> None:
        await run_program(*CURL, *self._headers, "-F", f"file=@{file}", self._url, environment={})


async def bench(options: argparse.Namespace) -> list[Measure]:
    """Every number of workers in turn, the smallest first, and the machine's limit at last."""
    measures: list[Measure] = []
    size_bytes = options.megabytes * MB
    with running_infrastructure() as infrastructure, tempfile.TemporaryDirectory() as folder:
        services = start_services(infrastructure, workers=1)
        services.stop("chunk-worker-1")
        starter = ServiceStarter(infrastructure, Path(folder))
        try:
            async with slow_storage(infrastructure.s3.endpoint, delay_seconds=options.delay) as slow:
                told = {
                    "LYVE_ENDPOINT": slow.url,
                    "JETTYSPEED_CHUNK_SIZE_MB": str(CHUNK_MB),
                    "CHUNKS_IN_FLIGHT_PER_UPLOAD": str(2 * max(options.workers)),
                }
                # The proxy is served by this loop, and services look for the storage before they are ready.
                gateway = (await asyncio.to_thread(starter, "storage-gateway", told)).url
                account = await provision(services.base_url, services.environment)
                bench = Bench(gateway, account, Path(folder))
                running = 0
                for workers in sorted(options.workers):
                    for number in range(running + 1, workers + 1):
                        await asyncio.to_thread(
                            starter,
                            "chunk-worker",
                            {**told, "EDGE_ID": f"worker-{number}", "CHUNK_WORKER_PREFETCH": "1"},
                            gateway_url=gateway,
                        )
                    running = workers
                    # First connections and imports are nobody's throughput.
                    await bench.measure(workers, options.delay, 4 * workers * CHUNK_MB * MB)
                    measures.append(await bench.measure(workers, options.delay, workers * size_bytes))
                    tell(measures[-1], measures[0])
                slow.delay_seconds = 0.0
                measures.append(await bench.measure(running, 0.0, running * size_bytes))
                tell(measures[-1], measures[0])
        finally:
            starter.end()
    return measures


def efficiency(measured: Measure, first: Measure) -> float:
    """The throughput, of as many times what each of the first measure's workers had."""
    alone = first.bytes_per_second / first.workers
    return measured.bytes_per_second / (measured.workers * alone)


def tell(measured: Measure, first: Measure) -> None:
    speed = measured.bytes_per_second / MB
    progress.print(
        f"{measured.workers} workers, {measured.delay_seconds * 1000:3.0f} ms late: {speed:6.1f} MB/s,"
        f" {efficiency(measured, first):4.0%} of linear, CPU {measured.cpu_share:.0%} busy"
    )


def table(measures: list[Measure]) -> Table:
    """Throughput by the number of workers."""
    headings = ["workers", "parts answered late by", "MB/s", "of linear", "cores busy"]
    figures = Table("Throughput by chunk-workers", headings)
    for measured in measures:
        delayed = measured.delay_seconds > 0
        figures.add(
            str(measured.workers),
            f"{measured.delay_seconds * 1000:.0f} ms" if delayed else "not at all",
            f"{measured.bytes_per_second / MB:.1f}",
            f"{efficiency(measured, measures[0]):.0%}" if delayed else "the limit",
            f"{measured.cpu_share:.0%}",
        )
    return figures


def write_plot(measures: list[Measure], target: Path) -> None:
    """Throughput over workers, beside what is linear, and the machine's limit."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    delayed = [measured for measured in measures if measured.delay_seconds > 0]
    limit = next(measured for measured in measures if measured.delay_seconds == 0)
    workers = [measured.workers for measured in delayed]
    alone = delayed[0].bytes_per_second / delayed[0].workers / MB
    figure, axes = pyplot.subplots(figsize=(7, 4))
    speeds = [measured.bytes_per_second / MB for measured in delayed]
    axes.plot(workers, speeds, "o-", color="#0a84a5", label="measured")
    axes.plot(workers, [alone * n for n in workers], "--", color="#9db4bd", label="linear")
    axes.plot(workers, [0.8 * alone * n for n in workers], ":", color="#9db4bd", label="0.8 x linear")
    axes.axhline(limit.bytes_per_second / MB, color="#c0504d", lw=1, label="this machine, without delay")
    axes.set_xticks(workers)
    axes.set_xlabel("chunk-workers, one chunk at a time each")
    axes.set_ylabel("MB/s")
    axes.set_ylim(bottom=0)
    axes.legend()
    figure.tight_layout()
    figure.savefig(target, dpi=110)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2, 4, 8])
    parser.add_argument("--delay", type=float, default=0.2, help="seconds that a part is acknowledged late")
    parser.add_argument("--megabytes", type=int, default=120, help="uploaded for each worker that runs")
    parser.add_argument("--out", type=Path, default=Path("build/bench-scale-out"))
    add_output_options(parser)
    options = parser.parse_args()
    measures = uvloop.run(bench(options))
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / "scale-out.json").write_text(
        json.dumps([asdict(one) for one in measures], indent=2) + "\n"
    )
    show(options, [table(measures)], [asdict(one) for one in measures])
    write_plot(measures, options.out / "scale-out.png")


if __name__ == "__main__":
    main()
