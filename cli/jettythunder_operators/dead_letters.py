"""`jettythunder dead-letters`: what could not be processed, and what to do about it."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated, Any

import click
import typer
from pydantic import ValidationError
from rich.progress import SpinnerColumn, TextColumn, TimeElapsedColumn

from jettythunder_cli.frame.errors import confirm
from jettythunder_cli.frame.options import AsJson
from jettythunder_cli.frame.output import print_document, print_json, print_line, progress, styled
from jettythunder_cli.frame.table import Table, figures, ids, words
from jettythunder_cli.frame.text import age_text, count_text
from jettythunder_operators.operating import pace
from jettythunder_operators.operations import operating
from operations.dead_letters import DeadLetter, DeadLetterGroup, Selection

app = typer.Typer(
    help="Look at messages that could not be processed; retry, mend or discard them. "
    "Calls the operations service; where it can't be reached, it works on DATABASE_URL and RABBITMQ_URL.",
    no_args_is_help=True,
)

Consumer = Annotated[str | None, typer.Option("--consumer", help="The consumer, by its queue's name.")]
MessageIds = Annotated[list[str] | None, typer.Argument(help="Ids of messages.")]
ErrorType = Annotated[str | None, typer.Option("--error", help="The exception's type, as `list` shows it.")]
Fingerprint = Annotated[str | None, typer.Option("--fingerprint", help="A group's, as `list` shows it.")]
OfType = Annotated[str | None, typer.Option("--type", help="The message's type.")]
Everything = Annotated[bool, typer.Option("--all", help="All dead letters there are.")]
Yes = Annotated[bool, typer.Option("--yes", help="Don't ask.")]


@app.command("list")
def list_groups(consumer: Consumer = None, as_json: AsJson = False) -> None:
    """List dead letters, grouped by consumer, exception and where it was raised."""
    with operating() as operations:
        groups = operations.dead_letter_groups(consumer)
    if as_json:
        print_json([group.model_dump(mode="json") for group in groups], indent=2)
        return
    if not groups:
        print_line("No dead letters.")
        return
    group_table(groups).print()
    print_line()
    example_table(groups).print()


def group_table(groups: list[DeadLetterGroup]) -> Table:
    """How many dead letters there are of each consumer and exception, and since when."""
    table = Table(
        figures("count"),
        words("consumer"),
        words("error"),
        ids("fingerprint"),
        figures("oldest"),
        figures("newest"),
    )
    for group in groups:
        table.add(
            f"{group.count:,}",
            group.consumer,
            group.error_type.rpartition(".")[2],
            group.fingerprint,
            age_text(group.oldest_at),
            age_text(group.newest_at),
        )
    return table


def example_table(groups: list[DeadLetterGroup]) -> Table:
    """One message of each group, and what its exception said."""
    table = Table(ids("fingerprint"), ids("example"), words("message"))
    for group in groups:
        table.add(group.fingerprint, group.example_id, group.error_message)
    return table


@app.command()
def show(message_id: str, consumer: Consumer = None, as_json: AsJson = False) -> None:
    """Show one dead letter with its reason."""
    with operating() as operations:
        letter = operations.dead_letter(message_id, consumer=consumer)
    if as_json:
        print_json(letter.model_dump(mode="json"), indent=2)
        return
    for name, value in letter.model_dump(exclude={"body"}).items():
        print_line(styled(f"{name:<16}", "dim"), f" {value}")
    try:
        print_document(json.loads(letter.body))
    except json.JSONDecodeError:
        print_line(styled(letter.body, lines=True))


@app.command()
def retry(
    message_ids: MessageIds = None,
    consumer: Consumer = None,
    error_type: ErrorType = None,
    fingerprint: Fingerprint = None,
    of_type: OfType = None,
    everything: Everything = False,
    rate: Annotated[
        str | None, typer.Option("--rate", help="Messages a second at most, such as 50/s.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Give dead letters back to their consumer, with their attempts counted anew: one, a group, or all."""
    selection = _selection(message_ids, consumer, error_type, fingerprint, of_type, everything)
    messages_per_second = pace(rate)
    with operating() as operations, _counting("retried", hidden=as_json) as on_progress:
        count = operations.retry(selection, rate=messages_per_second, on_progress=on_progress)
    _print_count(count, "retried", as_json=as_json)


