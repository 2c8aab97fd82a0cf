"""The documents with parts that are generated from the code and the schema."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from jettythunder.broker.topology import installed_services
from jettythunder_dev.capacity import Load, compared
from jettythunder_dev.layout import REPOSITORY
from jettythunder_dev.reference.errors import client_error_table, service_error_table
from jettythunder_dev.reference.markdown import table, with_parts
from jettythunder_dev.reference.ownership import read_ownership
from jettythunder_dev.reference.picture import picture_of_messages, picture_of_tables
from jettythunder_dev.reference.settings import setting_table
from jettythunder_dev.reference.tables import function_table, owner_table, queue_table, sender_table
from jettythunder_dev.schema import SCHEMA

_DOCS = REPOSITORY / "docs"


def current_documents() -> Iterator[tuple[Path, str]]:
    """Each document's path, and its text with the parts as the code is now."""
    services = installed_services()
    ownership = read_ownership(SCHEMA.read_text(encoding="utf-8"))
    parts = {
        "architecture.md": {
            "picture of messages": picture_of_messages(services),
            "picture of tables": picture_of_tables(services, ownership),
            "queues": queue_table(services),
            "senders": sender_table(services),
            "tables": owner_table(ownership),
            "functions": function_table(ownership),
        },
        "deployment.md": {"capacity": table(("", "today", "ten times as much"), compared(Load()))},
        "errors.md": {"service errors": service_error_table(), "client errors": client_error_table()},
        "settings.md": {"settings": setting_table()},
    }
    for name, generated in parts.items():
        path = _DOCS / name
        yield path, with_parts(path.read_text(encoding="utf-8"), generated)


def write_documents() -> list[Path]:
    """Write the documents whose parts differ from the code; which those were."""
    written = []
    for path, text in current_documents():
        if path.read_text(encoding="utf-8") != text:
            path.write_text(text, encoding="utf-8")
            written.append(path)
    return written
