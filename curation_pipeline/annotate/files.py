"""Fitted parameters on disk: arrays as safetensors, everything else as JSON next to them; never a pickle."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from curation_pipeline.errors import DataError, MissingModelError

ARRAYS = "arrays.safetensors"
META = "meta.json"


def save_arrays(directory: Path, arrays: Mapping[str, np.ndarray], meta: Mapping[str, Any]) -> None:
    """Write arrays and metadata into a folder, the metadata last and by rename, so that a crash leaves no half model.

    Args:
        directory: made if absent; an earlier model in it is replaced.
        arrays: by name, any dtype and shape that safetensors holds.
        meta: JSON-serialisable.
    """
    from safetensors.numpy import save_file

    directory.mkdir(parents=True, exist_ok=True)
    for path in (directory / META, directory / ARRAYS):
        path.unlink(missing_ok=True)
    partial = directory / f"{ARRAYS}.partial"
    save_file({name: np.ascontiguousarray(array) for name, array in arrays.items()}, partial)
    os.replace(partial, directory / ARRAYS)
    partial = directory / f"{META}.partial"
    partial.write_text(json.dumps(dict(meta), ensure_ascii=False, indent=1, sort_keys=True), encoding="utf-8")
    os.replace(partial, directory / META)


def load_arrays(directory: Path) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """What ``save_arrays`` wrote.

    Raises:
        MissingModelError: when the folder does not hold both files.
        DataError: when a file is damaged.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    if not (directory / META).is_file() or not (directory / ARRAYS).is_file():
        raise MissingModelError(f"no model in {directory}: it holds no {META} and {ARRAYS}; fit or convert it first")
    try:
        meta = json.loads((directory / META).read_text(encoding="utf-8"))
        arrays = load_file(directory / ARRAYS)
    except (ValueError, SafetensorError) as error:
        raise DataError(f"the model in {directory} is damaged ({error}); fit or convert it again") from error
    return arrays, meta
