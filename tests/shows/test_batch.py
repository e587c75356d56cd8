"""A million rows imported and a hundred thousand decided: rates, flat memory, killed half-way and resumed."""

import sys
from pathlib import Path

import pytest
from product import figures

sys.path.insert(0, str(Path(__file__).parents[1] / "faults"))
from served import Served, until

from benchmarks.batch import ROLE, deploy, write_rows
from benchmarks.decision import rss_mb
from hawksnest.errors import HawksnestError
from hawksnest.world import RealWorld

WORLD = RealWorld()
IMPORTED, DECIDED = 1_000_000, 100_000
LONGEST_S = 900.0
MEMORY_GROWTH_MAX = 3.0  # states and filter of a million events are kept; the file is not


def shown(served: Served, kind: str) -> dict:
    client = served.client()
    try:
        [job] = next(iter(client.call(f"Get{kind}Jobs", {"jobId": "j"}).response.values()))
    except HawksnestError:
        return {"status": "IN_PROGRESS", "processedRecordsCount": 0}
    finally:
        client.close()
    return job


def run(served: Served, kind: str, uri: str, rows: int, **other: str) -> list[str]:
    """Start, kill at a half, resume; what there is to say."""
    began_s = WORLD.monotonic_s()
    client = served.client()
    request = {"jobId": "j", "inputPath": uri, "outputPath": f"s3://b/{kind}", "eventTypeName": "pay"}
    client.call(f"Create{kind}Job", {**request, "iamRoleArn": ROLE, **other})
    client.close()

    def past(share: float) -> None:
        until(lambda: shown(served, kind)["processedRecordsCount"] >= share * rows, LONGEST_S, "no progress")

    assert served.process is not None
    past(0.1)
    tenth_mb = rss_mb(served.process.pid)
    past(0.5)
    half_s = WORLD.monotonic_s() - began_s
    served.kill()
    down_s = served.start()
    until(lambda: "IN_PROGRESS" not in shown(served, kind)["status"], LONGEST_S, "no end")
    seconds = WORLD.monotonic_s() - began_s
    job = shown(served, kind)
    assert (job["status"], job["processedRecordsCount"]) == ("COMPLETE", rows), job
    end_mb = rss_mb(served.process.pid)
    assert end_mb < tenth_mb * MEMORY_GROWTH_MAX
    return [
        f"{kind}: {rows:,} rows in {seconds:.0f} s, killed after {half_s:.0f} s, down for {down_s:.1f} s",
        f"  {rows / (seconds - down_s):,.0f} rows/s; {tenth_mb:.0f} MB at 10 %, {end_mb:.0f} MB at 100 %",
    ]


@pytest.mark.full
def test_large_jobs_are_killed_half_way_and_go_on(tmp_path: Path) -> None:
    served = Served(tmp_path)
    bucket = served.data / "buckets" / "b"
    bucket.mkdir(parents=True)
    write_rows(bucket / "events.csv", IMPORTED, "e")
    write_rows(bucket / "decide.csv", DECIDED, "p")
    try:
        served.start()
        client = served.client()
        deploy(client)
        client.close()
        lines = run(served, "BatchImport", "s3://b/events.csv", IMPORTED)
        client = served.client()
        [event_type] = client.call("GetEventTypes", {"name": "pay"}).response["eventTypes"]
        client.close()
        assert event_type["ingestedEventStatistics"]["numberOfEvents"] == IMPORTED
        lines += run(served, "BatchPrediction", "s3://b/decide.csv", DECIDED, detectorName="det_pay")
        [output] = (bucket / "BatchPrediction").glob("*.csv")
        with output.open() as file:
            ids = [line.split(",", 1)[0] for line in file]
        assert len(ids) == len(set(ids)) == DECIDED + 1
        served.stop()
    finally:
        served.close()
    figures("Batch jobs", *lines)
