"""Calls of operators: each needs a token with the right scope, and wrong guesses are limited by address."""

import time
from collections.abc import Callable, Sequence
from typing import Annotated

from fastapi import Depends, Request
from fastapi.security import HTTPBearer

from jettythunder import security_log, signing
from jettythunder.errors import InsufficientScope, RateLimited, Unauthenticated
from jettythunder.http.callers import address_of, bearer_token
from jettythunder.http.documents import raises
from jettythunder.http.guard import guarded
from jettythunder.operators import Operator, OperatorToken, Scope

_GUESSES, _WINDOW_SECONDS = 20, 60.0
_MOST_REMEMBERED = 10_000

_READING = ("GET", "HEAD")


class Guesses:
    """Wrong tokens by address, in this process; after too many an address is refused for a while."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        # By address: how many, and when they are forgotten.
        self._wrong: dict[str, tuple[int, float]] = {}

    def check(self, address: str) -> None:
        """Refuse an address that has guessed too often.

        Raises:
            RateLimited: it has.
        """
        count, until = self._wrong.get(address, (0, 0.0))
        if count >= _GUESSES and until > self._clock():
            raise RateLimited(retry_after_seconds=until - self._clock())

    def count(self, address: str) -> None:
        """Count a wrong token."""
        now = self._clock()
        count, until = self._wrong.pop(address, (0, 0.0))
        self._wrong[address] = (count + 1, until) if until > now else (1, now + _WINDOW_SECONDS)
        if len(self._wrong) > _MOST_REMEMBERED:
            del self._wrong[next(iter(self._wrong))]


class OperatorAccess:
    """Admits operators by their tokens."""

    def __init__(
        self, tokens: Sequence[OperatorToken], *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._tokens = [(each.token.get_secret_value(), each.operator) for each in tokens]
        self._guesses = Guesses(clock)
        # An address from which others guess stays open to tokens that came from it before.
        self._lately_right: dict[tuple[str, Operator], None] = {}

    def admit(self, request: Request, scope: Scope) -> Operator:
        """Who calls, with a token that is good for ``scope``.

        Raises:
            Unauthenticated: the token is missing or wrong.
            InsufficientScope: it lacks the scope.
            RateLimited: too many wrong tokens came from the address.
        """
        given, address = bearer_token(request), address_of(request)
        if not given:
            raise Unauthenticated
        operator = self._owner_of(given)
        if operator is None or (address, operator) not in self._lately_right:
            self._guesses.check(address)
        if operator is None:
            self._guesses.count(address)
            raise Unauthenticated
        self._remember(address, operator)
        security_log.identify("operator", name=operator.name)
        operator.require(scope)
        return operator

    def _owner_of(self, given: str) -> Operator | None:
        owners = (operator for token, operator in self._tokens if signing.matches(given, token))
        return next(owners, None)

    def _remember(self, address: str, operator: Operator) -> None:
        self._lately_right.pop((address, operator), None)
        self._lately_right[address, operator] = None
        if len(self._lately_right) > _MOST_REMEMBERED:
            del self._lately_right[next(iter(self._lately_right))]


_refuses = raises(Unauthenticated, InsufficientScope, RateLimited)


def _admit(request: Request, scope: Scope) -> None:
    access: OperatorAccess = request.app.state.operator_access
    security_log.identify("operator")
    request.state.operator = access.admit(request, scope)


@_refuses
async def _check(request: Request) -> None:
    _admit(request, Scope.OPS_READ if request.method in _READING else Scope.OPS_WRITE)


@_refuses
async def _check_reading(request: Request) -> None:
    _admit(request, Scope.OPS_READ)


@_refuses
async def _check_metrics(request: Request) -> None:
    _admit(request, Scope.METRICS_READ)


async def _operator(request: Request) -> Operator:
    operator: Operator = request.state.operator
    return operator


# GET needs ops:read, every other method ops:write.
OperatorRoute = guarded(_check)
# Calls that change nothing though they are no GET, or that check further scopes themselves.
ReadingRoute = guarded(_check_reading)
MetricsRoute = guarded(_check_metrics)

CurrentOperator = Annotated[Operator, Depends(_operator)]

# What OpenAPI says about the token; it is checked by the routes above. A route that is none of them fails.
OPERATOR_SECURITY = [
    Depends(HTTPBearer(auto_error=False, scheme_name="OpsToken", description="An operator's token")),
    Depends(_operator),
]
