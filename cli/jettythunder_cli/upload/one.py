"""Uploading one file, told in lines."""

from __future__ import annotations

import shlex
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

from jettythunder_cli.frame.output import print_warning
from jettythunder_cli.frame.text import number_text, speed_text
from jettythunder_cli.transfer_view import TransferView
from jettythunder_cli.upload.sources import STDIN, is_stream
from jettythunder_client.client import AsyncClient, Client
from jettythunder_client.config import Config
from jettythunder_client.upload import UploadOptions, UploadResult

_NOTEWORTHY_SPEEDUP = 1.05


def upload_one(
    config: Config,
    source: str,
    options: UploadOptions,
    *,
    accelerate: bool,
    resume: bool,
    compare: bool,
    quiet: bool,
) -> UploadResult:
    """Upload a file or a stream, and print how it went unless ``quiet``."""
    try:
        with TransferView(Path(source).name, quiet=quiet) as view:
            client = Client(config, observe=view.observe)
            if source == STDIN or is_stream(Path(source)):
                if accelerate:
                    view.note(f"The size of {name_of(source)} is not known before its end: standard upload.")
                result = client.run(lambda opened: upload_stream(opened, source, options))
            else:
                result = client.upload(
                    Path(source), options, accelerate=accelerate, resume=resume, compare=compare
                )
    except KeyboardInterrupt:
        print_warning(f"Interrupted. Go on: jettythunder upload --file {shlex.quote(source)} --resume")
        raise
    print_result(result, view)
    return result


async def upload_stream(client: AsyncClient, source: str, options: UploadOptions) -> UploadResult:
    """Upload what stdin, or a pipe, gives until its end."""
    named = replace(options, filename=options.filename or Path(name_of(source)).name)
    if source == STDIN:
        return await client.upload_stream(sys.stdin.buffer, named)
    with Path(source).open("rb") as stream:  # noqa: ASYNC230 - nothing else runs yet
        return await client.upload_stream(stream, named)


def name_of(source: str) -> str:
    """A stream as people name it."""
    return "stdin" if source == STDIN else source


def print_result(result: UploadResult, view: TransferView) -> None:
    """Print the closing lines of an upload."""
    if result.route == "already_stored":
        view.done("Already stored: these very bytes are there, so nothing was sent")
    elif result.sent_bytes:
        view.done(f"Upload speed: {speed_text(result.bytes_per_second)}{comparison_text(result.speedup)}")
    view.done(f"Complete in {number_text(result.seconds)} seconds")
    view.done(f"Asset {result.asset['id']}")


def comparison_text(speedup: float | None) -> str:
    """How this compares to a measured single stream; nothing where none was measured."""
    if speedup is None:
        return ""
    if speedup < _NOTEWORTHY_SPEEDUP:
        return " (no faster than standard)"
    return f" ({number_text(round(speedup, 1))}x faster than standard)"


def summary(source: str, result: UploadResult) -> dict[str, Any]:
    """An upload's outcome for programs."""
    single = result.single_stream_bytes_per_second
    return {
        "success": True,
        "file": source,
        "route": result.route,
        "size_bytes": result.size_bytes,
        "sent_bytes": result.sent_bytes,
        "resumed_bytes": result.resumed_bytes,
        "seconds": round(result.seconds, 3),
        "bytes_per_second": round(result.bytes_per_second),
        "single_stream_bytes_per_second": round(single) if single else None,
        "speedup": round(result.speedup, 2) if result.speedup else None,
        "chunk_count": result.chunk_count,
        "edges": list(result.edges_used),
        "retries": result.retries,
        "hedges": result.hedges,
        "asset": result.asset,
    }
