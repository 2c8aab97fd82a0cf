"""The CloudEvents 1.0 envelope (https://github.com/cloudevents/spec, JSON format, structured mode)."""

from datetime import UTC, datetime
from typing import Any, ClassVar, Generic, TypeVar
from uuid import UUID, uuid4

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, SerializeAsAny

CONTENT_TYPE = "application/cloudevents+json"


class Payload(BaseModel):
    """The ``data`` of a message. Unknown fields are ignored, so that a publisher may add some."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    TYPE: ClassVar[str]

    @property
    def about(self) -> str:
        """The subject: what the message is about. Messages of one subject keep their order."""
        raise TypeError(f"{type(self).__name__} names no subject")


AnyPayload = TypeVar("AnyPayload", bound=Payload)


class Event(BaseModel, Generic[AnyPayload]):
    """A payload in its CloudEvents envelope.

    ``correlationid`` is the same for everything that one request caused; ``causationid`` is the id of the
    message that caused this one directly.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    specversion: str = Field(default="1.0", pattern=r"^1\.0$")
    id: UUID = Field(default_factory=uuid4)
    source: str = Field(min_length=1)
    type: str = Field(min_length=1)
    subject: str | None = None
    time: AwareDatetime = Field(default_factory=lambda: datetime.now(UTC))
    datacontenttype: str = "application/json"
    correlationid: str | None = None
    causationid: str | None = None
    data: SerializeAsAny[AnyPayload]

    def encode(self) -> bytes:
        """The JSON that travels."""
        return self.model_dump_json(exclude_none=True).encode()


class RawEvent(Event[Any]):
    """An envelope whose data has not been parsed yet."""

    data: Any = None
