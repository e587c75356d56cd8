"""From an address to a log: `file://DIR` or `kafka://HOST:PORT`."""

from pathlib import Path

from hawksnest.errors import UsageError
from hawksnest.stream.embedded import EmbeddedLog
from hawksnest.stream.partition import Retention
from hawksnest.stream.ports import Log
from hawksnest.world import World


def open_log(address: str, world: World | None = None, retention: Retention | None = None) -> Log:
    """The log at `address`; a plain path means `file://`. Raises UsageError."""
    scheme, separator, rest = address.partition("://")
    if not separator:
        scheme, rest = "file", address
    if not rest:
        raise UsageError(f"{address!r} names no log; write file://FOLDER or kafka://HOST:PORT.")
    if scheme == "file":
        return EmbeddedLog(Path(rest), world, retention)
    if scheme == "kafka":
        raise UsageError(
            f"{address} needs Kafka, which comes with the kafka extra; file://FOLDER works at once."
        )
    raise UsageError(f"{address!r} is no log that Hawksnest knows; write file://FOLDER or kafka://HOST:PORT.")
