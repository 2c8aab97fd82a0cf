"""What can go wrong on the client's side; what a service answers with is in jettythunder.errors."""

from jettythunder.errors import JettyThunderError


class NotLoggedIn(JettyThunderError):
    """No credentials: run `jettythunder login`, or set JETTYTHUNDER_API_KEY and JETTYTHUNDER_API_SECRET."""

    code, status, retryable = "not_logged_in", 401, False


class InvalidConfiguration(JettyThunderError):
    """A setting of the client has a value that is not allowed."""

    code, status, retryable = "invalid_configuration", 400, False


class Unreachable(JettyThunderError):
    """The service can't be reached. Check the address and the network, then try again."""

    code, status, retryable = "unreachable", 503, True


class FileUnreadable(JettyThunderError):
    """The file can't be read."""

    code, status, retryable = "file_unreadable", 400, False


class FileChanged(JettyThunderError):
    """The file has changed since its upload began. Upload it anew, without --resume."""

    code, status, retryable = "file_changed", 409, False


class TransferStalled(JettyThunderError):
    """No edge has taken a byte for too long. What was acknowledged is kept: go on with --resume."""

    code, status, retryable = "transfer_stalled", 503, True


class NoEdges(JettyThunderError):
    """No edge takes chunks at the moment."""

    code, status, retryable = "no_edges", 503, True


class DownloadCorrupt(JettyThunderError):
    """The bytes received are not the asset's. They were thrown away; download it again."""

    code, status, retryable = "download_corrupt", 502, True
