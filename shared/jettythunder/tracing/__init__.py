"""Traces: what one request caused, across services and messages, by OpenTelemetry.

Off unless OTEL_EXPORTER_OTLP_ENDPOINT is set: then nothing of the OpenTelemetry SDK is imported, no message
carries a context, and what is left is the look at :data:`active`. Every function here may be called then.

Spans name and describe only what is written here: no query string, no header, no object's key and no text of
an error reaches a span, since each may hold a secret.
"""

from collections.abc import Mapping
from types import TracebackType
from typing import TYPE_CHECKING, Self, TypeAlias

from jettythunder.settings import ProcessSettings

if TYPE_CHECKING:
    from jettythunder.tracing.tracer import Tracer

Attributes: TypeAlias = Mapping[str, str | bool | int | float]

# The process's tracer; None where traces are off.
active: "Tracer | None" = None

_NOTHING: Mapping[str, str] = {}


class Span:
    """A piece of work, as a context manager. This one is not recorded."""

    is_recorded = False

    @property
    def headers(self) -> Mapping[str, str]:
        """The W3C headers that let what is called go on with the trace (https://www.w3.org/TR/trace-context/)."""
        return _NOTHING

    def note(self, attributes: Attributes, *, name: str | None = None) -> None:
        """Add attributes, and name the span anew."""

    def fail(self, error_type: str) -> None:
        """Mark the work as failed."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        pass


UNRECORDED = Span()


def begin(service: str, settings: ProcessSettings) -> "Tracer":
    """Trace what this process does from now on.

    Raises:
        SystemExit: with a sentence, where the packages for it are not installed.
    """
    global active  # noqa: PLW0603 - one for the process, as its logs
    try:
        from jettythunder.tracing.tracer import Tracer  # noqa: PLC0415 - imported only where it is wanted
    except ModuleNotFoundError as error:
        raise SystemExit(
            f"OTEL_EXPORTER_OTLP_ENDPOINT is set, and the package {error.name} is not installed: install "
            "jettythunder[tracing], or unset it, then start again."
        ) from None
    active = Tracer(service, settings)
    return active


async def end() -> None:
    """Send what was recorded, as far as it is taken within a few seconds, and trace nothing any more."""
    global active
    ended, active = active, None
    if ended is not None:
        await ended.close()


def calling(name: str, attributes: Attributes) -> Span:
    """A call of another server. It is recorded as a part of what is recorded already, and never by itself."""
    return UNRECORDED if active is None else active.calling(name, attributes)


def identifiers() -> Mapping[str, str]:
    """``trace_id`` and ``span_id`` of what is recorded now; nothing where nothing is."""
    return _NOTHING if active is None else active.identifiers()


def exemplar() -> dict[str, str] | None:
    """What leads from an observed value of a histogram to a trace that it belongs to, if one is recorded."""
    found = identifiers()
    return {"trace_id": found["trace_id"]} if found else None
