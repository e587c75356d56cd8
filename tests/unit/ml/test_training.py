"""A training on data with a known structure."""

import json
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from training_samples import registrations, spec_for

from hawksnest.ml import artefact
from hawksnest.ml.spec import TrainingOutcome, TrainingSpec
from hawksnest.ml.training import train


def quiet(share: float, text: str) -> None:
    pass


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[TrainingSpec, TrainingOutcome]:
    spec = spec_for(tmp_path_factory.mktemp("training"), registrations(3_000))
    return spec, train(spec, quiet)


def validation(outcome: TrainingOutcome) -> dict[str, Any]:
    found: dict[str, Any] = outcome.result["trainingResultV2"]["trainingMetricsV2"]["ofi"]
    return found


def test_structure_of_the_data_is_found(trained: tuple[TrainingSpec, TrainingOutcome]) -> None:
    performance = validation(trained[1])["modelPerformance"]
    assert performance["auc"] > 0.85
    limits = performance["uncertaintyRange"]
    assert performance["auc"] - 0.06 < limits["lowerBoundValue"] < limits["upperBoundValue"] < 1


def test_old_and_new_result_say_the_same(trained: tuple[TrainingSpec, TrainingOutcome]) -> None:
    old, new = trained[1].result["trainingResult"], trained[1].result["trainingResultV2"]
    assert old["trainingMetrics"]["auc"] == validation(trained[1])["modelPerformance"]["auc"]
    assert old["trainingMetrics"]["metricDataPoints"] == validation(trained[1])["metricDataPoints"]
    assert old["variableImportanceMetrics"] == new["variableImportanceMetrics"]
    assert old["dataValidationMetrics"] == new["dataValidationMetrics"]


def test_thresholds_stand_for_their_rates(trained: tuple[TrainingSpec, TrainingOutcome]) -> None:
    points = {point["threshold"]: point["fpr"] for point in validation(trained[1])["metricDataPoints"]}
    legit = 450 * 0.8
    for rate, score in ((0.01, 950), (0.02, 900), (0.03, 860), (0.05, 775), (0.07, 700), (0.10, 600)):
        assert rate - 2 / legit <= points[score] <= rate


def test_what_makes_the_fraud_is_most_important(trained: tuple[TrainingSpec, TrainingOutcome]) -> None:
    found = trained[1].result["trainingResult"]["variableImportanceMetrics"]["logOddsMetrics"]
    assert [each["variableName"] for each in found[:2]] == ["amt", "country"]
    assert {each["variableName"]: each["variableType"] for each in found} == {
        "amt": "PRICE",
        "country": "CATEGORICAL",
        "ip": "IP_ADDRESS",
        "email": "EMAIL_ADDRESS",
    }
    values = [each["variableImportance"] for each in found]
    assert values == sorted(values, reverse=True)
    assert values[0] > 1 > values[2] >= 0


def test_result_is_plain_json_with_finite_numbers(trained: tuple[TrainingSpec, TrainingOutcome]) -> None:
    text = json.dumps(trained[1].result, allow_nan=False)
    assert json.loads(text) == trained[1].result


def test_artefact_scores_like_the_training_measured(trained: tuple[TrainingSpec, TrainingOutcome]) -> None:
    spec = trained[0]
    model = artefact.load(Path(spec.folder) / "artefact")
    assert (model.model_type, model.model_id, model.version) == (spec.model_type, "m1", "1.0")
    held = registrations(3_000)[-450:]
    scores = []
    for row in held:
        values = {"ip": row["ip"], "email": row["email"], "amt": float(row["amt"]), "country": row["country"]}
        vector = model.plan.vector(values, None, 0)
        assert len(vector) == len(model.feature_names)
        scores.append(model.score(model.packed(vector)))
    assert all(type(score) is float and score == int(score) and 0 <= score <= 1000 for score in scores)
    fraud = np.array([row["EVENT_LABEL"] == "fraud" for row in held])
    high = np.array(scores) >= 600
    assert high[fraud].mean() > 0.5 > 0.15 > high[~fraud].mean()


def test_artefact_holds_text_and_json_only(trained: tuple[TrainingSpec, TrainingOutcome]) -> None:
    folder = Path(trained[0].folder) / "artefact"
    assert sorted(path.name for path in folder.iterdir()) == [
        "calibration.json",
        "card.json",
        "model.txt",
        "plan.json",
    ]
    assert (folder / "model.txt").read_text().startswith("tree\n")
    card = json.loads((folder / "card.json").read_text())
    assert card["data"]["rows"] == 3_000
    assert card["data"]["held_out"] == 450
    assert set(card["libraries"]) == {"hawksnest", "lightgbm", "numpy", "scikit-learn", "python"}


def test_same_seed_gives_the_same_model_and_another_seed_another(
    trained: tuple[TrainingSpec, TrainingOutcome], tmp_path: Path
) -> None:
    def model(spec: TrainingSpec, name: str, **changes: Any) -> str:
        folder = tmp_path / name
        folder.mkdir()
        train(msgspec.structs.replace(spec, folder=str(folder), **changes), quiet)
        return (folder / "artefact" / "model.txt").read_text()

    spec, _ = trained
    first = (Path(spec.folder) / "artefact" / "model.txt").read_text()
    assert model(spec, "again") == first
    assert model(spec, "other", seed=8) != first


def test_progress_goes_from_0_to_1(tmp_path: Path) -> None:
    told: list[float] = []
    train(spec_for(tmp_path, registrations(400)), lambda share, text: told.append(share))
    assert told[0] == 0.0
    assert told[-1] == 1.0
    assert told == sorted(told)


def test_smallest_data_that_is_enough_trains(tmp_path: Path) -> None:
    outcome = train(spec_for(tmp_path, registrations(140, fraud=0.5)), quiet)
    assert outcome.ok, outcome.reason
    points = validation(outcome)["metricDataPoints"]
    for bin_ in range(6):
        assert any(bin_ / 100 < point["fpr"] <= (bin_ + 1) / 100 for point in points)


@pytest.mark.parametrize("file", ["card.json", "plan.json", "calibration.json", "model.txt"])
def test_folder_that_lacks_a_file_is_no_artefact(
    trained: tuple[TrainingSpec, TrainingOutcome], tmp_path: Path, file: str
) -> None:
    for path in (Path(trained[0].folder) / "artefact").iterdir():
        if path.name != file:
            (tmp_path / path.name).write_bytes(path.read_bytes())
    with pytest.raises(ValueError, match=str(tmp_path)):
        artefact.load(tmp_path)


def test_artefact_of_a_newer_format_is_refused(
    trained: tuple[TrainingSpec, TrainingOutcome], tmp_path: Path
) -> None:
    (tmp_path / "card.json").write_text(json.dumps({"format": 99}))
    with pytest.raises(ValueError, match="newer version"):
        artefact.load(tmp_path)
