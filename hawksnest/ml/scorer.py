"""One row through a boosted-tree model, as fast as LightGBM's C API goes.

The library is opened directly, without its Python package: a server that only scores needs neither numpy nor
scikit-learn in memory, and a row costs microseconds instead of the tens that `Booster.predict` takes.
"""

import ctypes
import functools
import importlib.util
import struct
from collections.abc import Sequence
from pathlib import Path
from threading import Lock

from hawksnest.ml import openmp

_DOUBLE = 1  # C_API_DTYPE_FLOAT64
_RAW_SCORE = 1  # C_API_PREDICT_RAW_SCORE


class RowScorer:
    """A loaded model. Raw scores are log-odds; the same bits as `Booster.predict(raw_score=True)`."""

    def __init__(self, model: Path | bytes, features: int) -> None:
        """`model`: a file in LightGBM's text format, or such a text.

        Raises ValueError when it is not one of `features` columns.
        """
        self._library = _library()
        self._lock = Lock()
        self._booster = ctypes.c_void_p()
        self._fast = ctypes.c_void_p()
        make, what = self._library.LGBM_BoosterCreateFromModelfile, str(model)
        if isinstance(model, bytes):
            make, what = self._library.LGBM_BoosterLoadModelFromString, "The model"
        text = model if isinstance(model, bytes) else str(model).encode()
        self._check(make(text, ctypes.byref(ctypes.c_int()), ctypes.byref(self._booster)))
        trained = ctypes.c_int()
        self._check(self._library.LGBM_BoosterGetNumFeature(self._booster, ctypes.byref(trained)))
        if trained.value != features:
            raise ValueError(f"{what} takes {trained.value} features; the feature plan makes {features}.")
        self._check(
            self._library.LGBM_BoosterPredictForMatSingleRowFastInit(
                self._booster,
                _RAW_SCORE,
                0,
                -1,
                _DOUBLE,
                features,
                b"num_threads=1",
                ctypes.byref(self._fast),
            )
        )
        self._pack = struct.Struct(f"<{features}d").pack
        self._length = ctypes.c_int64()
        self._result = ctypes.c_double()
        self._out = ctypes.byref(self._length), ctypes.byref(self._result)
        self._predict = self._library.LGBM_BoosterPredictForMatSingleRowFast

    def packed(self, vector: Sequence[float]) -> bytes:
        """A feature vector as little-endian doubles, the form in which it is scored and recorded."""
        return self._pack(*vector)

    def raw(self, row: bytes) -> float:
        """Log-odds of one packed vector (NaN is missing). One caller at a time; others wait."""
        with self._lock:
            if self._predict(self._fast, row, *self._out):
                self._check(1)
            return self._result.value

    def _check(self, code: int) -> None:
        if code:
            raise ValueError(f"LightGBM: {self._library.LGBM_GetLastError().decode()}")

    def __del__(self) -> None:
        if getattr(self, "_fast", None):
            self._library.LGBM_FastConfigFree(self._fast)
        if getattr(self, "_booster", None):
            self._library.LGBM_BoosterFree(self._booster)


@functools.cache
def _library() -> ctypes.PyDLL:
    """LightGBM's shared library, with its OpenMP runtime.

    PyDLL keeps the interpreter lock: giving it up and taking it back costs as much as the call itself.
    """
    openmp.provide()
    package = importlib.util.find_spec("lightgbm")
    if package is None or package.origin is None:
        raise ImportError("LightGBM is not installed.")
    library = ctypes.PyDLL(str(Path(package.origin).parent / "lib" / "lib_lightgbm.so"))
    library.LGBM_GetLastError.restype = ctypes.c_char_p
    return library
