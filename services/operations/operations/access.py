"""What the calls of operators have in common."""

from typing import Annotated

from fastapi import Depends, Header, Query

from jettythunder.http import CurrentOperator

Note = Annotated[
    str | None,
    Header(
        alias="X-Operator",
        min_length=1,
        max_length=255,
        description="What the caller calls itself; the audit has it beside the token's name",
    ),
]
Limit = Annotated[int, Query(ge=1, le=1000)]


async def _who(operator: CurrentOperator, note: Note = None) -> str:
    return operator.signed(note)


Who = Annotated[str, Depends(_who)]
