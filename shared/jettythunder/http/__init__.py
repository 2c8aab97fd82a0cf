"""The HTTP side that every service has."""

from jettythunder.http.app import create_app, ops_only
from jettythunder.http.documents import raises
from jettythunder.http.guard import Route
from jettythunder.http.problems import problem
from jettythunder.http.provided import provided

__all__ = ["Route", "create_app", "ops_only", "problem", "provided", "raises"]
