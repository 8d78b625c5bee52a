from __future__ import annotations

import collections
import io
import os
import pickle
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pytest

from curation_pipeline.annotate.detectors.allowlist import NDARRAY_WRAPPER, NUMPY_VALUES, PickledObject, read_pickle
from curation_pipeline.errors import IntegrityError


class Foreign:
    """Some package's class."""

    def __init__(self, **fields: Any) -> None:
        self.__dict__.update(fields)


OURS = (Foreign.__module__, "Foreign")


def _joblib(value: object) -> bytes:
    stream = io.BytesIO()
    joblib.dump(value, stream)
    return stream.getvalue()


@pytest.mark.parametrize("order", ["C", "F"])
def test_arrays_of_a_joblib_file_are_read(order: str) -> None:
    array = np.asarray(np.random.default_rng(0).standard_normal((7, 5)), order=order)  # type: ignore[call-overload]
    raw = _joblib(Foreign(first=array, inner=Foreign(count=3, scalar=np.float64(0.5)), last=np.arange(4)))
    found = read_pickle(raw, [OURS, NDARRAY_WRAPPER], NUMPY_VALUES)
    assert isinstance(found, PickledObject)
    np.testing.assert_array_equal(found["first"], array)
    np.testing.assert_array_equal(found["last"], np.arange(4))
    assert found["inner"]["count"] == 3
    assert found["inner"]["scalar"] == 0.5
    with pytest.raises(IntegrityError, match="lacks the attribute `absent`"):
        found["absent"]


class _Runs:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, (f"touch {self.path}",)


@pytest.mark.parametrize("protocol", range(6))
def test_nothing_that_was_not_named_is_let_in(tmp_path: Path, protocol: int) -> None:
    raw = pickle.dumps([1, Foreign(a=_Runs(tmp_path / "trace"))], protocol=protocol)
    with pytest.raises(IntegrityError, match="allow-list"):
        read_pickle(raw, [OURS, ("copyreg", "_reconstructor")], NUMPY_VALUES)
    assert not (tmp_path / "trace").exists()


def test_a_named_class_takes_no_arguments_and_no_foreign_state() -> None:
    with pytest.raises(IntegrityError, match="cannot be read"):
        read_pickle(pickle.dumps(collections.Counter("aab")), [("collections", "Counter")], {})


def test_objects_in_arrays_and_truncated_files_are_refused() -> None:
    raw = _joblib(Foreign(array=np.arange(1000)))
    for damaged in (raw[: len(raw) // 2], raw[:10], b""):
        with pytest.raises(IntegrityError):
            read_pickle(damaged, [OURS, NDARRAY_WRAPPER], NUMPY_VALUES)
    objects = _joblib(Foreign(array=np.array([_Runs(Path("never"))], dtype=object)))
    with pytest.raises(IntegrityError):
        read_pickle(objects, [OURS, NDARRAY_WRAPPER], NUMPY_VALUES)
