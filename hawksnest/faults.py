"""Named places where a crash test makes the process die, armed by the option `fail-point`.

Code asks `if faults.armed:` before it calls `point`, so that a place costs one look at a name when off.
"""

import os
import signal

from hawksnest.errors import UsageError

POINTS = (
    "before_write",
    "between_write_and_sync",
    "between_sync_and_answer",
    "in_projection",
    "in_checkpoint",
)

armed = False
_name = ""
_left = 0


def arm(text: str) -> None:
    """Arm `NAME` or `NAME:PASS`: the process is killed at that pass (1, 2, …); empty text disarms.

    Raises UsageError for a name that is not in POINTS or a pass that is not a positive number.
    """
    global armed, _name, _left
    name, _, passes = text.partition(":")
    if text and (name not in POINTS or not (passes or "1").isdecimal() or int(passes or "1") < 1):
        raise UsageError(
            f"fail-point is {text!r}; it takes one of {', '.join(POINTS)}, with :N for the Nth pass."
        )
    armed, _name, _left = bool(text), name, int(passes or "1")


def point(name: str) -> None:
    """Kill this process, as a power switch would, if this is the armed place and pass."""
    global _left
    if name == _name:
        _left -= 1
        if _left == 0:
            os.kill(os.getpid(), signal.SIGKILL)
