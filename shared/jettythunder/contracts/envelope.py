"""The CloudEvents 1.0 envelope (https://github.com/cloudevents/spec, JSON format, structured mode)."""

from datetime import UTC, datetime
from typing import Any, ClassVar, Generic, TypeVar
from uuid import UUID

from pydantic import (
    AwareDatetime,
    BaseModel,
    ConfigDict,
    Field,
    GetJsonSchemaHandler,
    SerializeAsAny,
)
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema

from jettythunder.ids import new_id

CONTENT_TYPE = "application/cloudevents+json"


class Payload(BaseModel):
    """The ``data`` of a message. Unknown fields are ignored, so that a publisher may add some."""

    model_config = ConfigDict(frozen=True, extra="ignore", hide_input_in_errors=True)

    TYPE: ClassVar[str]

    @property
    def about(self) -> str:
        """The subject: what the message is about. Events of one subject are published in their order."""
        raise TypeError(f"{type(self).__name__} names no subject")


AnyPayload = TypeVar("AnyPayload", bound=Payload)


class Event(BaseModel, Generic[AnyPayload]):
    """A payload in its CloudEvents envelope.

    ``correlationid`` is the same for everything that one request caused; ``causationid`` is the id of the
    message that caused this one directly. ``traceparent`` and ``tracestate`` are the trace it was made in, as
    CloudEvents' extension for distributed tracing says, and never change on the way.
    """

    model_config = ConfigDict(frozen=True, extra="ignore", hide_input_in_errors=True)

    specversion: str = Field(default="1.0", pattern=r"^1\.0$")
    id: UUID = Field(default_factory=new_id)
    source: str = Field(min_length=1)
    type: str = Field(min_length=1)
    subject: str | None = None
    time: AwareDatetime = Field(default_factory=lambda: datetime.now(UTC))
    datacontenttype: str = "application/json"
    correlationid: str | None = None
    causationid: str | None = None
    traceparent: str | None = None
    tracestate: str | None = None
    data: SerializeAsAny[AnyPayload]

    @classmethod
    def __get_pydantic_json_schema__(
        cls, core_schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        """The schema, which says what ``type`` is where the payload is known."""
        schema = handler.resolve_ref_schema(handler(core_schema))
        payload = cls.model_fields["data"].annotation
        if isinstance(payload, type) and issubclass(payload, Payload):
            schema["title"] = f"{payload.__name__}Envelope"
            schema["properties"]["type"] = {"const": payload.TYPE, "title": "Type", "type": "string"}
        return schema

    @property
    def correlation(self) -> str:
        """What joins the event with all that it caused: without a correlation id that is its own id."""
        return self.correlationid or str(self.id)

    def encode(self) -> bytes:
        """The JSON that travels."""
        return self.model_dump_json(exclude_none=True).encode()


class RawEvent(Event[Any]):
    """An envelope whose data has not been parsed yet."""

    data: Any = None
