"""What images are built from: the pins of everything else, and no other."""

import re

import pytest

from jettythunder_dev.layout import REPOSITORY

IMAGES = REPOSITORY / "deploy" / "images"


def pins(path: str) -> dict[str, str]:
    """The pinned versions of a lock file."""
    text = (REPOSITORY / path).read_text()
    return dict(re.findall(r"^([A-Za-z0-9_.-]+)(?:\[[^\]]*\])?==(\S+)", text, re.MULTILINE))


@pytest.mark.parametrize("lock", ["services-requirements.lock", "client-requirements.lock"])
def test_images_have_the_pins_that_are_tested(lock: str) -> None:
    tested = pins("requirements.lock")
    of_image = pins(f"deploy/images/{lock}")
    assert of_image
    assert {name: tested.get(name) for name in of_image} == of_image


def test_images_have_nothing_for_development() -> None:
    assert not {"pytest", "mypy", "ruff", "uv"} & pins("deploy/images/services-requirements.lock").keys()
