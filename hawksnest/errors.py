"""The whole error tree; imports nothing.

HawksnestError
├── ServiceError            the caller's fault, as the wire says it (code, status, message)
├── Transient               the world's fault: worth a bounded retry
│   └── StorageFull         no room for another journal record: nothing was written
├── Poison                  a stream record that can never be processed: dead letter, go on
├── RuleError               a rule expression that cannot be used, with its place and a hint
└── UsageError              wrong use or environment of the command: one sentence, exit code 2

Our own faults are assertions; nobody catches them but the door, which answers InternalServerException.
"""


class HawksnestError(Exception):
    """Root of everything Hawksnest raises on purpose."""


class ServiceError(HawksnestError):
    """A fault of the service model: what the client gets on the wire."""

    def __init__(self, code: str, message: str, status: int = 400) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.status = status


def invalid(message: str) -> ServiceError:
    """A value of the request is unacceptable (ValidationException, 400)."""
    return ServiceError("ValidationException", message)


def not_found(message: str) -> ServiceError:
    """The named resource is missing (ResourceNotFoundException, 400)."""
    return ServiceError("ResourceNotFoundException", message)


def conflict(message: str) -> ServiceError:
    """The request clashes with what is stored (ConflictException, 400)."""
    return ServiceError("ConflictException", message)


def unavailable(operation: str) -> ServiceError:
    """The operation is part of the API but not of this version of Hawksnest."""
    return ServiceError(
        "ValidationException",
        f"{operation} is not available in this version of Hawksnest; docs/compatibility.md lists what is.",
    )


class Transient(HawksnestError):
    """The world's fault: the same call may succeed a moment later."""


class StorageFull(Transient):
    """The disk has no room for another journal record; nothing was written."""


class Poison(HawksnestError):
    """A stream record that can never be processed.

    `code` is short and stable (for counting), the message is a reason that a person can act on.
    """

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message


class RuleError(HawksnestError):
    """A rule expression that cannot be used. `line` and `column` count from 1."""

    def __init__(self, message: str, line: int = 1, column: int = 1, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.line = line
        self.column = column
        self.hint = hint

    def __str__(self) -> str:
        hint = f" {self.hint}" if self.hint else ""
        return f"{self.message} (line {self.line}, column {self.column}).{hint}"


class UsageError(HawksnestError):
    """Wrong use or environment of the command: printed as one sentence, exit code 2."""
