"""What all services share: contracts, broker, outbox, database, object storage, HTTP and lifecycle."""

from importlib.metadata import version

__version__ = version("jettythunder")
