"""Every answer is one that the OpenAPI document lists, and all that Schemathesis knows to check holds."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.conformance.apis import APIS, run_schemathesis
from tests.support.infrastructure import Services

EXAMPLES = 5
MANY_EXAMPLES = 500


@pytest.mark.timeout(600)
@pytest.mark.parametrize("name", APIS)
def test_all_checks_hold(services: Services, access: dict[str, str], tmp_path: Path, name: str) -> None:
    outcome = run_schemathesis(
        services, APIS[name], credentials=access, max_examples=EXAMPLES, report=tmp_path / "report.json"
    )
    assert outcome.succeeded, outcome.output


@pytest.mark.deep
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("name", APIS)
def test_all_checks_hold_for_many_examples(
    services: Services, access: dict[str, str], tmp_path: Path, name: str
) -> None:
    outcome = run_schemathesis(
        services, APIS[name], credentials=access, max_examples=MANY_EXAMPLES, report=tmp_path / "report.json"
    )
    assert outcome.succeeded, outcome.output
