"""The table of all error codes: what a caller sees, and in which folders each error is raised."""

from __future__ import annotations

import ast
import importlib
import inspect
from collections.abc import Iterator
from pathlib import Path

from jettythunder_dev.layout import REPOSITORY
from jettythunder_dev.reference.markdown import code, table

_CLIENT = (
    "jettythunder_client.errors",
    "jettythunder_cli.frame.errors",
    "jettythunder_cli.main",
    "jettythunder_operators.api",
    "jettythunder_operators.database",
    "jettythunder_operators.usage.files",
)


def service_error_table() -> str:
    """The errors that services answer with."""
    services = [f"{package}.errors" for package in _service_packages()]
    places = _places()
    rows = [
        (*_figures(error), "; ".join(places.get(error.__name__, ())))
        for error in _errors("jettythunder.errors", *services)
    ]
    return table(("code", "status", "retry", "sentence", "raised in"), rows)


def client_error_table() -> str:
    """The errors that the client and the commands find by themselves."""
    return table(("code", "status", "retry", "sentence"), map(_figures, _errors(*_CLIENT)))


def _figures(error: type[Exception]) -> tuple[str, str, str, str]:
    sentence = (inspect.getdoc(error) or "").partition("\n\n")[0]
    figures = vars(error)
    status, retryable = getattr(error, "status", 0), getattr(error, "retryable", False)
    return code(figures["code"]), str(status), "yes" if retryable else "no", " ".join(sentence.split())


def _errors(*modules: str) -> list[type[Exception]]:
    """The errors that are defined in the modules and have a code of their own, by code."""
    found = [
        kind
        for module in modules
        for _, kind in inspect.getmembers(importlib.import_module(module), inspect.isclass)
        if kind.__module__ == module and issubclass(kind, Exception) and "code" in vars(kind)
    ]
    return sorted(found, key=lambda kind: str(vars(kind)["code"]))


def _places() -> dict[str, list[str]]:
    """By an error's name: the owners and subjects that make one, such as `storage-gateway: uploads`."""
    found: dict[str, dict[str, set[str]]] = {}
    for owner, subject, path in _sources():
        for name in _made_in(ast.parse(path.read_text(encoding="utf-8"))):
            found.setdefault(name, {}).setdefault(owner, set()).add(subject)
    return {
        name: [f"{owner}: {', '.join(sorted(subjects))}" for owner, subjects in sorted(owners.items())]
        for name, owners in found.items()
    }


def _made_in(tree: ast.AST) -> Iterator[str]:
    """The names that are called, raised, or asked for their code."""
    for node in ast.walk(tree):
        match node:
            case ast.Call(func=ast.Name(id=name)) | ast.Raise(exc=ast.Name(id=name)):
                yield name
            case ast.Attribute(value=ast.Name(id=name), attr="code"):
                yield name


def _sources() -> Iterator[tuple[str, str, Path]]:
    folders = {"shared": REPOSITORY / "shared" / "jettythunder"}
    folders |= {package.replace("_", "-"): folder for package, folder in _service_packages().items()}
    for owner, folder in folders.items():
        for path in sorted(folder.rglob("*.py")):
            yield owner, path.relative_to(folder).parts[0].removesuffix(".py"), path


def _service_packages() -> dict[str, Path]:
    """The services' packages, and their folders."""
    return {path.parent.name: path.parent for path in sorted((REPOSITORY / "services").glob("*/*/errors.py"))}
