"""`jettythunder upload`: files, folders, globs and streams."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import Annotated

import typer

from jettythunder_cli.frame.errors import print_error
from jettythunder_cli.frame.options import AsJson, Quiet
from jettythunder_cli.frame.output import output, print_json
from jettythunder_cli.quota import BADGE
from jettythunder_cli.tenant import ApiKey, ApiSecret, ApiUrl, LimitRate, config_from, interactive
from jettythunder_cli.upload.many import upload_many
from jettythunder_cli.upload.one import summary, upload_one
from jettythunder_cli.upload.sources import expand, unfinished_files
from jettythunder_client.client import Client
from jettythunder_client.config import Config
from jettythunder_client.errors import ClientError
from jettythunder_client.folder import Selection
from jettythunder_client.many import Folder
from jettythunder_client.upload import UploadOptions

_FOLDERS = "Folders"


def upload(
    paths: Annotated[
        list[str] | None, typer.Argument(help="Files, globs, folders, or - for stdin.", show_default=False)
    ] = None,
    files: Annotated[
        list[str] | None, typer.Option("--file", "-f", help="The same as an option; may be repeated.")
    ] = None,
    accelerate: Annotated[
        bool, typer.Option("--accelerate", "-a", help="JettySpeed: chunks over several edges in parallel.")
    ] = False,
    resume: Annotated[
        bool,
        typer.Option("--resume", help="Go on with unfinished uploads; without files, with all of them."),
    ] = False,
    compare: Annotated[
        bool | None,
        typer.Option(
            "--compare/--no-compare",
            help="Send the first chunk alone, to measure what a single stream would have done.",
            show_default="from 20 chunks on of one file, unless --json or --quiet",
        ),
    ] = None,
    name: Annotated[str | None, typer.Option("--name", help="The asset's file name.")] = None,
    content_type: Annotated[str | None, typer.Option("--content-type", help="Its media type.")] = None,
    cache_key: Annotated[str | None, typer.Option("--cache-key", help="A key to find it by.")] = None,
    pipeline_id: Annotated[str | None, typer.Option("--pipeline-id", help="Its pipeline (a UUID).")] = None,
    ttl_seconds: Annotated[
        int | None, typer.Option("--ttl-seconds", min=1, help="Delete it after so many seconds.")
    ] = None,
    include: Annotated[
        list[str] | None,
        typer.Option(
            "--include",
            help="Only files whose name matches this glob, or whose path does if it has a slash; "
            "may be repeated.",
            rich_help_panel=_FOLDERS,
        ),
    ] = None,
    exclude: Annotated[
        list[str] | None,
        typer.Option(
            "--exclude", help="No files or folders that match; may be repeated.", rich_help_panel=_FOLDERS
        ),
    ] = None,
    hidden: Annotated[
        bool,
        typer.Option(
            "--hidden", help="Files and folders that begin with a dot, too.", rich_help_panel=_FOLDERS
        ),
    ] = False,
    key_prefix: Annotated[
        str | None,
        typer.Option(
            "--key-prefix",
            help="What the cache keys begin with; the path below the folder follows.",
            show_default="the folder's name and a slash",
            rich_help_panel=_FOLDERS,
        ),
    ] = None,
    no_keys: Annotated[
        bool, typer.Option("--no-keys", help="Give the files no cache keys.", rich_help_panel=_FOLDERS)
    ] = False,
    again: Annotated[
        bool,
        typer.Option("--again", help="Send what an earlier run has stored, too.", rich_help_panel=_FOLDERS),
    ] = False,
    verbose: Annotated[
        bool, typer.Option("--verbose", "-v", help="Of several files, print a line for each.")
    ] = False,
    limit_rate: LimitRate = None,
    api_url: ApiUrl = None,
    api_key: ApiKey = None,
    api_secret: ApiSecret = None,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Upload files and folders. Large files go faster with --accelerate, and can be resumed after anything.

    A folder's upload is resumed by the same command: what an earlier run has stored is skipped.
    """
    config = config_from(api_url, api_key, api_secret, limit_rate)
    options = UploadOptions(name, content_type, cache_key, pipeline_id, ttl_seconds)
    given = [*(paths or ()), *(files or ())]
    if not given and not resume:
        raise typer.BadParameter("Say what to upload: a file, a glob, a folder, or - for stdin.")
    if no_keys and key_prefix is not None:
        raise typer.BadParameter("--no-keys and --key-prefix exclude each other.")
    selection = Selection(include=include or (), exclude=exclude or (), hidden=hidden)
    found = expand(given) if given else unfinished_files(config)
    sources = [
        Folder(Path(source), selection, keys=not no_keys, key_prefix=key_prefix, again=again)
        if Path(source).is_dir()
        else source
        for source in found
    ]
    several = len(sources) != 1 or isinstance(sources[0], Folder)
    if several and (name or cache_key):
        raise typer.BadParameter(f"--name and --cache-key are for one file, and these are {len(sources)}.")
    if accelerate and not as_json and not quiet:
        _show_badge(config)
    accelerate = accelerate or resume
    if several:
        stored = upload_many(
            config,
            sources,
            options,
            accelerate=accelerate,
            resume=resume,
            as_json=as_json,
            quiet=quiet,
            verbose=verbose,
        )
    else:
        compare = not (as_json or quiet) if compare is None else compare
        stored = _upload_one(
            config,
            found[0],
            options,
            accelerate=accelerate,
            resume=resume,
            compare=compare,
            as_json=as_json,
            quiet=quiet,
        )
    if not stored:
        raise typer.Exit(1)


def _upload_one(
    config: Config,
    source: str,
    options: UploadOptions,
    *,
    accelerate: bool,
    resume: bool,
    compare: bool,
    as_json: bool,
    quiet: bool,
) -> bool:
    try:
        result = upload_one(
            config,
            source,
            options,
            accelerate=accelerate,
            resume=resume,
            compare=compare,
            quiet=quiet or as_json,
        )
    except ClientError as error:
        print_error(error, as_json=as_json, file=source)
        return False
    if as_json:
        print_json(summary(source, result))
    return True


def _show_badge(config: Config) -> None:
    """Show whether the tier has JettySpeed; that it can't be found out is no reason to fail."""
    with suppress(ClientError):
        if Client(interactive(config)).quota()["jetty_speed_enabled"]:
            output.print(BADGE)
