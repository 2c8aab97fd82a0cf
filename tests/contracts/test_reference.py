"""The generated parts of the documentation are current, and ownership in it is what PostgreSQL enforces."""

from pathlib import Path

import pytest

from jettythunder.broker.topology import installed_services
from jettythunder_dev.layout import REPOSITORY
from jettythunder_dev.reference.documents import current_documents
from jettythunder_dev.reference.markdown import with_parts
from jettythunder_dev.reference.ownership import SHARED, Table, read_ownership
from jettythunder_dev.schema import SCHEMA
from jettythunder_dev.services import service_kinds

OWNERSHIP = read_ownership(SCHEMA.read_text())
SERVICES = {service.service for service in installed_services()}


@pytest.mark.parametrize(
    ("path", "text"), [pytest.param(path, text, id=path.name) for path, text in current_documents()]
)
def test_the_generated_parts_are_current(path: Path, text: str) -> None:
    assert path.read_text() == text, "write them anew with `make docs`"


@pytest.mark.parametrize("table", OWNERSHIP.tables, ids=lambda table: table.name)
def test_only_its_owner_writes_a_table_and_others_named_columns_at_most(table: Table) -> None:
    assert table.owner in SERVICES | {SHARED}
    if table.owner != SHARED:
        assert all(table.others.values()), "another service than the owner may write every column"


def test_what_services_call_across_owners_has_a_version() -> None:
    assert all(function.name[-3:-1] == "_v" for function in OWNERSHIP.functions)
    assert all(function.owner in SERVICES | {SHARED} for function in OWNERSHIP.functions)


def test_the_picture_in_the_readme_has_every_service() -> None:
    picture = (REPOSITORY / "README.md").read_text().split("```mermaid")[1].split("```")[0]
    assert {service for service in SERVICES if service in picture} == SERVICES


def test_every_setting_says_what_it_means() -> None:
    silent = {
        name
        for kind in service_kinds()
        for name, field in kind.settings_class().model_fields.items()
        if not field.description
    }
    assert silent == set()


def test_a_part_without_its_marks_is_refused() -> None:
    with pytest.raises(ValueError, match="no marks for the generated part queues"):
        with_parts("<!-- generated: tables -->", {"queues": "…"})
