"""`jettythunder upload` and `jettythunder uploads`: files, folders, globs and streams."""

from __future__ import annotations

import glob
import os
import shlex
import stat
import sys
import time
from contextlib import suppress
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any

import typer

from jettythunder_cli.frame.errors import print_error
from jettythunder_cli.frame.options import AsJson, Quiet
from jettythunder_cli.frame.output import output, print_done, print_json, print_line, print_warning
from jettythunder_cli.frame.table import Table, figures, ids, words
from jettythunder_cli.frame.text import number_text, size_text, speed_text, until_text
from jettythunder_cli.quota import BADGE
from jettythunder_cli.tenant import ApiKey, ApiSecret, ApiUrl, config_from, interactive
from jettythunder_cli.transfer_view import TransferView
from jettythunder_client.client import AsyncClient, Client
from jettythunder_client.config import Config
from jettythunder_client.errors import ClientError, FileUnreadable
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
    config = config_from(api_url, api_key, api_secret)
    named = UploadOptions(name, content_type, cache_key, pipeline_id, ttl_seconds)
    if files is None and not resume:
        raise typer.BadParameter("Say what to upload: --file with a file, a glob, a folder, or - for stdin.")
    sources = expand(files) if files is not None else unfinished_files(config)
    if len(sources) > 1 and (name or cache_key):
        raise typer.BadParameter(f"--name and --cache-key are for one file, and these are {len(sources)}.")
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
        print_end(sources, sum(succeeded), time.monotonic() - began)
    if not all(succeeded):
        raise typer.Exit(1)


class _Upload:
    """Uploads one file after another and prints what became of each."""

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
        self._noted: set[str] | None = set() if several else None

    def show_badge(self) -> None:
        """Show whether the tier has JettySpeed; that it can't be found out is no reason to fail."""
        if self._as_json or self._quiet:
            return
        with suppress(ClientError):
            if Client(interactive(self._config)).quota()["jetty_speed_enabled"]:
                output.print(BADGE)

    def run(self, source: str) -> bool:
        """Upload one; False where it failed, which is printed."""
        try:
            quiet = self._quiet or self._as_json
            with TransferView(Path(source).name, quiet=quiet, noted=self._noted) as view:
                result = self._send(source, view)
        except ClientError as error:
            print_error(error, as_json=self._as_json, file=source)
            return False
        except KeyboardInterrupt:
            print_warning(f"Interrupted. Go on: jettythunder upload --file {shlex.quote(source)} --resume")
            raise
        if self._as_json:
            print_json(summary(source, result))
        elif self._several:
            print_briefly(source, result, view)
        else:
            print_result(result, view)
        return True

    def _send(self, source: str, view: TransferView) -> UploadResult:
        client = Client(self._config, observe=view.observe)
        if source == "-":
            if self._accelerate:
                view.note("The size of stdin is not known before its end: standard upload.")
            named = replace(self._options, filename=self._options.filename or "stdin")
            return client.upload_stream(sys.stdin.buffer, named)
        path = Path(source)
        if is_stream(path):
            if self._accelerate:
                view.note(f"The size of {path} is not known before its end: standard upload.")
            named = replace(self._options, filename=self._options.filename or path.name)
            with path.open("rb") as stream:
                return client.upload_stream(stream, named)
        return client.upload(
            path,
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
        if Path(given).is_dir():
            found += sorted(str(file) for file in Path(given).rglob("*") if file.is_file())
        elif given == "-" or os.path.lexists(given):
            found.append(given)
        else:
            # The pattern may be absolute, which Path.glob does not take.
            matches = sorted(m for m in glob.glob(given, recursive=True) if Path(m).is_file())  # noqa: PTH207
            if not matches:
                raise FileUnreadable(f"There is no file {given}.")
            found += matches
    if not found:
        raise FileUnreadable(f"There are no files in {', '.join(files)}.")
    return list(dict.fromkeys(found))


def is_stream(path: Path) -> bool:
    """Whether a file's bytes are only known by reading them: a pipe, or a file of /proc, whose size is 0.

    Raises:
        FileUnreadable: it can't be read.
    """
    try:
        found = path.stat()
        if stat.S_ISFIFO(found.st_mode):
            return True
        if not stat.S_ISREG(found.st_mode) or found.st_size:
            return False
        with path.open("rb") as file:
            return bool(file.read(1))
    except OSError as error:
        raise FileUnreadable(f"{path} can't be read: {error.strerror}.") from None


def unfinished_files(config: Config) -> list[str]:
    """The files of this machine's unfinished uploads, as far as they are still there."""
    paths = [unfinished.file.path for unfinished in StateStore(config).all()]
    return [path for path in dict.fromkeys(paths) if Path(path).is_file()]


def print_result(result: UploadResult, view: TransferView) -> None:
    """Print the closing lines of an upload."""
    if result.route == "already_stored":
        view.done("Already stored: these very bytes are there, so nothing was sent")
    elif result.sent_bytes:
        view.done(f"Upload speed: {speed_text(result.bytes_per_second)}{comparison_text(result.speedup)}")
    view.done(f"Complete in {number_text(result.seconds)} seconds")
    view.done(f"Asset {result.asset['id']}")


def print_briefly(source: str, result: UploadResult, view: TransferView) -> None:
    """Print one line for one of several uploads."""
    stored = "stored already" if result.route == "already_stored" else speed_text(result.bytes_per_second)
    view.done(f"{source}  {size_text(result.size_bytes)}  {stored}")


def print_end(sources: list[str], succeeded: int, seconds: float) -> None:
    """Print what became of several uploads, or that there was none to go on with."""
    if not sources:
        print_line("There is no unfinished upload.")
    elif len(sources) > 1:
        counted = f"{succeeded} of {len(sources)} files stored in {number_text(seconds)} seconds"
        print_line(f"{'[✓]' if succeeded == len(sources) else '[✗]'} {counted}")


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

    config = interactive(config_from(api_url, api_key, api_secret))
    files = {unfinished.upload_id: unfinished.file.path for unfinished in StateStore(config).all()}
    opened = [{**upload, "file": files.get(upload["id"])} for upload in Client(config).run(found)]
    if as_json:
        for upload in opened:
            print_json(upload)
        return
    if not opened:
        print_line("There is no unfinished upload.")
        return
    table = Table(ids("id"), figures("size"), words("status"), figures("expires in"), words("file"))
    for upload in opened:
        table.add(
            upload["id"],
            size_text(upload["size_bytes"]),
            upload["status"],
            until_text(datetime.fromisoformat(upload["expires_at"])),
            upload["file"] or f"{upload['filename']} (of another machine)",
        )
    table.print()


@uploads.command("abort")
def abort_uploads(
    upload_ids: Annotated[list[str], typer.Argument(help="Ids, as `uploads list` shows them.")],
    api_url: ApiUrl = None,
    api_key: ApiKey = None,
    api_secret: ApiSecret = None,
    as_json: AsJson = False,
) -> None:
    """Give open uploads up: what they reserved is free again."""
    config = interactive(config_from(api_url, api_key, api_secret))
    for upload_id in upload_ids:
        Client(config).run(lambda client, wanted=upload_id: client.api.abort_upload(wanted))  # type: ignore[misc]
        StateStore(config).forget(upload_id)
        if as_json:
            print_json({"success": True, "aborted": upload_id})
        else:
            print_done(f"Aborted {upload_id}")
