"""One row through LightGBM's fast path."""

import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest

from hawksnest.ml import trees
from hawksnest.ml.scorer import RowScorer
from hawksnest.world import seeded

WIDTH = 12


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, "trees.lightgbm.Booster", np.ndarray]:
    dice = seeded(5)
    vectors = np.array([[dice.gauss(0, 1) for _ in range(WIDTH)] for _ in range(3_000)])
    vectors[:, 3] = [dice.randrange(30) for _ in range(3_000)]  # a category
    vectors[::5, 1] = np.nan
    fraud = (np.nan_to_num(vectors[:, 0]) + (vectors[:, 3] % 7 == 2) > 0.9) ^ (vectors[:, 2] > 2)
    table = trees.Table(vectors, fraud, np.ones(3_000), ["x"] * WIDTH, (3,))
    booster = trees.grow(table, trees.candidates(3_000, 700)[-1], 120, seed=7, threads=1)
    path = tmp_path_factory.mktemp("model") / "model.txt"
    path.write_text(trees.text(booster))
    return path, booster, vectors


def test_every_bit_is_that_of_the_librarys_own_prediction(
    trained: tuple[Path, "trees.lightgbm.Booster", np.ndarray],
) -> None:
    path, booster, vectors = trained
    vectors = np.concatenate(
        [vectors, [[np.inf] * WIDTH, [-np.inf] * WIDTH, [np.nan] * WIDTH, [1e300] * WIDTH]]
    )
    scorer = RowScorer(path, WIDTH)
    expected = trees.raw_scores(booster, vectors)
    assert [scorer.raw(scorer.packed(row)) for row in vectors.tolist()] == expected.tolist()


def test_callers_in_several_threads_get_their_own_results(
    trained: tuple[Path, "trees.lightgbm.Booster", np.ndarray],
) -> None:
    path, booster, vectors = trained
    scorer = RowScorer(path, WIDTH)
    expected = trees.raw_scores(booster, vectors).tolist()
    wrong: list[int] = []

    def score(offset: int) -> None:
        for place in range(offset, len(expected), 4):
            if scorer.raw(scorer.packed(vectors[place].tolist())) != expected[place]:
                wrong.append(place)

    threads = [threading.Thread(target=score, args=(offset,)) for offset in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_model_of_another_width_is_refused(
    trained: tuple[Path, "trees.lightgbm.Booster", np.ndarray],
) -> None:
    with pytest.raises(ValueError, match="takes 12 features; the feature plan makes 5"):
        RowScorer(trained[0], 5)


def test_missing_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="LightGBM: Could not open"):
        RowScorer(tmp_path / "none.txt", 5)


def test_scoring_needs_neither_numpy_nor_lightgbms_package(
    trained: tuple[Path, "trees.lightgbm.Booster", np.ndarray],
) -> None:
    program = (
        "import sys; from pathlib import Path; from hawksnest.ml.scorer import RowScorer\n"
        f"RowScorer(Path({str(trained[0])!r}), {WIDTH}).raw(bytes(8 * {WIDTH}))\n"
        "print([name for name in ('numpy', 'lightgbm', 'sklearn') if name in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout == "[]\n"
