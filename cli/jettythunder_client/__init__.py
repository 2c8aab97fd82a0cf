"""JettyThunder's client library: standard and accelerated uploads, downloads, quota, assets."""

from jettythunder_client.client import AsyncClient, Client
from jettythunder_client.config import Config, load_config
from jettythunder_client.download import DownloadResult
from jettythunder_client.upload import UploadOptions, UploadResult

__all__ = [
    "AsyncClient",
    "Client",
    "Config",
    "DownloadResult",
    "UploadOptions",
    "UploadResult",
    "load_config",
]
