"""A product in a folder of its own, and the public data sets."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from product import Product


@pytest.fixture(scope="session")
def datasets() -> Path:
    """The folder of the data sets; without it the shows that need it fail."""
    folder = Path(os.environ.get("DATASETS", "../shared/data"))
    if not (folder / "aws_samples").is_dir():
        pytest.fail(
            f"There are no data sets in {folder.resolve()}: set DATASETS to the folder that holds "
            "aws_samples/ and sparknov_30pct/ (make shows DATASETS=FOLDER).",
            pytrace=False,
        )
    return folder


@pytest.fixture
def product(tmp_path: Path) -> Iterator[Product]:
    made = Product(tmp_path)
    try:
        made.serve()
        yield made
    finally:
        made.stop_all()
