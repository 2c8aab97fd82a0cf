"""The HTTP side that every service has."""

from jettythunder.http.app import create_app
from jettythunder.http.documents import raises
from jettythunder.http.guard import Route
from jettythunder.http.operators import OPERATOR_SECURITY, CurrentOperator, OperatorRoute, ReadingRoute
from jettythunder.http.problems import problem
from jettythunder.http.provided import provided

__all__ = [
    "OPERATOR_SECURITY",
    "CurrentOperator",
    "OperatorRoute",
    "ReadingRoute",
    "Route",
    "create_app",
    "problem",
    "provided",
    "raises",
]
