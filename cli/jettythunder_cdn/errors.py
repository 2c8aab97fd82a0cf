"""What can go wrong in the desktop CDN; the HTTP API answers with the same codes."""

from jettythunder_client.errors import ClientError


class AlreadyRunning(ClientError):
    """A desktop CDN runs with this folder already. Stop it with `jettythunder cdn stop`."""

    code, status, retryable = "cdn_already_running", 409, False


class NotRunning(ClientError):
    """The desktop CDN does not run. Start it with `jettythunder cdn start`."""

    code, status, retryable = "cdn_not_running", 503, True


class DidNotStart(ClientError):
    """The desktop CDN did not start. Run `jettythunder cdn run` to see why."""

    code, status, retryable = "cdn_did_not_start", 500, True


class PortTaken(ClientError):
    """Another program listens on the desktop CDN's port."""

    code, status, retryable = "cdn_port_taken", 409, False


class StoreUnusable(ClientError):
    """The cache's index can't be opened. Make room on the disk, or set JETTYTHUNDER_CDN_DIR."""

    code, status, retryable = "cdn_store_unusable", 500, True


class NoServiceManager(ClientError):
    """This system has neither systemd nor launchd: start it with `jettythunder cdn start`."""

    code, status, retryable = "no_service_manager", 400, False


class HostRefused(ClientError):
    """The Host header must name this machine as localhost, with the desktop CDN's port."""

    code, status, retryable = "host_refused", 421, False


class OriginRefused(ClientError):
    """Pages of this origin may not use the desktop CDN. Allow it with JETTYTHUNDER_CDN_ORIGINS."""

    code, status, retryable = "origin_refused", 403, False


class TokenMissing(ClientError):
    """Send this machine's token, or use a signed link."""

    code, status, retryable = "cdn_token_missing", 401, False


class LinkEnded(ClientError):
    """The link has expired. Ask the gateway for another one."""

    code, status, retryable = "link_expired", 403, False


class BadRequest(ClientError):
    """The request can't be understood."""

    code, status, retryable = "bad_request", 400, False


class NotFound(ClientError):
    """There is nothing of this name."""

    code, status, retryable = "not_found", 404, False


class Refused(ClientError):
    """The gateway refused access to the asset."""

    code, status, retryable = "access_refused", 403, False

    def __init__(self, detail: str | None = None, *, status: int = 403, code: str | None = None) -> None:
        super().__init__(detail)
        self.status = status
        if code is not None:
            self.code = code

    @property
    def is_gone(self) -> bool:
        """Whether the asset itself is no longer there, whoever asks."""
        return self.status in (404, 410)

    @property
    def is_of_the_credential(self) -> bool:
        """Whether who asked may read nothing else either: the key was revoked, or the account suspended."""
        return self.status in (401, 403)

    @property
    def ends_the_right(self) -> bool:
        """Whether what was granted before no longer holds; a quota that is used up (402) leaves it."""
        return self.status != 402


class UpstreamUnavailable(ClientError):
    """The gateway can't be reached, and the asset is not kept here as a whole."""

    code, status, retryable = "upstream_unavailable", 503, True


class UpstreamMisbehaved(ClientError):
    """The gateway did not answer with the range that was asked for."""

    code, status, retryable = "upstream_misbehaved", 502, True


class Changed(ClientError):
    """The asset's entity tag has changed while it was read. Read it again."""

    code, status, retryable = "asset_changed", 409, True


class RangeNotSatisfiable(ClientError):
    """The range lies outside the asset."""

    code, status, retryable = "range_not_satisfiable", 416, False

    def __init__(self, size_bytes: int) -> None:
        super().__init__()
        self.size_bytes = size_bytes


class PreconditionFailed(ClientError):
    """The asset's entity tag is another."""

    code, status, retryable = "precondition_failed", 412, False


class ReaderStalled(ClientError):
    """The reader took no bytes for too long."""

    code, status, retryable = "reader_stalled", 408, False


class OtherAccount(ClientError):
    """This machine is signed in as another account. Sign out there first, or run `jettythunder logout`."""

    code, status, retryable = "other_account", 403, False


class NoSpace(ClientError):
    """The disk has no room for this file while it is sent."""

    code, status, retryable = "no_space", 507, False


class WrongOffset(ClientError):
    """The file is received up to another place: go on from there."""

    code, status, retryable = "wrong_offset", 409, True
