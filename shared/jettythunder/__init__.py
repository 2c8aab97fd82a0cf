"""What every JettyThunder service shares: contracts, topology, broker, outbox, database, storage and auth."""

__version__ = "0.1.0"
