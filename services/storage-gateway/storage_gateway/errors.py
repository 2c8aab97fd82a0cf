"""Errors that only the gateway raises: the sentence, stable code, HTTP status, and whether to repeat."""

from jettythunder.errors import JettyThunderError, NotFound


class MissingFile(JettyThunderError):
    """The form has no file: send it as multipart/form-data in a field named `file`."""

    code, status, retryable = "missing_file", 400, False


class MultipleFiles(JettyThunderError):
    """The form has more than one file. Send one request per file."""

    code, status, retryable = "multiple_files", 400, False


class MalformedForm(JettyThunderError):
    """The multipart/form-data body is malformed."""

    code, status, retryable = "malformed_form", 400, False


class UnsupportedMediaType(JettyThunderError):
    """The body's content type is not one this call takes."""

    code, status, retryable = "unsupported_media_type", 415, False


class AccountSuspended(JettyThunderError):
    """The account is suspended."""

    code, status, retryable = "account_suspended", 403, False


class JettySpeedNotIncluded(JettyThunderError):
    """The account's tier does not include JettySpeed. Use the standard upload, or upgrade to pro or above."""

    code, status, retryable = "jetty_speed_not_included", 403, False


class AssetNotFound(NotFound):
    """The account has no such asset."""

    code = "asset_not_found"


class TooManyCacheKeys(JettyThunderError):
    """The asset has as many cache keys as it may have. Use one of them, or delete the asset."""

    code, status, retryable = "too_many_cache_keys", 409, False


class TooManySessions(JettyThunderError):
    """The account has as many open upload sessions as it may have. Complete or abort some first."""

    code, status, retryable = "too_many_sessions", 429, True


class UploadIncomplete(JettyThunderError):
    """Chunks are still missing: send them, then complete the upload."""

    code, status, retryable = "upload_incomplete", 409, True


class FileTooLarge(JettyThunderError):
    """The file is larger than the tier allows."""

    code, status, retryable = "file_too_large", 413, False


class ContentHashMismatch(JettyThunderError):
    """The bytes received do not have the given content_hash. Nothing was stored."""

    code, status, retryable = "content_hash_mismatch", 422, False


class StorageNotIncluded(JettyThunderError):
    """The account's tier includes no storage. Upgrade to starter or above to upload."""

    code, status, retryable = "storage_not_included", 402, False


class StorageQuotaExceeded(JettyThunderError):
    """The account's storage quota has no room for this upload. Delete assets or upgrade the tier."""

    code, status, retryable = "storage_quota_exceeded", 402, False


class BandwidthQuotaExceeded(JettyThunderError):
    """The account's bandwidth quota for this period is used up. Wait for the next one or upgrade the tier."""

    code, status, retryable = "bandwidth_quota_exceeded", 402, False


class PreconditionFailed(JettyThunderError):
    """The asset is not the one that the request's conditions name. Nothing was sent."""

    code, status, retryable = "precondition_failed", 412, False


class RangeNotSatisfiable(JettyThunderError):
    """The requested range lies outside the asset."""

    code, status, retryable = "range_not_satisfiable", 416, False


class TooManyUploads(JettyThunderError):
    """The account has too many uploads under way at once. Send this one when another is done."""

    code, status, retryable = "too_many_uploads", 429, True


class TooManyStreams(JettyThunderError):
    """The account, or this link, has too many streams under way at once. Try again when one is done."""

    code, status, retryable = "too_many_streams", 429, True


class GatewayBusy(JettyThunderError):
    """The gateway holds as many bytes of uploads as it may. Nothing was stored; try again shortly."""

    code, status, retryable = "gateway_busy", 503, True


class SpoolFull(JettyThunderError):
    """The gateway's disk is full, so it can't take uploads right now. Nothing was stored; try again later."""

    code, status, retryable = "spool_full", 507, True


class ProvisioningUnavailable(JettyThunderError):
    """Provisioning did not answer in time. The call is safe to repeat: it makes one account only."""

    code, status, retryable = "provisioning_unavailable", 503, True


class ChunkUploadFailed(JettyThunderError):
    """No chunk-worker could store a part of the file in time. Nothing was stored; send the file again."""

    code, status, retryable = "chunk_upload_failed", 503, True


class VerificationUnavailable(JettyThunderError):
    """No chunk-worker has computed the asset's hash in time. The call is safe to repeat."""

    code, status, retryable = "verification_unavailable", 503, True
