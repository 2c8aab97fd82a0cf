"""HTTP answers that are errors: problem details (RFC 9457), raised as the client's errors."""

import json
import time
from email.utils import parsedate_to_datetime

import aiohttp

from jettythunder_client.clock import clock_problem
from jettythunder_client.errors import ApiError, ClientError, ProxyRefused, Unreachable

NETWORK_ERRORS = (aiohttp.ClientError, TimeoutError, OSError)

_PROXY_AUTHENTICATION = 407
# X509_V_ERR_CERT_NOT_YET_VALID and X509_V_ERR_CERT_HAS_EXPIRED.
_CERTIFICATE_TIMES = frozenset({9, 10})


async def raise_problem(response: aiohttp.ClientResponse) -> None:
    """Read an answer that is no success and raise it.

    Redirects are errors too: a caller that follows none must not take one for an answer.

    Raises:
        ClockSkewed: something that is valid for a time was refused, and the clocks differ.
        ProxyRefused: it is a proxy's answer.
        ApiError: the status is 300 or above.
    """
    status = response.status
    if status < 300:
        return
    text = await response.text(errors="replace")
    try:
        problem = json.loads(text)
    except ValueError:
        problem = None
    problem = problem if isinstance(problem, dict) else {}
    if status == _PROXY_AUTHENTICATION:
        raise ProxyRefused
    if (skewed := clock_problem(response, str(problem.get("code") or ""), text)) is not None:
        raise skewed
    detail = f"{response.url.host} answered with status {status}."
    if location := response.headers.get("Location") if status < 400 else None:
        detail = f"{response.url.origin()} redirects to {location}, which was not followed: is the URL right?"
    raise ApiError(
        str(problem.get("detail") or detail),
        code=str(problem.get("code") or "unexpected_answer"),
        status=status,
        retryable=bool(problem.get("retryable", status == 429 or status >= 500)),
        retry_after_seconds=retry_after_seconds(response.headers.get("Retry-After")),
        **{name: problem[name] for name in ("missing", "correlation_id") if name in problem},
    )


def retry_after_seconds(header: str | None) -> float | None:
    """What a Retry-After header asks for: seconds, or a date (RFC 9110, section 10.2.3)."""
    if not header:
        return None
    if header.strip().isdigit():
        return float(header)
    try:
        return max(0.0, parsedate_to_datetime(header).timestamp() - time.time())
    except ValueError:
        return None


def network_problem(what: str, error: BaseException) -> ClientError:
    """A network error as the client's own; ``what`` says what did not work."""
    if isinstance(error, aiohttp.ClientHttpProxyError) and error.status < 500:
        return ProxyRefused(f"{what}: {describe(error)}. {ProxyRefused.__doc__}")
    return Unreachable(f"{what}: {describe(error)}.")


def describe(error: BaseException) -> str:
    """A network error in a few words, without addresses that hold signatures."""
    if isinstance(error, aiohttp.ClientHttpProxyError):
        return f"the proxy answered with status {error.status}"
    text = str(error).rstrip(".") or type(error).__name__
    if isinstance(error, aiohttp.ClientConnectorCertificateError) and _is_about_time(error):
        return f"{text} (is this machine's clock right?)"
    return text


def _is_about_time(error: aiohttp.ClientConnectorCertificateError) -> bool:
    code = getattr(error.certificate_error, "verify_code", None)
    return code in _CERTIFICATE_TIMES
