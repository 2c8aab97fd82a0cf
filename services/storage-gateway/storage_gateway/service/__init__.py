"""The use-cases; each owns its transactions."""

SOURCE = "/storage-gateway"
