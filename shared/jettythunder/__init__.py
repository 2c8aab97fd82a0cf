"""What every JettyThunder service shares: contracts, topology, broker, outbox, database, storage and auth."""

from importlib.metadata import version

__version__ = version("jettythunder")
