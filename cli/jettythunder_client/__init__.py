"""JettyThunder's client library: standard and accelerated uploads, downloads, quota, assets."""

from jettythunder_client.client import AsyncClient, Client
from jettythunder_client.config import Config, load_config
from jettythunder_client.download import DownloadResult
from jettythunder_client.errors import ApiError, ClientError
from jettythunder_client.folder import Selection
from jettythunder_client.many import Folder, Outcome
from jettythunder_client.upload import UploadOptions, UploadResult

__all__ = [
    "ApiError",
    "AsyncClient",
    "Client",
    "ClientError",
    "Config",
    "DownloadResult",
    "Folder",
    "Outcome",
    "Selection",
    "UploadOptions",
    "UploadResult",
    "load_config",
]
