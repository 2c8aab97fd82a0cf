"""Errors as answers: RFC 9457 problem+json with a stable code."""

from typing import Literal

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response
from prometheus_client import Counter
from pydantic import BaseModel, ConfigDict, Field
from starlette.exceptions import HTTPException

from jettythunder import security_log, telemetry
from jettythunder.errors import BadRequest, InvalidField, JettyThunderError, NotFound

log = telemetry.logger(__name__)

PROBLEM = "application/problem+json"

_problems = Counter("jettythunder_http_problems_total", "Requests answered with an error", ["code"])


class Problem(BaseModel):
    """What went wrong (RFC 9457). Some problems have further members, such as ``fields``."""

    model_config = ConfigDict(extra="allow")

    type: str = Field(description="`urn:jettythunder:error:` and the code")
    title: str = Field(description="The code as a sentence")
    status: int = Field(ge=400, le=599)
    detail: str = Field(description="What happened, and what to do")
    code: str = Field(description="Stable: what programs go by")
    retryable: bool = Field(description="Whether the same request may succeed later")
    success: Literal[False] = False
    correlation_id: str | None = Field(default=None, description="Joins the answer with logs and events")


def answer_problems(app: FastAPI) -> None:
    """Answer every error of an application as problem+json."""
    for code in codes_of(JettyThunderError):
        # From 0 on, so that the first one counts as a rise.
        _problems.labels(code)
    app.add_exception_handler(JettyThunderError, _on_error)
    app.add_exception_handler(RequestValidationError, _on_invalid)
    app.add_exception_handler(HTTPException, _on_http_exception)
    app.add_exception_handler(Exception, _on_unexpected)


def codes_of(error: type[JettyThunderError]) -> set[str]:
    """The codes of an error and of those derived from it, as far as they are imported."""
    return {error.code}.union(*map(codes_of, error.__subclasses__()))


def problem(error: JettyThunderError) -> JSONResponse:
    """The error as RFC 9457 problem+json, with its stable ``code``."""
    headers = dict(error.headers)
    if error.retry_after_seconds is not None:
        headers["Retry-After"] = str(max(1, round(error.retry_after_seconds)))
    elif error.status == 503:
        headers["Retry-After"] = "1"
    if error.status == 401:
        headers["WWW-Authenticate"] = "Bearer"
    _problems.labels(error.code).inc()
    body = Problem(
        type=f"urn:jettythunder:error:{error.code}",
        title=(type(error).__doc__ or error.detail).strip(),
        status=error.status,
        detail=_encodable(error.detail),
        code=error.code,
        retryable=error.retryable,
        correlation_id=telemetry.correlation_id.get(),
        **error.extra,
    )
    return JSONResponse(body.model_dump(mode="json"), error.status, headers, media_type=PROBLEM)


def _encodable(text: str) -> str:
    """The text with question marks for what UTF-8 can't encode: JSON may name half a surrogate pair."""
    return text.encode("utf-8", "replace").decode()


async def _on_error(_: Request, error: Exception) -> Response:
    assert isinstance(error, JettyThunderError)  # noqa: S101 - registered for this class
    security_log.refused(error)
    if error.status >= 500:
        log.warning("request failed", code=error.code, detail=error.detail, cause=repr(error.__cause__))
    return problem(error)


async def _on_invalid(_: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)  # noqa: S101 - registered for this class
    if any(e["type"] == "json_invalid" for e in error.errors()):
        return problem(BadRequest("The body is not valid JSON."))
    places = [
        {
            "field": _encodable(".".join(str(part) for part in e["loc"][1:]) or str(e["loc"][0])),
            "message": _encodable(e["msg"]),
        }
        for e in error.errors()
    ]
    named = "; ".join(f"{place['field']}: {place['message']}" for place in places)
    return problem(InvalidField(f"A field has a value that is not allowed: {named}", fields=places))


async def _on_http_exception(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)  # noqa: S101 - registered for this class
    if isinstance(error.__cause__, JettyThunderError):
        # FastAPI wraps whatever is raised while it reads a body.
        return await _on_error(request, error.__cause__)
    if error.status_code == 404:
        return problem(NotFound())
    return problem(BadRequest(str(error.detail)))


async def _on_unexpected(_: Request, error: Exception) -> Response:
    log.error("unexpected error", exc_info=error)
    telemetry.report(error)
    return problem(JettyThunderError())
