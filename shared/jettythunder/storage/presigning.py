"""URLs that let their bearer do one thing with one object, for a while."""

from collections.abc import Mapping
from urllib.parse import quote

from botocore.auth import S3SigV4QueryAuth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from jettythunder.settings import StorageSettings

_PRESIGNED_SECONDS = 3600


class Presigner:
    """Signs path-style URLs with SigV4, by botocore's signer.

    The client's own generate_presigned_url resolves the endpoint by rules each time, which costs more than
    all the rest of storing a small file.
    """

    def __init__(self, settings: StorageSettings) -> None:
        self._endpoint = settings.lyve_endpoint.rstrip("/")
        self._region = settings.lyve_region
        self.bucket = settings.lyve_bucket_name
        self._credentials = Credentials(
            settings.lyve_access_key_id, settings.lyve_secret_access_key.get_secret_value()
        )

    def presign(
        self,
        method: str,
        key: str,
        *,
        query: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
        seconds: int = _PRESIGNED_SECONDS,
    ) -> str:
        """A URL for one request with these headers, good for ``seconds``."""
        request = AWSRequest(
            method=method,
            url=f"{self._endpoint}/{self.bucket}/{quote(key, safe='/~')}",
            params=dict(query or {}),
            headers=dict(headers or {}),
        )
        S3SigV4QueryAuth(self._credentials, "s3", self._region, expires=seconds).add_auth(request)
        return str(request.url)
