"""A dead letter, groups of them, and which of them are meant."""

from datetime import datetime
from typing import Any

from pydantic import BaseModel, ConfigDict, StrictBool, model_validator

# What groups are told apart by comes with the messages, so there is a limit to how many are counted apart.
MOST_GROUPS = 1000
MOST_TYPES = 50
OTHERS = "(others)"


class DeadLetter(BaseModel):
    """A message that its consumer could not process, and why."""

    model_config = ConfigDict(frozen=True)

    consumer: str
    message_id: str
    type: str
    error_type: str
    error_code: str
    error_message: str
    fingerprint: str
    attempts: int
    first_failed_at: datetime | None
    last_failed_at: datetime | None
    body: str


class DeadLetterGroup(BaseModel):
    """Dead letters of one consumer that failed in the same way at the same place."""

    consumer: str
    error_type: str
    error_code: str
    fingerprint: str
    count: int = 0
    types: dict[str, int] = {}
    error_message: str = ""
    example_id: str = ""
    oldest_at: datetime | None = None
    newest_at: datetime | None = None

    def add(self, letter: DeadLetter) -> None:
        """Count one more."""
        self.count += 1
        kind = letter.type if letter.type in self.types or len(self.types) < MOST_TYPES else OTHERS
        self.types[kind] = self.types.get(kind, 0) + 1
        if letter.first_failed_at is not None:
            self.oldest_at = min(self.oldest_at or letter.first_failed_at, letter.first_failed_at)
        if letter.last_failed_at is not None:
            self.newest_at = max(self.newest_at or letter.last_failed_at, letter.last_failed_at)


class Groups:
    """Counts dead letters by consumer, exception and fingerprint, keeping none of them."""

    def __init__(self) -> None:
        self._groups: dict[tuple[str, str, str], DeadLetterGroup] = {}

    def add(self, letter: DeadLetter) -> None:
        """Count one; beyond the limit of groups, among the others of its consumer."""
        key = letter.consumer, letter.error_type, letter.fingerprint
        if key not in self._groups and len(self._groups) >= MOST_GROUPS:
            key = letter.consumer, OTHERS, OTHERS
        if key not in self._groups:
            self._groups[key] = _new_group(letter, error_type=key[1], fingerprint=key[2])
        self._groups[key].add(letter)

    def largest_first(self) -> list[DeadLetterGroup]:
        """The groups."""
        return sorted(
            self._groups.values(), key=lambda group: (-group.count, group.consumer, group.fingerprint)
        )


def _new_group(letter: DeadLetter, *, error_type: str, fingerprint: str) -> DeadLetterGroup:
    return DeadLetterGroup(
        consumer=letter.consumer,
        error_type=error_type,
        error_code=letter.error_code,
        fingerprint=fingerprint,
        error_message=letter.error_message,
        example_id=letter.message_id,
    )


_NARROWING: dict[str, dict[str, Any]] = {
    "consumer": {"type": "string", "minLength": 1},
    "ids": {"type": "array", "minItems": 1},
    "error_type": {"type": "string", "minLength": 1},
    "fingerprint": {"type": "string", "minLength": 1},
    "type": {"type": "string", "minLength": 1},
}

# Something that narrows the choice, or everything, and not both: as the validator below has it.
_NARROWED_OR_EVERYTHING: dict[str, Any] = {
    "anyOf": [
        *(
            {"required": [name], "properties": {name: schema, "everything": {"const": False}}}
            for name, schema in _NARROWING.items()
        ),
        {
            "required": ["everything"],
            "properties": {"everything": {"const": True}}
            | {name: {"not": schema} for name, schema in _NARROWING.items()},
        },
    ]
}


class Selection(BaseModel):
    """Which dead letters are meant: those that fulfil all that is given, or all there are."""

    model_config = ConfigDict(frozen=True, extra="forbid", json_schema_extra=_NARROWED_OR_EVERYTHING)

    consumer: str | None = None
    ids: tuple[str, ...] = ()
    error_type: str | None = None
    fingerprint: str | None = None
    type: str | None = None
    everything: StrictBool = False

    @model_validator(mode="after")
    def _says_which(self) -> "Selection":
        narrowed = self.consumer or self.ids or self.error_type or self.fingerprint or self.type
        if bool(narrowed) == self.everything:
            raise ValueError("say which dead letters, by consumer, id, error, fingerprint or type; or all")
        return self

    def takes(self, letter: DeadLetter) -> bool:
        """Whether the dead letter is meant."""
        return (
            self.consumer in (None, letter.consumer)
            and (not self.ids or letter.message_id in self.ids)
            and self.error_type in (None, letter.error_type)
            and self.fingerprint in (None, letter.fingerprint)
            and self.type in (None, letter.type)
        )
