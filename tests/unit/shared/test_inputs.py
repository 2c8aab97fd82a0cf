"""Input is read as its schema says."""

from datetime import date
from typing import Annotated

import pytest
from pydantic import BaseModel, Field, ValidationError

from jettythunder.inputs import JSON_NUMBER, Day, Moment


class Given(BaseModel):
    """One field of each kind."""

    count: Annotated[int, Field(ge=1), JSON_NUMBER] = 1
    day: Day = date(2026, 1, 1)
    at: Moment | None = None


@pytest.mark.parametrize(
    "value", [{"count": 5}, {"count": 5.0}, {"day": "2026-01-01"}, {"at": "2026-01-01T00:00Z"}]
)
def test_what_the_schema_allows_is_taken(value: dict[str, object]) -> None:
    Given.model_validate(value)


@pytest.mark.parametrize(
    "value",
    [
        *({"count": given} for given in (True, "5", 0, 1.5)),
        *({"day": given} for given in (0, "0", 1.5, "1e3", "-1")),
        *({"at": given} for given in (0, "0.5", "1700000000", "2026-01-01T00:00:00", True)),
    ],
)
def test_what_it_does_not_is_refused(value: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        Given.model_validate(value)


def test_the_limits_of_a_number_stand_in_the_schema() -> None:
    assert Given.model_json_schema()["properties"]["count"]["minimum"] == 1
