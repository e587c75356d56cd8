"""A trained model on disk and in memory: tree text, feature plan, calibration and a card. No pickle.

An artefact is a folder with `model.txt` (LightGBM's text format), `plan.json`, `calibration.json` and
`card.json` (data, window, features, parameters, metrics, library versions, seed).
"""

import json
import os
import shutil
from pathlib import Path
from typing import Any

from hawksnest.kernel.features import FeaturePlan
from hawksnest.log import sync_folder
from hawksnest.ml.calibration import Calibration
from hawksnest.ml.scorer import RowScorer

MODEL, PLAN, CALIBRATION, CARD = "model.txt", "plan.json", "calibration.json", "card.json"
FORMAT = 1


class ServedModel:
    """A loaded model version: feature vector in, score out. Safe to call from several threads."""

    def __init__(
        self, card: dict[str, Any], plan: FeaturePlan, calibration: Calibration, trees: RowScorer
    ) -> None:
        self.model_type: str = card["model_type"]
        self.model_id: str = card["model_id"]
        self.version: str = card["version"]
        self.plan = plan
        self.card = card
        self.feature_names: tuple[str, ...] = tuple(plan.names)
        self._calibrate = calibration.score
        self._raw = trees.raw
        self.packed = trees.packed  # a feature vector of the plan as it is scored and recorded

    def score(self, row: bytes) -> float:
        """Whole number 0..1000 for a packed feature vector."""
        return self._calibrate(self._raw(row))

    def raw(self, row: bytes) -> float:
        """The log-odds before calibration."""
        return self._raw(row)


def save(
    folder: Path, model_text: str, plan: FeaturePlan, calibration: Calibration, card: dict[str, Any]
) -> None:
    """Write an artefact in place of any that is there; it is durable, and appears whole or not at all."""
    scratch = folder.with_name(folder.name + ".new")
    for leftover in (scratch, folder):  # of an attempt that was killed
        shutil.rmtree(leftover, ignore_errors=True)
    scratch.mkdir(parents=True)
    _write(scratch / MODEL, model_text)
    _write(scratch / PLAN, _json(plan.to_json()))
    _write(scratch / CALIBRATION, _json(calibration.to_json()))
    _write(scratch / CARD, _json({"format": FORMAT, **card}))
    sync_folder(scratch)
    scratch.replace(folder)
    sync_folder(folder.parent)


def load(folder: Path) -> ServedModel:
    """The model of an artefact. Raises ValueError when the folder is none, or of a newer format."""
    try:
        card = _read(folder / CARD)
        if card["format"] > FORMAT:
            raise ValueError(f"{folder} was made by a newer version of Hawksnest (format {card['format']}).")
        plan = FeaturePlan.from_json(_read(folder / PLAN))
        calibration = Calibration.from_json(_read(folder / CALIBRATION))
    except (OSError, KeyError, TypeError) as error:
        raise ValueError(f"{folder} is not a model artefact: {error}") from error
    return ServedModel(card, plan, calibration, RowScorer(folder / MODEL, len(plan.names)))


def _json(content: Any) -> str:
    return json.dumps(content, ensure_ascii=False, indent=1, allow_nan=False)


def _write(path: Path, text: str) -> None:
    with path.open("w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())


def _read(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))
