"""The object storage: an S3 client that probes what the endpoint supports, and streams bodies."""

from jettythunder.storage.answers import ObjectMissing, PartsMissing, StoredPart
from jettythunder.storage.client import Capabilities, ListedPart, Storage, open_storage
from jettythunder.storage.transfers import Body

__all__ = [
    "Body",
    "Capabilities",
    "ListedPart",
    "ObjectMissing",
    "PartsMissing",
    "Storage",
    "StoredPart",
    "open_storage",
]
