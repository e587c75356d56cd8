"""Files of batch jobs in the bucket `b` of a customer's own, and waiting for what jobs end in."""

import csv
import io
import time
from pathlib import Path
from typing import Any

ROLE = "arn:aws:iam::123456789012:role/afd"
ENDED = ("COMPLETE", "FAILED", "CANCELED")
HEADER = ("EVENT_ID", "EVENT_TIMESTAMP", "ENTITY_TYPE", "ENTITY_ID", "amt", "email")


class Bucket:
    """A bucket with a customer's files."""

    def __init__(self, data: Path, name: str) -> None:
        self.name = name
        self.folder = data / "buckets" / name
        self.folder.mkdir(parents=True)

    def uri(self, key: str) -> str:
        return f"s3://{self.name}/{key}"

    def write(self, key: str, *rows: tuple[str, ...], header: tuple[str, ...] = HEADER) -> str:
        """A CSV file; its URI."""
        text = io.StringIO()
        csv.writer(text, lineterminator="\n").writerows([header, *rows])
        return self.write_bytes(key, text.getvalue().encode())

    def write_bytes(self, key: str, content: bytes) -> str:
        (self.folder / key).write_bytes(content)
        return self.uri(key)

    def outputs(self, folder: str = "o") -> list[Path]:
        return sorted((self.folder / folder).glob("*"))

    def output(self, folder: str = "o") -> str:
        [path] = self.outputs(folder)
        return path.read_text(encoding="utf-8")

    def table(self, folder: str = "o") -> list[dict[str, str]]:
        return list(csv.DictReader(io.StringIO(self.output(folder))))


def good(afd: Any, number: int, **other: str) -> tuple[str, ...]:
    row = {
        "EVENT_ID": f"e{number}",
        "EVENT_TIMESTAMP": afd.T,
        "ENTITY_TYPE": "customer",
        "ENTITY_ID": f"c{number % 7}",
        "amt": str(number),
        "email": f"u{number}@home.example",
    } | other
    return tuple(row[name] for name in HEADER)


def ended(get: Any, payload: str, within_s: float = 20.0, **members: Any) -> dict[str, Any]:
    """The one item that `get` shows, once its job has ended."""
    until = time.monotonic() + within_s
    while time.monotonic() < until:
        [item] = get(**members)[payload]
        if item["status"] in ENDED:
            return item
        time.sleep(0.01)
    raise AssertionError(f"still {item}")


def imported(afd: Any, job_id: str = "i1", within_s: float = 20.0) -> dict[str, Any]:
    return ended(afd.c.get_batch_import_jobs, "batchImports", within_s, jobId=job_id)


def predicted(afd: Any, job_id: str = "j1", within_s: float = 20.0) -> dict[str, Any]:
    return ended(afd.c.get_batch_prediction_jobs, "batchPredictions", within_s, jobId=job_id)
