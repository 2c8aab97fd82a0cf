"""`jettythunder cdn`: the desktop CDN, a cache of the account's assets on this machine, and its page."""

from __future__ import annotations

import os
import sys
import time
import webbrowser
from datetime import UTC, datetime
from typing import Annotated, Any

import typer

from jettythunder_cdn import control
from jettythunder_cdn.figures import Figures
from jettythunder_cdn.instance import Lock, running
from jettythunder_cdn.service import installed, service
from jettythunder_cdn.settings import Settings, load_settings
from jettythunder_cdn.store.store import Budget, open_store
from jettythunder_cli.frame.errors import confirm
from jettythunder_cli.frame.options import AsJson
from jettythunder_cli.frame.output import print_done, print_json, print_line
from jettythunder_cli.frame.table import Table, figures, ids, words
from jettythunder_cli.frame.text import age_text, count_text, size_text

cdn = typer.Typer(
    help="The desktop CDN: a cache of the account's assets on this machine, with a page at"
    " http://localhost:53777.",
    no_args_is_help=True,
)

_PIN_SECONDS = 24 * 3600.0
NOT_RUNNING = 3

AssetIds = Annotated[list[str], typer.Argument(help="Ids of the assets, as `ls` shows them.")]


@cdn.command()
def start(as_json: AsJson = False) -> None:
    """Start it in the background, and wait until it answers."""
    settings = load_settings()
    found = installed()
    if found is not None and running(settings.state_dir) is None:
        found.start()
        holder = control.await_start(settings)
    else:
        holder = control.start(settings)
    if as_json:
        print_json({"success": True, "pid": holder.pid, "url": _url(holder.port)})
    else:
        print_done(f"The desktop CDN runs at {_url(holder.port)} (process {holder.pid})")


@cdn.command()
def stop(as_json: AsJson = False) -> None:
    """Stop it; what it has stays."""
    settings = load_settings()
    was_running = running(settings.state_dir) is not None
    if was_running and (found := installed()) is not None:
        found.stop()
    was_running = control.stop(settings) or was_running
    if as_json:
        print_json({"success": True, "was_running": was_running})
    else:
        print_done("Stopped" if was_running else "It did not run")


@cdn.command()
def status(
    limit: Annotated[int, typer.Option("--limit", min=0, help="How many assets to list.")] = 10,
    as_json: AsJson = False,
) -> None:
    """Show whether it runs, what it has, and what that saved; exit code 3 where it does not run."""
    settings = load_settings()
    holder = running(settings.state_dir)
    if holder is None:
        if as_json:
            print_json({"running": False, "url": _url(settings.port)})
        else:
            print_line("The desktop CDN does not run. Start it with `jettythunder cdn start`.")
        raise typer.Exit(NOT_RUNNING)
    stats = control.call(settings, "GET", "/stats")
    contents = control.call(settings, "GET", "/v1/contents")["contents"]
    if as_json:
        about = {"running": True, "pid": holder.pid, "url": _url(holder.port)}
        print_json({**about, "stats": stats, "contents": contents})
        return
    kept = stats["kept"]
    began = datetime.fromtimestamp(holder.started_at, UTC)
    print_line(f"Running at {_url(holder.port)}, process {holder.pid}, for {age_text(began)}")
    print_line(
        f"{count_text(kept['contents'], 'asset')}, {size_text(kept['allocated_bytes'])}"
        f" of {size_text(kept['budget_bytes'])}"
    )
    print_line(f"Saved {size_text(stats['saved_bytes'])} of downloads")
    if limit and contents:
        _table(contents[:limit]).print()


@cdn.command()
def clear(
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False, as_json: AsJson = False
) -> None:
    """Remove everything from the cache that is not pinned; whether it runs or not."""
    confirm("Remove everything that is not pinned from this machine's cache?", yes=yes, as_json=as_json)
    settings = load_settings()
    if running(settings.state_dir) is not None:
        freed = int(control.call(settings, "POST", "/v1/clear")["freed_bytes"])
    else:
        freed = _clear_stopped(settings)
    if as_json:
        print_json({"success": True, "freed_bytes": freed})
    else:
        print_done(f"Freed {size_text(freed)}")


@cdn.command()
def pin(asset_ids: AssetIds, as_json: AsJson = False) -> None:
    """Fetch assets as a whole, and keep them: also when there is no network, and no room."""
    settings = load_settings()
    for asset_id in asset_ids:
        answer = control.call(settings, "POST", f"/v1/pins/{asset_id}", seconds=_PIN_SECONDS)
        if as_json:
            print_json(answer)
        else:
            print_done(f"Pinned {asset_id}, {size_text(answer['size_bytes'])}")


@cdn.command()
def unpin(asset_ids: AssetIds, as_json: AsJson = False) -> None:
    """Let pinned assets be evicted again."""
    settings = load_settings()
    for asset_id in asset_ids:
        answer = control.call(settings, "DELETE", f"/v1/pins/{asset_id}")
        if as_json:
            print_json(answer)
        else:
            print_done(f"Unpinned {asset_id}")


@cdn.command()
def run() -> None:
    """Run it in the foreground, as a service manager does."""
    # A process of its own: what the command line needs would stay in its memory.
    os.execv(sys.executable, [sys.executable, "-m", "jettythunder_cdn"])  # noqa: S606


@cdn.command("open")
def open_page(as_json: AsJson = False) -> None:
    """Open its page in the browser, signed in as `jettythunder login` is."""
    settings = load_settings()
    holder = control.start(settings)
    code = control.call(settings, "POST", "/desktop/api/codes")["code"]
    url = f"{_url(holder.port)}/#code={code}"
    if as_json:
        print_json({"success": True, "url": url})
        return
    if not webbrowser.open(url):
        print_line(f"Open {url} in a browser of this machine within a minute.")


@cdn.command()
def install(as_json: AsJson = False) -> None:
    """Install it as a service of this user, which starts with every login (systemd, or launchd)."""
    settings = load_settings()
    found = service()
    control.stop(settings)
    found.install(os.environ)
    holder = control.await_start(settings)
    if as_json:
        print_json({"success": True, "file": str(found.file), "url": _url(holder.port)})
    else:
        print_done(f"Installed as {found.file}")
        print_done(f"The desktop CDN runs at {_url(holder.port)}")


@cdn.command()
def uninstall(as_json: AsJson = False) -> None:
    """Stop the service and remove it; what is kept stays until `clear`."""
    found = service()
    found.uninstall()
    if as_json:
        print_json({"success": True, "file": str(found.file)})
    else:
        print_done(f"Removed {found.file}")


def _url(port: int) -> str:
    return f"http://localhost:{port}"


def _clear_stopped(settings: Settings) -> int:
    import asyncio  # noqa: PLC0415 - only where it does not run

    async def cleared() -> int:
        budget = Budget(settings.budget_bytes, settings.min_free_bytes)
        store = open_store(settings.folder, budget, figures=Figures(), clock=time.time)
        try:
            return await store.clear()
        finally:
            store.close()

    lock = Lock(settings.state_dir)
    lock.take(port=settings.port)
    try:
        return asyncio.run(cleared())
    finally:
        lock.release()


def _table(contents: list[dict[str, Any]]) -> Table:
    table = Table(ids("id"), figures("size"), figures("kept"), figures("used"), words(""))
    for content in contents:
        marks = [name for name in ("pinned", "verified") if content[name]]
        table.add(
            content["asset_ids"][0],
            size_text(content["size_bytes"]),
            size_text(content["allocated_bytes"]),
            age_text(datetime.fromtimestamp(content["used_at"], UTC)),
            ", ".join(marks),
        )
    return table
