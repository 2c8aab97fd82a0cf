"""`jettythunder upload` and `jettythunder uploads`: files, folders, globs and streams."""

from __future__ import annotations

import glob
import json
import sys
import time
from contextlib import suppress
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.markup import escape
from rich.table import Table

from jettythunder.errors import InvalidField, JettyThunderError
from jettythunder_cli.progress import TransferView
from jettythunder_cli.quota import BADGE
from jettythunder_cli.tenant import (
    ApiKey,
    ApiSecret,
    ApiUrl,
    AsJson,
    Quiet,
    config_from,
    errors,
    hasty,
    number_text,
    output,
    size_text,
    speed_text,
    tell_error,
    told_errors,
)
from jettythunder_client.client import AsyncClient, Client
from jettythunder_client.config import Config
from jettythunder_client.errors import FileUnreadable
from jettythunder_client.state import StateStore
from jettythunder_client.upload import UploadOptions, UploadResult

_NOTEWORTHY_SPEEDUP = 1.05

uploads = typer.Typer(help="Unfinished accelerated uploads.", no_args_is_help=True)


def upload(
    files: Annotated[
        list[str] | None,
        typer.Option("--file", "-f", help="A file, a glob, a folder, or - for stdin; may be repeated."),
    ] = None,
    accelerate: Annotated[
        bool, typer.Option("--accelerate", "-a", help="JettySpeed: chunks over several edges in parallel.")
    ] = False,
    resume: Annotated[
        bool,
        typer.Option("--resume", help="Go on with unfinished uploads; without --file, with all of them."),
    ] = False,
    compare: Annotated[
        bool | None,
        typer.Option(
            "--compare/--no-compare",
            help="Send the first chunk alone, to measure what a single stream would have done.",
            show_default="from 20 chunks on, unless --json or --quiet",
        ),
    ] = None,
    name: Annotated[str | None, typer.Option("--name", help="The asset's file name.")] = None,
    content_type: Annotated[str | None, typer.Option("--content-type", help="Its media type.")] = None,
    cache_key: Annotated[str | None, typer.Option("--cache-key", help="A key to find it by.")] = None,
    pipeline_id: Annotated[str | None, typer.Option("--pipeline-id", help="Its pipeline (a UUID).")] = None,
    ttl_seconds: Annotated[
        int | None, typer.Option("--ttl-seconds", min=1, help="Delete it after so many seconds.")
    ] = None,
    api_url: ApiUrl = None,
    api_key: ApiKey = None,
    api_secret: ApiSecret = None,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Upload files. Large ones go faster with --accelerate, and can be resumed after anything."""
    with told_errors(as_json=as_json):
        config = config_from(api_url, api_key, api_secret)
        named = UploadOptions(name, content_type, cache_key, pipeline_id, ttl_seconds)
        if files is None and not resume:
            raise InvalidField("Say what to upload: --file with a file, a glob, a folder, or - for stdin.")
        sources = expand(files) if files is not None else unfinished_files(config)
        if len(sources) > 1 and (name or cache_key):
            raise InvalidField(f"--name and --cache-key are for one file, and these are {len(sources)}.")
        command = _Upload(
            config,
            named,
            accelerate=accelerate or resume,
            resume=resume,
            compare=not (as_json or quiet) if compare is None else compare,
            as_json=as_json,
            quiet=quiet,
            several=len(sources) > 1,
        )
        if accelerate:
            command.show_badge()
        began = time.monotonic()
        succeeded = [command.run(source) for source in sources]
        if not as_json and not quiet:
            tell_end(sources, sum(succeeded), time.monotonic() - began)
    if not all(succeeded):
        raise typer.Exit(1)


class _Upload:
    """Uploads one file after another and tells of each."""

    def __init__(
        self,
        config: Config,
        options: UploadOptions,
        *,
        accelerate: bool,
        resume: bool,
        compare: bool,
        as_json: bool,
        quiet: bool,
        several: bool,
    ) -> None:
        self._config = config
        self._options = options
        self._accelerate = accelerate
        self._resume = resume
        self._compare = compare
        self._as_json = as_json
        self._quiet = quiet
        self._several = several
        self._told: set[str] | None = set() if several else None

    def show_badge(self) -> None:
        """Show that the tier has JettySpeed; whether it has is no reason to fail."""
        if self._as_json or self._quiet:
            return
        with suppress(JettyThunderError):
            if Client(hasty(self._config)).quota()["jetty_speed_enabled"]:
                output.print(BADGE)

    def run(self, source: str) -> bool:
        """Upload one; an error is told and answered with False."""
        try:
            quiet = self._quiet or self._as_json
            with TransferView(output, Path(source).name, quiet=quiet, told=self._told) as view:
                result = self._send(source, view)
        except JettyThunderError as error:
            tell_error(error, as_json=self._as_json, file=source)
            return False
        except KeyboardInterrupt:
            errors.print(escape(f"Interrupted. Go on with: jettythunder upload --file {source} --resume"))
            raise
        if self._as_json:
            print(json.dumps(summary(source, result)))
        elif self._several:
            tell_briefly(source, result, view)
        else:
            tell_result(result, view)
        return True

    def _send(self, source: str, view: TransferView) -> UploadResult:
        client = Client(self._config, observe=view.observe)
        if source == "-":
            if self._accelerate:
                view.note("The size of stdin is not known before its end: standard upload.")
            named = replace(self._options, filename=self._options.filename or "stdin")
            return client.upload_stream(sys.stdin.buffer, named)
        return client.upload(
            Path(source),
            self._options,
            accelerate=self._accelerate,
            resume=self._resume,
            compare=self._compare,
        )


def expand(files: list[str]) -> list[str]:
    """The files that the arguments name: themselves, what a glob matches, what a folder holds.

    Raises:
        FileUnreadable: one names nothing.
    """
    found: list[str] = []
    for given in files:
        if given == "-" or Path(given).is_file():
            found.append(given)
        elif Path(given).is_dir():
            found += sorted(str(file) for file in Path(given).rglob("*") if file.is_file())
        else:
            # The pattern may be absolute, which Path.glob does not take.
            matches = sorted(m for m in glob.glob(given, recursive=True) if Path(m).is_file())  # noqa: PTH207
            if not matches:
                raise FileUnreadable(f"There is no file {given}.")
            found += matches
    if not found:
        raise FileUnreadable(f"There are no files in {', '.join(files)}.")
    return list(dict.fromkeys(found))


def unfinished_files(config: Config) -> list[str]:
    """The files of this machine's unfinished uploads, as far as they are still there."""
    paths = [unfinished.file.path for unfinished in StateStore(config).all()]
    return [path for path in dict.fromkeys(paths) if Path(path).is_file()]


def tell_result(result: UploadResult, view: TransferView) -> None:
    """The closing lines of an upload."""
    if result.route == "already_stored":
        view.line("Already stored: these very bytes are there, so nothing was sent")
    elif result.sent_bytes:
        view.line(f"Upload speed: {speed_text(result.bytes_per_second)}{comparison_text(result.speedup)}")
    view.line(f"Complete in {number_text(result.seconds)} seconds")
    view.line(f"Asset {result.asset['id']}")


def tell_briefly(source: str, result: UploadResult, view: TransferView) -> None:
    """One line for one of several uploads."""
    stored = "stored already" if result.route == "already_stored" else speed_text(result.bytes_per_second)
    view.line(f"{source}  {size_text(result.size_bytes)}  {stored}")


def tell_end(sources: list[str], succeeded: int, seconds: float) -> None:
    """What became of several uploads, or that there was none to go on with."""
    if not sources:
        output.print("There is no unfinished upload.")
    elif len(sources) > 1:
        counted = f"{succeeded} of {len(sources)} files stored in {number_text(seconds)} seconds"
        output.print(escape(f"{'[✓]' if succeeded == len(sources) else '[✗]'} {counted}"))


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


@uploads.command("list")
def list_uploads(
    api_url: ApiUrl = None, api_key: ApiKey = None, api_secret: ApiSecret = None, as_json: AsJson = False
) -> None:
    """List the account's open uploads, and which file of this machine each belongs to."""

    async def found(client: AsyncClient) -> list[dict[str, Any]]:
        return [upload async for upload in client.api.open_uploads()]

    with told_errors(as_json=as_json):
        config = hasty(config_from(api_url, api_key, api_secret))
        files = {unfinished.upload_id: unfinished.file.path for unfinished in StateStore(config).all()}
        opened = [{**upload, "file": files.get(upload["id"])} for upload in Client(config).run(found)]
        if as_json:
            for upload in opened:
                print(json.dumps(upload))
            return
        if not opened:
            output.print("There is no unfinished upload.")
            return
        table = Table(box=None, pad_edge=False)
        for heading in ("id", "size", "status", "expires", "file"):
            table.add_column(heading, no_wrap=heading == "id")
        for upload in opened:
            table.add_row(
                upload["id"],
                size_text(upload["size_bytes"]),
                upload["status"],
                datetime.fromisoformat(upload["expires_at"]).strftime("%Y-%m-%d %H:%M"),
                escape(upload["file"] or f"{upload['filename']} (of another machine)"),
            )
        output.print(table)


@uploads.command("abort")
def abort_uploads(
    upload_ids: Annotated[list[str], typer.Argument(help="Ids, as `uploads list` shows them.")],
    api_url: ApiUrl = None,
    api_key: ApiKey = None,
    api_secret: ApiSecret = None,
    as_json: AsJson = False,
) -> None:
    """Give open uploads up: what they reserved is free again."""
    with told_errors(as_json=as_json):
        config = hasty(config_from(api_url, api_key, api_secret))
        for upload_id in upload_ids:
            Client(config).run(lambda client, wanted=upload_id: client.api.abort_upload(wanted))  # type: ignore[misc]
            StateStore(config).forget(upload_id)
            if as_json:
                print(json.dumps({"success": True, "aborted": upload_id}))
            else:
                output.print(escape(f"[✓] Aborted {upload_id}"))
