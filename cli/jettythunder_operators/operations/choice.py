"""Through the service's API where it can be reached, else directly on the servers."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator

from jettythunder_cli.frame.output import print_warning
from jettythunder_operators.api import TOKEN_VARIABLE, NoOperatorsToken, OperatorsApi
from jettythunder_operators.operating import operator
from jettythunder_operators.operations.api import ApiOperations
from jettythunder_operators.operations.direct import direct_operations
from jettythunder_operators.operations.interface import Operations

URL_VARIABLE = "JETTYTHUNDER_OPERATIONS_URL"
DEFAULT_URL = "http://127.0.0.1:3030"
_REACHED_WITHIN_SECONDS = 3.0


@contextlib.contextmanager
def operating() -> Iterator[Operations]:
    """The operations: through the service where it can be reached, else directly.

    Raises:
        InvalidConfiguration: DATABASE_URL or RABBITMQ_URL is needed, and not set or wrong.
    """
    url = os.environ.get(URL_VARIABLE) or DEFAULT_URL
    try:
        api = OperatorsApi(url, url_variable=URL_VARIABLE, exact=False, silence_seconds=None)
    except NoOperatorsToken:
        reason = f"{TOKEN_VARIABLE} is not set"
    else:
        with api:
            if api.answers(within_seconds=_REACHED_WITHIN_SECONDS):
                yield ApiOperations(api, who=operator())
                return
        reason = f"The operations service at {url} can't be reached"
    print_warning(f"{reason}: working directly on DATABASE_URL and RABBITMQ_URL.")
    with direct_operations(who=operator()) as direct:
        yield direct
