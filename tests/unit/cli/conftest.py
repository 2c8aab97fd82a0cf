"""What the tests of the command line share."""

from __future__ import annotations

from pathlib import Path

import pytest


@pytest.fixture
def nobody(tmp_path: Path) -> dict[str, str]:
    """The environment of somebody who has no credentials and no servers."""
    names = (
        "JETTYTHUNDER_API_KEY",
        "JETTYTHUNDER_API_SECRET",
        "JETTYTHUNDER_API_URL",
        "JETTYTHUNDER_OPS_TOKEN",
        "DATABASE_URL",
        "RABBITMQ_URL",
    )
    return {**dict.fromkeys(names, ""), "JETTYTHUNDER_CONFIG": str(tmp_path / "config.toml")}
