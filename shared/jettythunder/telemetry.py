"""Structured logs, the correlation id that joins them across services, metrics and Sentry."""

import contextlib
import logging
import sys
from collections.abc import Iterator
from contextvars import ContextVar
from typing import Any

import structlog
from asgi_correlation_id import correlation_id

from jettythunder import tracing
from jettythunder.ids import new_id
from jettythunder.redaction import redacted
from jettythunder.settings import ProcessSettings

__all__ = ["causation_id", "configure", "correlated", "correlation_id", "logger", "report"]

causation_id: ContextVar[str | None] = ContextVar("causation_id", default=None)


def _redact(_logger: Any, _method: str, event: structlog.typing.EventDict) -> structlog.typing.EventDict:
    # Call sites don't log secrets; where one does by mistake, it is still not written.
    for name, value in event.items():
        if not name.startswith("_"):
            event[name] = redacted({name: value})[name]
    return event


def _add_correlation(
    _logger: Any, _method: str, event: structlog.typing.EventDict
) -> structlog.typing.EventDict:
    current = correlation_id.get()
    if current is not None:
        event.setdefault("correlation_id", current)
    return event


def _add_trace(_logger: Any, _method: str, event: structlog.typing.EventDict) -> structlog.typing.EventDict:
    event.update(tracing.identifiers())
    return event


def configure(service: str, settings: ProcessSettings) -> None:
    """Send JSON log lines to standard output, one an event, and errors to Sentry where a DSN is set."""

    def add_service(
        _logger: Any, _method: str, event: structlog.typing.EventDict
    ) -> structlog.typing.EventDict:
        event["service"] = service
        return event

    processors: list[structlog.typing.Processor] = [
        add_service,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.format_exc_info,
        _add_correlation,
        _add_trace,
        _redact,
    ]
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=processors,
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                structlog.processors.JSONRenderer(),
            ],
        )
    )
    logging.basicConfig(level=settings.log_level, handlers=[handler], force=True)
    for noisy in (
        "aiormq",
        "aio_pika",
        "aiobotocore",
        "botocore",
        "boto3",
        "httpx",
        "aiohttp.access",
        "asgi_correlation_id",
    ):
        logging.getLogger(noisy).setLevel(logging.ERROR)
    structlog.configure(
        processors=[*processors, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelName(settings.log_level)),
        cache_logger_on_first_use=True,
    )
    if settings.sentry_dsn is not None:
        import sentry_sdk  # noqa: PLC0415 - it starts slowly

        sentry_sdk.init(
            settings.sentry_dsn.get_secret_value(),
            send_default_pii=False,
            server_name=service,
            # Variables of frames hold credentials, whatever they are called.
            include_local_variables=False,
            max_request_body_size="never",
            # What led to an error is in the log, under its correlation id.
            max_breadcrumbs=0,
            before_send=_without_secrets,
        )


def report(error: Exception) -> None:
    """Send an unexpected error to Sentry, where SENTRY_DSN is set."""
    if "sentry_sdk" in sys.modules:
        import sentry_sdk  # noqa: PLC0415

        sentry_sdk.capture_exception(error)


def _without_secrets(event: Any, _hint: Any) -> Any:
    """An event for Sentry without the request's headers, cookies, query and body, and without secrets."""
    request = event.get("request", {})
    for part in ("headers", "cookies", "query_string", "data", "env"):
        request.pop(part, None)
    return redacted(event)


def logger(name: str) -> structlog.stdlib.BoundLogger:
    """A logger that writes key-value events: ``log.info("upload completed", upload_id=…)``."""
    bound: structlog.stdlib.BoundLogger = structlog.get_logger(name)
    return bound


@contextlib.contextmanager
def correlated(correlation: str | None, causation: str | None = None) -> Iterator[str]:
    """Everything logged or published inside carries this correlation id; a new one where none is given."""
    current = correlation or new_id().hex
    tokens = correlation_id.set(current), causation_id.set(causation)
    try:
        yield current
    finally:
        correlation_id.reset(tokens[0])
        causation_id.reset(tokens[1])
