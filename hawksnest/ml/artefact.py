"""A trained model on disk and in memory: tree text, feature plan, calibration and a card. No pickle.

An artefact is a folder with `model.txt` (LightGBM's text format), `plan.json`, `calibration.json` and
`card.json` (data, window, features, parameters, metrics, library versions, seed). For a tenant with an
encryption key they are sealed, because the plan knows frequent values; `data_key` names the data key.
"""

import json
import os
import shutil
from pathlib import Path
from typing import Any

from hawksnest.catalog import Tenant
from hawksnest.kernel.features import FeaturePlan
from hawksnest.log import sync_folder
from hawksnest.ml.calibration import Calibration
from hawksnest.ml.scorer import RowScorer
from hawksnest.store.sealing import Box, DataKeyId, Keyring, Reason

MODEL, PLAN, CALIBRATION, CARD = "model.txt", "plan.json", "calibration.json", "card.json"
DATA_KEY = "data_key"
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
    folder: Path,
    model_text: str,
    plan: FeaturePlan,
    calibration: Calibration,
    card: dict[str, Any],
    box: Box | None = None,
) -> None:
    """Write an artefact in place of any that is there; it is durable, and appears whole or not at all.

    `box`: what it is sealed with.
    """
    scratch = folder.with_name(folder.name + ".new")
    for leftover in (scratch, folder):  # of an attempt that was killed
        shutil.rmtree(leftover, ignore_errors=True)
    scratch.mkdir(parents=True)
    for name, text in (
        (MODEL, model_text),
        (PLAN, _json(plan.to_json())),
        (CALIBRATION, _json(calibration.to_json())),
        (CARD, _json({"format": FORMAT, **card})),
    ):
        content = text.encode()
        _write(scratch / name, content if box is None else box.seal(content, _place(name)))
    if box is not None:
        _write(scratch / DATA_KEY, str(box.id.number).encode())
    sync_folder(scratch)
    scratch.replace(folder)
    sync_folder(folder.parent)


def load(folder: Path, tenant: Tenant | None = None, keys: Keyring | None = None) -> ServedModel:
    """The model of an artefact. Raises ValueError when the folder is none, or of a newer format.

    `tenant`, `keys`: whose it is, and what it is opened with if it is sealed. Raises ServiceError when its
    data key cannot be had.
    """
    try:
        box = _box(folder, tenant, keys)
        card = json.loads(_read(folder / CARD, box))
        if card["format"] > FORMAT:
            raise ValueError(f"{folder} was made by a newer version of Hawksnest (format {card['format']}).")
        plan = FeaturePlan.from_json(json.loads(_read(folder / PLAN, box)))
        calibration = Calibration.from_json(json.loads(_read(folder / CALIBRATION, box)))
        model = folder / MODEL if box is None else _read(folder / MODEL, box)
    except (OSError, KeyError, TypeError) as error:
        raise ValueError(f"{folder} is not a model artefact: {error}") from error
    return ServedModel(card, plan, calibration, RowScorer(model, len(plan.names)))


def _box(folder: Path, tenant: Tenant | None, keys: Keyring | None) -> Box | None:
    """What the artefact is sealed with."""
    try:
        number = int((folder / DATA_KEY).read_text())
    except FileNotFoundError:
        return None
    if tenant is None or keys is None:
        raise ValueError(f"{folder} is sealed.")
    found = keys.find(DataKeyId(*tenant, number))
    if isinstance(found, Reason):
        raise found.fault()
    return found


def _place(name: str) -> bytes:
    return f"artefact {name}".encode()


def _json(content: Any) -> str:
    return json.dumps(content, ensure_ascii=False, indent=1, allow_nan=False)


def _write(path: Path, content: bytes) -> None:
    with path.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def _read(path: Path, box: Box | None) -> bytes:
    content = path.read_bytes()
    return content if box is None else box.open(content, _place(path.name))
