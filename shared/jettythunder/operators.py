"""Operators: the tokens they call with, and what each token is good for."""

import re
from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, SecretStr, ValidationInfo
from pydantic_settings import NoDecode

from jettythunder.errors import InsufficientScope
from jettythunder.secrets import check_strength, is_live, split

_MOST_OF_ONE_NAME = 2
_NAME = re.compile(r"[A-Za-z0-9._-]{1,64}")


class Scope(StrEnum):
    """What a token is good for."""

    METRICS_READ = "metrics:read"
    OPS_READ = "ops:read"
    OPS_WRITE = "ops:write"


@dataclass(frozen=True)
class Operator:
    """Who calls: the name of the token, and its scopes."""

    name: str
    scopes: frozenset[Scope]

    def require(self, scope: Scope) -> None:
        """Refuse what the token is not good for.

        Raises:
            InsufficientScope: the token lacks the scope.
        """
        if scope not in self.scopes:
            raise InsufficientScope(
                f"The token {self.name} lacks the scope {scope}, which this call needs.",
                headers={"WWW-Authenticate": f'Bearer error="insufficient_scope", scope="{scope}"'},
            )

    def signed(self, note: str | None) -> str:
        """Who did it, for the audit: the token's name, and beside it what the caller calls itself."""
        return f"{self.name} ({note})" if note else self.name


@dataclass(frozen=True)
class OperatorToken:
    """A token, and whom it admits."""

    operator: Operator
    token: SecretStr


# Whoever has the one token that is not named may do everything.
UNNAMED = Operator("operator", frozenset(Scope))


def _parsed(given: Any) -> Any:
    if not isinstance(given, str):
        return given
    return tuple(_token(item) for item in split(given))


def _token(item: str) -> OperatorToken:
    name, _, rest = item.partition(":")
    scopes, _, token = rest.rpartition(":")
    if not _NAME.fullmatch(name) or not scopes or not token:
        raise ValueError("it must be name:scope+scope:token, or several of them separated by commas")
    try:
        wanted = frozenset(map(Scope, scopes.split("+")))
    except ValueError:
        raise ValueError(f"the scopes of {name} must be of {', '.join(Scope)}, joined by +") from None
    return OperatorToken(Operator(name, wanted), SecretStr(token))


def _checked(tokens: tuple[OperatorToken, ...], info: ValidationInfo) -> tuple[OperatorToken, ...]:
    names = [each.operator.name for each in tokens]
    for name in names:
        if names.count(name) > _MOST_OF_ONE_NAME:
            raise ValueError(f"{name} has more than two tokens, the new one and the old one")
    if len({each.token for each in tokens}) < len(tokens):
        raise ValueError("the same token occurs twice, so nobody could tell whose it is")
    if is_live(info):
        for each in tokens:
            check_strength(each.token.get_secret_value())
    return tokens


# As a setting has them: name:scope+scope:token, separated by commas.
OperatorTokens = Annotated[
    tuple[OperatorToken, ...], NoDecode, BeforeValidator(_parsed), AfterValidator(_checked)
]
