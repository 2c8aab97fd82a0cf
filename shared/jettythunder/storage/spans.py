"""Calls of the object storage, in traces."""

from jettythunder import tracing


def calling_s3(
    operation: str,
    *,
    bucket: str,
    size_bytes: int | None = None,
    part_number: int | None = None,
    attempt: int = 1,
) -> tracing.Span:
    """A call as a span. The object's key is left out, since it ends with the client's name of the file.

    Args:
        size_bytes: of the body, sent or received.
    """
    if tracing.active is None:
        return tracing.UNRECORDED
    attributes: dict[str, str | int] = {
        "rpc.system.name": "aws-api",
        "rpc.method": f"S3/{operation}",
        "aws.s3.bucket": bucket,
    }
    if size_bytes is not None:
        attributes["jettythunder.size_bytes"] = size_bytes
    if part_number is not None:
        attributes["aws.s3.part_number"] = part_number
    if attempt > 1:
        attributes["http.request.resend_count"] = attempt - 1
    return tracing.active.calling(f"S3 {operation}", attributes)
