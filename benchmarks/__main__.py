"""Run the benchmarks, all or the named ones, one after the other: `python -m benchmarks [NAME ...]`."""

import importlib
import sys
from pathlib import Path


def names() -> list[str]:
    """The modules here that have a `main`."""
    found = sorted(path.stem for path in Path(__file__).parent.glob("*.py") if not path.stem.startswith("_"))
    return [name for name in found if hasattr(importlib.import_module(f"benchmarks.{name}"), "main")]


def run() -> int:
    """Exit code: 2 for a name that there is not."""
    wanted, there = sys.argv[1:], names()
    strange = [name for name in wanted if name not in there]
    if strange:
        print(f"There is no benchmark {', '.join(strange)}; there are {', '.join(there)}.", file=sys.stderr)
        return 2
    for name in wanted or there:
        print(f"\n== {name} ==\n", flush=True)
        sys.argv = [f"benchmarks.{name}"]  # each reads its own options, here none
        importlib.import_module(f"benchmarks.{name}").main()
    return 0


if __name__ == "__main__":
    sys.exit(run())
