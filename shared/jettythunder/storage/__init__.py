"""The object storage: an S3 client that tries what the endpoint supports, and streams bodies."""

from jettythunder.storage.answers import ObjectMissing, PartsMissing, StoredPart
from jettythunder.storage.client import ListedPart, Storage, open_storage
from jettythunder.storage.transfers import Body

__all__ = [
    "Body",
    "ListedPart",
    "ObjectMissing",
    "PartsMissing",
    "Storage",
    "StoredPart",
    "open_storage",
]
