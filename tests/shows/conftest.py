"""A product in a folder of its own, and the public data sets."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from product import Product


@pytest.fixture(scope="session")
def dataset() -> Callable[[str], Path]:
    """Where a file of the public data sets lies; a show whose file is missing fails."""
    folder = Path(os.environ.get("DATASETS", "../shared/data"))

    def find(name: str) -> Path:
        if not (folder / name).is_file():
            pytest.fail(
                f"There is no {name} in {folder.resolve()}: set DATASETS to the folder that holds it "
                "(make shows DATASETS=FOLDER).",
                pytrace=False,
            )
        return folder / name

    return find


@pytest.fixture
def product(tmp_path: Path) -> Iterator[Product]:
    made = Product(tmp_path)
    try:
        made.serve()
        yield made
    finally:
        made.stop_all()
