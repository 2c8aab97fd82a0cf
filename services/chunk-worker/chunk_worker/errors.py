"""Errors that only chunk-workers raise."""

from jettythunder.errors import JettyThunderError


class ChunkSourceUnavailable(JettyThunderError):
    """The gateway that holds the chunk can't be reached. Nothing was stored; the call is safe to repeat."""

    code, status, retryable = "chunk_source_unavailable", 503, True


class AssetObjectMissing(JettyThunderError):
    """The object storage does not have the asset's object."""

    code, status, retryable = "object_missing", 404, False
