"""A full disk stops answers with an error and loses nothing; room made again is used."""

import subprocess
import sys
from pathlib import Path


def test_a_full_disk_refuses_new_records_loses_none_and_recovers(tmp_path: Path) -> None:
    child = subprocess.run(
        [sys.executable, str(Path(__file__).parent / "full_disk_child.py"), str(tmp_path)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert child.returncode == 0, child.stderr
