"""The error tree. Every error says what is wrong and, in `cure`, what would mend it."""


class QupersyncError(Exception):
    """Any error of qupersync's own; `cure` is a sentence for the person on call, or empty."""

    def __init__(self, message: str, *, cure: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.cure = cure

    def __str__(self) -> str:
        return f"{self.message}. {self.cure}" if self.cure else self.message


class ConfigurationError(QupersyncError):
    """The configuration is wrong: `place` names file and key. Processes end with exit code 2."""

    def __init__(self, message: str, *, place: str, cure: str) -> None:
        super().__init__(message, cure=cure)
        self.place = place

    def within(self, path: str) -> "ConfigurationError":
        """The same error with the file named, where its place names only a key."""
        if self.place.startswith((path, "environment")):
            return self
        return ConfigurationError(self.message, place=f"{path}: {self.place}", cure=self.cure)

    def __str__(self) -> str:
        return f"{self.place}: {self.message}. {self.cure}"


class ConflictError(QupersyncError):
    """Somebody else is at it: nothing was done."""


class TransientError(QupersyncError):
    """It may go away by itself (connection, deadlock, disk full, missing grant): try again, ever later, for ever."""


class TerminalError(QupersyncError):
    """Trying again changes nothing: the content itself is refused."""


class SourceUnavailableError(TransientError):
    """The source cannot be reached, or ended a read in a way that a later read may survive."""


class StreamUnavailableError(TransientError):
    """NATS or JetStream cannot be reached, or a stream or consumer is missing."""


class StreamFullError(TransientError):
    """The stream refuses new messages because it is full (`discard: new`): back-pressure."""


class DatabaseUnavailableError(TransientError):
    """PostgreSQL cannot be reached, or refused a statement for a passing reason."""


class LeaseLostError(TransientError):
    """Another process holds the lease now: whatever this one was about to commit is void."""


class PageRefusedError(TerminalError):
    """A page that would break a promise: key order differs between engines, a NULL where a key must be."""


class SchemaRefusedError(TerminalError):
    """Source and target columns do not fit, and the policy forbids to change the target."""


class EventRefusedError(TerminalError):
    """An event that cannot be decoded or verified."""


class RowsRefusedError(TerminalError):
    """The target refuses rows of a batch (range, constraint, encoding)."""
