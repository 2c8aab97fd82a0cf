"""Errors that only operations raises."""

from jettythunder.errors import JettyThunderError, NotFound


class ConsumerNotFound(NotFound):
    """There is no consumer of that name."""

    code = "consumer_not_found"


class ConsumerHasNoLog(JettyThunderError):
    """The consumer takes commands, and the event log keeps events only: there is nothing to replay to it."""

    code, status, retryable = "consumer_has_no_log", 422, False


class EventNotFound(NotFound):
    """The event log has no such event: it never was, or is older than the log keeps."""

    code = "event_not_found"


class ReplayNotFound(NotFound):
    """There is no such replay."""

    code = "replay_not_found"


class ReplayNotResumable(JettyThunderError):
    """The replay is completed, or runs. One that crashed can be resumed after a minute of silence."""

    code, status, retryable = "replay_not_resumable", 409, False


class ReplayTakenOver(JettyThunderError):
    """The replay was resumed elsewhere, so it was stopped here."""

    code, status, retryable = "replay_taken_over", 409, False


class ReplayInterrupted(JettyThunderError):
    """The replay was interrupted. It can be resumed."""

    code, status, retryable = "replay_interrupted", 503, True


class DeadLetterNotFound(NotFound):
    """There is no such dead letter: it was retried or discarded, or never was."""

    code = "dead_letter_not_found"
