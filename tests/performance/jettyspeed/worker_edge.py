"""Measures JettySpeed over a chunk-worker, over the Cloudflare Worker in workerd, and over both at once.

    python -m tests.performance.jettyspeed.worker_edge

Each edge is behind a line of its own. What the object storage has afterwards is compared with the file.
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx
import uvloop
from rich.console import Console
from tests.performance.contenders import MB, fill, run_program
from tests.performance.stack import Account, provision
from tests.performance.table import Table, add_output_options, show
from tests.support.infrastructure import ServiceStarter, running_infrastructure, start_services
from tests.support.links import Link
from tests.support.waiting import eventually
from tests.support.worker_edge import EDGE_SECRET, WorkerEdge, running_worker

NAMES = {"python": "chunk-worker", "worker": "Worker", "both": "both"}
EDGES = {"python", "cloudflare:worker"}

progress = Console(stderr=True, highlight=False)


async def upload(file: Path, account: Account, gateway_url: str, folder: Path) -> tuple[float, list[str]]:
    """Upload a file; the seconds of the transfer, and the edges that it went over."""
    with tempfile.TemporaryDirectory(dir=folder) as state:
        environment = {
            "JETTYTHUNDER_API_URL": gateway_url,
            "JETTYTHUNDER_API_KEY": account.api_key,
            "JETTYTHUNDER_API_SECRET": account.api_secret,
            "JETTYTHUNDER_STATE_DIR": state,
        }
        command = [sys.executable, "-m", "jettythunder_cli.main", "upload", "--accelerate", "--json"]
        out, seconds = await run_program(*command, "--file", str(file), environment=environment)
    told = json.loads(out)
    expected = await asyncio.to_thread(_sha256, file)
    stored = hashlib.sha256()
    url = f"{gateway_url}/api/storage/stream/{told['asset']['id']}"
    async with (
        httpx.AsyncClient(timeout=60, headers=account.headers) as http,
        http.stream("GET", url) as answer,
    ):
        async for block in answer.aiter_bytes():
            stored.update(block)
    if told["route"] != "jettyspeed" or stored.hexdigest() != expected:
        raise RuntimeError(f"not uploaded by JettySpeed, or not these bytes: {out}")
    return seconds, told["edges"]


async def bench(options: argparse.Namespace) -> None:
    results: list[dict[str, Any]] = []
    with running_infrastructure() as infrastructure, ExitStack() as running:
        folder = Path(running.enter_context(tempfile.TemporaryDirectory()))
        services = start_services(infrastructure, workers=1)
        services.stop("chunk-worker-1")
        starter = ServiceStarter(infrastructure, folder)
        running.callback(starter.end)
        rate = options.line * MB if options.line else None
        lines = {name: await Link(rate=rate, rtt_seconds=0.02).open() for name in ("python", "worker")}
        told = {"EDGE_SECRETS": EDGE_SECRET, "EDGE_WORKER_URLS": lines["worker"].url}
        gateway = starter("storage-gateway", told)
        edge = {"EDGE_ID": "python", "EDGE_URL": lines["python"].url}
        lines["python"].target = starter("chunk-worker", edge, gateway_url=gateway.url).url
        worker = running.enter_context(
            running_worker(infrastructure, folder, gateway_url=gateway.url, edge_id="worker")
        )
        lines["worker"].target = worker.url
        account = await provision(services.base_url, services.environment)
        await _until_listed(gateway.url, account)
        file = folder / "film.bin"
        for run in range(1, options.runs + 1):
            for way in NAMES:
                await asyncio.to_thread(fill, file, options.megabytes * MB)
                for name, line in lines.items():
                    if way not in (name, "both"):
                        await line.die()
                    line.forget()
                before = _cpu_seconds(worker)
                began = time.monotonic()
                process_seconds, edges = await upload(file, account, gateway.url, folder)
                spans = [line.span for line in lines.values() if line.span is not None]
                seconds = max(end for _, end in spans) - min(start for start, _ in spans)
                results.append(
                    {
                        "edges": way,
                        "run": run,
                        "seconds": round(seconds, 2),
                        "process_seconds": round(process_seconds, 2),
                        "megabytes_per_second": round(options.megabytes / seconds, 2),
                        "workerd_cpu_seconds": round(_cpu_seconds(worker) - before, 2),
                        "by": sorted(edges),
                        "megabytes_by_line": {
                            name: round(line.forwarded_bytes / MB, 1) for name, line in lines.items()
                        },
                        "load": os.getloadavg()[0],
                    }
                )
                progress.print(f"{way:7} {results[-1]} in {time.monotonic() - began:.1f} s")
                for name, line in lines.items():
                    if way not in (name, "both"):
                        await line.open()
                await _until_listed(gateway.url, account)
        for line in lines.values():
            await line.die()
    show(options, [_table(options, results)], results)


def _table(options: argparse.Namespace, results: Sequence[dict[str, Any]]) -> Table:
    table = Table(
        f"{options.megabytes} MB over lines of {options.line:g} MB/s each, medians of {options.runs}",
        ("edges", "seconds", "MB/s", "of the lines", "CPU of workerd"),
    )
    for way, name in NAMES.items():
        runs = [result for result in results if result["edges"] == way]
        seconds, speed, cpu_seconds = (
            statistics.median(run[figure] for run in runs)
            for figure in ("seconds", "megabytes_per_second", "workerd_cpu_seconds")
        )
        lines = options.line * (len(NAMES) - 1 if way == "both" else 1)
        share = f"{speed / lines:.0%}".replace("%", " %") if lines else ""
        table.add(name, f"{seconds:.1f} s", f"{speed:.2f}", share, f"{cpu_seconds:.1f} s")
    return table


async def _until_listed(gateway_url: str, account: Account) -> None:
    async def listed() -> bool:
        async with httpx.AsyncClient() as http:
            answer = await http.get(f"{gateway_url}/api/edges", headers=account.headers)
        return {edge["id"] for edge in answer.json()["edges"]} == EDGES

    await eventually(listed, timeout_seconds=60, poll_seconds=0.5)


def _cpu_seconds(worker: WorkerEdge) -> float:
    """What workerd has taken until now."""
    times = [process.cpu_times() for process in worker.workerd]
    return sum(each.user + each.system for each in times)


def _sha256(file: Path) -> str:
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--megabytes", type=int, default=100)
    parser.add_argument("--line", type=float, default=4.0, help="MB/s of each line; 0 is no limit")
    parser.add_argument("--runs", type=int, default=1)
    add_output_options(parser)
    uvloop.run(bench(parser.parse_args()))


if __name__ == "__main__":
    main()
