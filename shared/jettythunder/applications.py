"""The installed services that serve HTTP, by their names.

A distribution names the ASGI application of each, `module:name`, in an entry point of the group
`jettythunder.applications`.
"""

from importlib.metadata import entry_points

GROUP = "jettythunder.applications"


def applications() -> dict[str, str]:
    """Where each service's application is, as :mod:`jettythunder.http.serve` takes it."""
    return {point.name: point.value for point in sorted(entry_points(group=GROUP))}
