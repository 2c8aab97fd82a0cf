"""What the calls of operators have in common."""

from typing import Annotated

from fastapi import Header, Query

Who = Annotated[
    str,
    Header(alias="X-Operator", min_length=1, max_length=255, description="Who does it, for the audit"),
]
Limit = Annotated[int, Query(ge=1, le=1000)]
