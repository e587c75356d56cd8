"""The demo at full size: five seeds, 60 seconds each, against rules alone."""

import json
import socket
import statistics
import subprocess
import sys
from pathlib import Path

import pytest

SEEDS = (7, 8, 9, 10, 11)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.mark.full
def test_demo_stops_most_fraudulent_money_and_beats_rules_alone(tmp_path: Path):
    runs = []
    for seed in SEEDS:
        line = [sys.executable, "-m", "hawksnest", "demo", "--seconds", "60", "--json", "--seed", str(seed)]
        made = subprocess.run(
            [*line, "--port", str(free_port()), "--data", str(tmp_path / str(seed))],
            stdout=subprocess.PIPE,
            text=True,
            timeout=900,
            check=True,
        )
        summary = json.loads(made.stdout)
        print(made.stdout.strip())
        runs.append(summary)
    for summary in runs:
        assert summary["lost"] == summary["duplicates"] == 0
        assert summary["decisions"] + summary["dead_letters"] == summary["transactions"]
    stopped = statistics.median(run["fraud"]["money_stopped_share"] for run in runs)
    blocked = statistics.median(run["fraud"]["legit_blocked_share"] for run in runs)
    lead = statistics.median(
        run["fraud"]["money_stopped_share"] - run["rules_only"]["money_stopped_share"] for run in runs
    )
    print(
        f"median of {len(runs)} seeds: {stopped:.1%} of fraudulent money stopped, {blocked:.2%} of good "
        f"payments blocked, {lead * 100:.1f} points more money than rules alone"
    )
    assert stopped >= 0.80
    assert blocked <= 0.01
    assert lead >= 0.10
