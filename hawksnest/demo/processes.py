"""The demo's child processes: each a command that a person could start as well."""

import subprocess
import sys
from pathlib import Path

from hawksnest.errors import HawksnestError, UsageError
from hawksnest.world import World


class Processes:
    """Children, stopped in the reverse order of their start. They end with this process, whatever ends it."""

    def __init__(self, world: World, logs: Path, parent: int) -> None:
        self._world = world
        self._logs = logs
        self._parent = parent
        self._children: dict[str, subprocess.Popen[bytes]] = {}
        logs.mkdir(parents=True, exist_ok=True)

    def start(self, name: str, command: str, *arguments: str) -> None:
        """Start `hawksnest COMMAND …`; what it logs goes to LOGS/NAME.log."""
        line = [sys.executable, "-m", "hawksnest", command, *arguments, "--parent", str(self._parent)]
        with (self._logs / f"{name}.log").open("wb") as log:
            # A session of its own: Ctrl-C reaches the demo alone, which then stops its children in order.
            self._children[name] = subprocess.Popen(
                line, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
            )

    def check(self) -> None:
        """Raises when a child has ended: UsageError with its own words when it was used wrongly."""
        for name, child in self._children.items():
            code = child.poll()
            if code is not None:
                said = (self._logs / f"{name}.log").read_text(errors="replace").strip().splitlines()
                last = said[-1] if said else "it said nothing"
                kind = UsageError if code == 2 else HawksnestError
                raise kind(last.removeprefix("hawksnest: ") if code == 2 else f"{name} has ended: {last}")

    def stop(self, *names: str, within_s: float = 2.5) -> None:
        """Ask children to stop (all, without names), all at once; kill what does not."""
        children = {name: self._children.pop(name) for name in names or tuple(self._children)}
        for child in children.values():
            if child.poll() is None:
                child.terminate()
        until_s = self._world.monotonic_s() + within_s
        for child in children.values():
            try:
                child.wait(max(0.1, until_s - self._world.monotonic_s()))
            except subprocess.TimeoutExpired:
                child.kill()
                child.wait()
