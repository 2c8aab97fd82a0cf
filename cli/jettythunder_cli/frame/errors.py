"""Errors as all commands report them: one form for people, one for programs, one set of exit codes.

Commands raise; only `CommandLine` (main.py) catches. Exit codes: 1 for an error, 2 for a wrong use of the
command line, 130 for an interruption. What further codes of single commands mean is said in their help.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from typing import Any, NoReturn, cast

import typer
from rich.text import Text
from typer.rich_utils import rich_format_error

from jettythunder_cli.frame.output import errors, line, print_json, styled
from jettythunder_cli.frame.text import plain
from jettythunder_client.errors import ClientError

FAILED, INTERRUPTED = 1, 130


class Misuse(ClientError):
    """The command line can't be understood."""

    code, status, retryable = "usage", 400, False


class Declined(ClientError):
    """Nothing was changed."""

    code, status, retryable = "declined", 400, False


def print_error(error: ClientError, *, as_json: bool, **about: Any) -> None:
    """Print an error: a sentence to stderr, or with --json an object to stdout.

    ``about`` names what it is about, for instance ``file="a.jpg"``.
    """
    if as_json:
        print_json(error_object(error, **about))
        return
    subject = f"{next(iter(about.values()))}: " if about else ""
    errors.print(line(Text("✗", "red"), " ", styled(subject + error.detail, lines=True)), soft_wrap=True)


def error_object(error: ClientError, **about: Any) -> dict[str, Any]:
    """An error for programs."""
    found = {"success": False, **about, "code": error.code, "detail": error.detail}
    found["retryable"] = error.retryable
    if error.retry_after_seconds is not None:
        found["retry_after_seconds"] = error.retry_after_seconds
    return {**found, **{name: value for name, value in error.extra.items() if name not in found}}


def run_reporting(main: Callable[[], object], arguments: Sequence[str]) -> NoReturn:
    """Run a command line and exit with its code; an error is printed, as an object where --json is given."""
    options = arguments[: arguments.index("--")] if "--" in arguments else arguments
    as_json = "--json" in options
    try:
        code = main()
    except ClientError as error:
        if "--debug" in options:
            raise
        print_error(error, as_json=as_json)
        sys.exit(FAILED)
    except typer.TyperException as error:
        if as_json:
            print_json(error_object(Misuse(error.format_message())))
        else:
            rich_format_error(cast("Any", error))
        sys.exit(error.exit_code)
    except (KeyboardInterrupt, typer.Abort):
        sys.exit(INTERRUPTED)
    sys.exit(code if isinstance(code, int) else 0)


def confirm(question: str, *, yes: bool, as_json: bool) -> None:
    """Ask before something that can't be undone; programs say --yes.

    Raises:
        Declined: the answer was no.
    """
    if yes:
        return
    if as_json:
        raise typer.BadParameter("With --json no question is asked: add --yes.")
    if not typer.confirm(plain(question)):
        raise Declined
