"""Errors as callers see them: stable code, sentence, HTTP status, and whether a repetition may succeed.

Every error a caller can see is a subclass of :class:`JettyThunderError`. Those of the servers behind all
services and of HTTP stand here, a service's own in its errors.py. The class docstring is the default
sentence; ``code`` never changes once published.
"""

from collections.abc import Mapping
from typing import Any, ClassVar


class JettyThunderError(Exception):
    """Something went wrong on our side. Try again; if it fails again, tell us the correlation id."""

    code: ClassVar[str] = "internal_error"
    status: ClassVar[int] = 500
    retryable: ClassVar[bool] = True

    def __init__(
        self,
        detail: str | None = None,
        *,
        retry_after_seconds: float | None = None,
        headers: Mapping[str, str] | None = None,
        **extra: Any,
    ) -> None:
        self.detail = detail or (type(self).__doc__ or "").strip()
        self.retry_after_seconds = retry_after_seconds
        self.headers = headers or {}
        self.extra = extra
        super().__init__(self.detail)


class BadRequest(JettyThunderError):
    """The request could not be understood."""

    code, status, retryable = "bad_request", 400, False


class InvalidField(JettyThunderError):
    """A field of the request has a value that is not allowed."""

    code, status, retryable = "invalid_field", 422, False


class TruncatedBody(JettyThunderError):
    """The body ended before it was complete. Nothing was stored; send it again."""

    code, status, retryable = "truncated_body", 400, True


class UploadTimedOut(JettyThunderError):
    """No bytes arrived for too long, so the upload was given up. Nothing was stored; send it again."""

    code, status, retryable = "upload_timed_out", 408, True


class Unauthenticated(JettyThunderError):
    """The credentials are missing or wrong."""

    code, status, retryable = "unauthenticated", 401, False


class InsufficientScope(JettyThunderError):
    """The token lacks the scope that this call needs."""

    code, status, retryable = "insufficient_scope", 403, False


class RateLimited(JettyThunderError):
    """Too many requests. Wait as long as Retry-After says."""

    code, status, retryable = "rate_limited", 429, True


class LinkExpired(JettyThunderError):
    """The link has expired. Ask for a new one."""

    code, status, retryable = "link_expired", 403, False


class LinkInvalid(JettyThunderError):
    """The link's signature does not match what it points to."""

    code, status, retryable = "link_invalid", 403, False


class LinkRevoked(JettyThunderError):
    """The account's links and tokens were revoked after this one was made. Ask for a new one."""

    code, status, retryable = "link_revoked", 403, False


class NotFound(JettyThunderError):
    """There is nothing here under this name."""

    code, status, retryable = "not_found", 404, False


class AccountNotFound(NotFound):
    """There is no account for this user. Provision it first."""

    code = "account_not_found"


class UnknownTier(JettyThunderError):
    """There is no such tier. The tiers are free, starter, pro, business and enterprise."""

    code, status, retryable = "unknown_tier", 422, False


class UserIdTaken(JettyThunderError):
    """This user id maps to the account of another user id. Use the id that the account was made with."""

    code, status, retryable = "user_id_taken", 409, False


class UploadNotFound(NotFound):
    """The account has no such upload."""

    code = "upload_not_found"


class UploadNotOpen(JettyThunderError):
    """The upload is closed: it was completed, aborted or has expired."""

    code, status, retryable = "upload_not_open", 409, False


class ChecksumMismatch(JettyThunderError):
    """The bytes of the chunk do not have the announced checksum. Send the chunk again."""

    code, status, retryable = "checksum_mismatch", 422, True


class EdgeBusy(JettyThunderError):
    """The edge, or the account, has as many chunks in flight as it may. Try again, or another edge now."""

    code, status, retryable = "edge_busy", 503, True


class TooManyAttempts(JettyThunderError):
    """This chunk was sent to this edge too often. Try again later, or another edge now."""

    code, status, retryable = "too_many_attempts", 429, True


class BrokerUnavailable(JettyThunderError):
    """The message broker can't be reached. Nothing was stored; the call is safe to repeat."""

    code, status, retryable = "broker_unavailable", 503, True


class DatabaseUnavailable(JettyThunderError):
    """The database can't be reached. The call is safe to repeat."""

    code, status, retryable = "database_unavailable", 503, True


class DatabaseTimedOut(JettyThunderError):
    """The database did not finish the statement in time. The call is safe to repeat."""

    code, status, retryable = "database_timed_out", 503, True


class DatabaseConflict(JettyThunderError):
    """Another change to the same data was made at the same time. Try again."""

    code, status, retryable = "database_conflict", 503, True


class PayloadTooLarge(JettyThunderError):
    """The body is larger than this call takes."""

    code, status, retryable = "payload_too_large", 413, False


class MethodNotAllowed(JettyThunderError):
    """This address does not take the method; the Allow header lists those that it takes."""

    code, status, retryable = "method_not_allowed", 405, False


class StorageUnavailable(JettyThunderError):
    """The object storage did not take or give the bytes. Nothing was stored; the call is safe to repeat."""

    code, status, retryable = "storage_unavailable", 503, True


class ChunkGone(JettyThunderError):
    """The gateway no longer holds the chunk: its upload has ended."""

    code, status, retryable = "chunk_gone", 410, False


class ShuttingDown(JettyThunderError):
    """This instance of the service is shutting down. Nothing was stored; send it again to another one."""

    code, status, retryable = "shutting_down", 503, True


class MalformedEvent(JettyThunderError):
    """The message is not a CloudEvent of a known type and version."""

    code, status, retryable = "malformed_event", 422, False


class EventTooOld(JettyThunderError):
    """The event is older than INBOX_KEEP_DAYS, so whether it was processed before is not known any more."""

    code, status, retryable = "event_too_old", 422, False


class UnknownEventType(JettyThunderError):
    """This version of the service does not know the message's type. A newer one may."""

    code, status, retryable = "unknown_event_type", 422, True


class DeadLettersBusy(JettyThunderError):
    """Somebody else works on these dead letters at this moment. Try again shortly."""

    code, status, retryable = "dead_letters_busy", 409, True


class ConfigurationError(JettyThunderError):
    """A setting of the service does not fit the servers or services that it works with."""

    code, status, retryable = "configuration_error", 500, False


def restored(code: str, detail: str, *, status: int, retryable: bool) -> JettyThunderError:
    """The error that another service answered with, by its code; an unknown code keeps its figures."""
    known = {kind.code: kind for kind in _all_kinds(JettyThunderError)}
    if code in known:
        return known[code](detail)
    kind = type(
        "UnknownError", (JettyThunderError,), {"code": code, "status": status, "retryable": retryable}
    )
    error: JettyThunderError = kind(detail)
    return error


def _all_kinds(base: type[JettyThunderError]) -> list[type[JettyThunderError]]:
    return [base, *(kind for child in base.__subclasses__() for kind in _all_kinds(child))]
