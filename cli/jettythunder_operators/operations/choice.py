"""Through the service's API where it can be reached, else directly on the servers."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator

from jettythunder_operators.api import OperatorsApi, reachable
from jettythunder_operators.operating import operator
from jettythunder_operators.operations.api import ApiOperations
from jettythunder_operators.operations.direct import direct_operations
from jettythunder_operators.operations.interface import Operations

URL_VARIABLE = "JETTYTHUNDER_OPERATIONS_URL"
DEFAULT_URL = "http://127.0.0.1:3030"


@contextlib.contextmanager
def operating() -> Iterator[Operations]:
    """The operations: through the service where it can be reached, else directly.

    Raises:
        InvalidConfiguration: DATABASE_URL or RABBITMQ_URL is needed, and not set or wrong.
    """
    url = os.environ.get(URL_VARIABLE) or DEFAULT_URL
    with reachable(
        lambda: OperatorsApi(url, url_variable=URL_VARIABLE, exact=False, silence_seconds=None),
        service="The operations service",
        instead="DATABASE_URL and RABBITMQ_URL",
    ) as api:
        if api is not None:
            yield ApiOperations(api, who=operator())
            return
    with direct_operations(who=f"direct ({operator()})") as direct:
        yield direct