@app.command("edit-and-retry")
def edit_and_retry(
    message_id: str,
    consumer: Consumer = None,
    changes: Annotated[
        list[str] | None,
        typer.Option(
            "--set", help="A field and its new JSON value, such as data.tier='\"pro\"'; repeatable."
        ),
    ] = None,
    body_file: Annotated[
        Path | None,
        typer.Option("--body", exists=True, dir_okay=False, help="A file with the whole new body."),
    ] = None,
    yes: Yes = False,
    as_json: AsJson = False,
) -> None:
    """Give a dead letter back with a mended body: by --set, from a --body file, or in your $EDITOR.

    The new body must be an event that the consumer takes; what it was before and is now is audited.
    """
    if changes and body_file:
        raise typer.BadParameter("Give --set or --body, not both.")
    with operating() as operations:
        letter = operations.dead_letter(message_id, consumer=consumer)
        body = _new_body(letter, changes, body_file, as_json=as_json)
        confirm(f"Retry {message_id} on {letter.consumer} with the new body?", yes=yes, as_json=as_json)
        operations.edit_and_retry(message_id, body, consumer=letter.consumer)
    _print_count(1, "retried", as_json=as_json)


def _new_body(letter: DeadLetter, changes: list[str] | None, body_file: Path | None, *, as_json: bool) -> str:
    if body_file is not None:
        return body_file.read_text()
    if changes:
        return _changed(letter.body, changes)
    if as_json:
        raise typer.BadParameter("With --json no editor is opened: give --set or --body.")
    return click.edit(_pretty(letter.body), extension=".json") or letter.body


@app.command()
def discard(
    why: Annotated[str, typer.Option("--why", help="The reason, for the audit.")],
    message_ids: MessageIds = None,
    consumer: Consumer = None,
    error_type: ErrorType = None,
    fingerprint: Fingerprint = None,
    of_type: OfType = None,
    everything: Everything = False,
    yes: Yes = False,
    as_json: AsJson = False,
) -> None:
    """Remove dead letters. Events stay in the event log for as long as it keeps them; commands are gone."""
    selection = _selection(message_ids, consumer, error_type, fingerprint, of_type, everything)
    if not why.strip():
        raise typer.BadParameter("Say --why.")
    confirm("Discard these dead letters?", yes=yes, as_json=as_json)
    with operating() as operations, _counting("discarded", hidden=as_json) as on_progress:
        count = operations.discard(selection, why=why, on_progress=on_progress)
    _print_count(count, "discarded", as_json=as_json)


@contextlib.contextmanager
def _counting(done: str, *, hidden: bool) -> Iterator[Callable[[int], None]]:
    """Show how many messages were settled so far."""
    columns = (SpinnerColumn(), TextColumn("{task.completed:.0f} " + done), TimeElapsedColumn())
    with progress(*columns, hidden=hidden) as bar:
        task = bar.add_task("", total=None)
        yield lambda count: bar.update(task, completed=count)


def _selection(
    message_ids: list[str] | None,
    consumer: str | None,
    error_type: str | None,
    fingerprint: str | None,
    of_type: str | None,
    everything: bool,
) -> Selection:
    try:
        return Selection(
            ids=tuple(message_ids or ()),
            consumer=consumer,
            error_type=error_type,
            fingerprint=fingerprint,
            type=of_type,
            everything=everything,
        )
    except ValidationError:
        raise typer.BadParameter(
            "Say which dead letters: ids, --consumer, --error, --fingerprint or --type; or --all alone."
        ) from None


def _print_count(count: int, done: str, *, as_json: bool) -> None:
    if as_json:
        print_json({done: count})
    else:
        print_line(f"{count_text(count, 'message')} {done}.")


def _pretty(body: str) -> str:
    try:
        return json.dumps(json.loads(body), indent=2, ensure_ascii=False)
    except json.JSONDecodeError:
        return body


def _changed(body: str, changes: list[str]) -> str:
    """The body with some fields replaced."""
    try:
        changed: Any = json.loads(body)
    except json.JSONDecodeError:
        raise typer.BadParameter("The body is not JSON, so no field can be set: give --body.") from None
    for change in changes:
        path, equals, value = change.partition("=")
        *parents, last = path.split(".")
        target = changed
        try:
            for name in parents:
                target = target[name]
            target[last] = json.loads(value)
        except (KeyError, TypeError, ValueError):
            raise typer.BadParameter(
                f"{change!r}: give field=value with a field that is there and a JSON value, for instance "
                "data.tier='\"pro\"'."
            ) from None
        if not equals:
            raise typer.BadParameter(f"{change!r} has no value.")
    return json.dumps(changed)
