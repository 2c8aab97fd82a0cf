"""What can go wrong, as the client says it: one base class, and what a service answered."""

from typing import Any


class ClientError(Exception):
    """Something went wrong on the client's side.

    The class docstring is the default sentence. ``code`` is stable, ``status`` the HTTP status that it
    corresponds to, ``retryable`` says whether the same call may succeed later, ``retry_after_seconds`` how
    long to wait at least, and ``extra`` holds further facts for programs.
    """

    code: str = "client_error"
    status: int = 500
    retryable: bool = False

    def __init__(
        self, detail: str | None = None, *, retry_after_seconds: float | None = None, **extra: Any
    ) -> None:
        self.detail = detail or (type(self).__doc__ or "").strip()
        self.retry_after_seconds = retry_after_seconds
        self.extra = extra
        super().__init__(self.detail)


class ApiError(ClientError):
    """A service answered with an error; its ``code`` is one of the API's error table."""

    def __init__(
        self,
        detail: str,
        *,
        code: str,
        status: int,
        retryable: bool,
        retry_after_seconds: float | None = None,
        **extra: Any,
    ) -> None:
        super().__init__(detail, retry_after_seconds=retry_after_seconds, **extra)
        self.code, self.status, self.retryable = code, status, retryable


class NotLoggedIn(ClientError):
    """No credentials: run `jettythunder login`, or set JETTYTHUNDER_API_KEY and JETTYTHUNDER_API_SECRET."""

    code, status, retryable = "not_logged_in", 401, False


class InvalidConfiguration(ClientError):
    """A setting of the client has a value that is not allowed."""

    code, status, retryable = "invalid_configuration", 400, False


class Unreachable(ClientError):
    """The service can't be reached. Check the address and the network, then try again."""

    code, status, retryable = "unreachable", 503, True


class ProxyRefused(ClientError):
    """The proxy wants other credentials: check user and password in HTTP_PROXY, HTTPS_PROXY or ALL_PROXY."""

    code, status, retryable = "proxy_refused", 407, False


class ClockSkewed(ClientError):
    """This machine's clock differs from the service's. Set it, and try again."""

    code, status, retryable = "clock_skewed", 403, False


class AssetNotFound(ClientError):
    """The account has no such asset."""

    code, status, retryable = "asset_not_found", 404, False


class LinkExpired(ClientError):
    """The object storage refused the link, which has most likely expired."""

    code, status, retryable = "link_expired", 403, False


class FileUnreadable(ClientError):
    """The file can't be read."""

    code, status, retryable = "file_unreadable", 400, False


class FileUnwritable(ClientError):
    """The file can't be written."""

    code, status, retryable = "file_unwritable", 400, False


class FileExists(ClientError):
    """There is a file of this name already, and it was left as it is."""

    code, status, retryable = "file_exists", 409, False


class FileChanged(ClientError):
    """The file has changed since its upload began. Upload it anew, without --resume."""

    code, status, retryable = "file_changed", 409, False


class TransferStalled(ClientError):
    """No edge has taken a byte for too long. What was acknowledged is kept: go on with --resume."""

    code, status, retryable = "transfer_stalled", 503, True


class NoEdges(ClientError):
    """No edge takes chunks at the moment."""

    code, status, retryable = "no_edges", 503, True


class DownloadCorrupt(ClientError):
    """The bytes received are not the asset's. They were deleted; download it again."""

    code, status, retryable = "download_corrupt", 502, True
