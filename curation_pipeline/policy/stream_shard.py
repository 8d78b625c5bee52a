"""The arrays of one part of a pool in a scratch file, so that the pool's Parquet is read and checked once.

Reading Parquet and making arrays of it costs as much as deciding; the arrays are 64 bytes of vector and about as much
of everything else a document, uncompressed, and are gone when the part has been decided.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from safetensors.numpy import load_file, save_file

from curation_pipeline.policy.pool import F64, Codes, Pool, Tables
from curation_pipeline.seeds import unit_hash

_VALUES = ("vectors", "safety", "alignment", "detectors", "quality", "n_tokens", "toxicity_bin", "n_drawn")
_AXIS = "axis."
_FIELDS = {"identity_group": "group"}
"""Axes whose field in ``Pool`` has another name."""


@dataclass(frozen=True, slots=True)
class StoredPart:
    """What a file of arrays does not hold itself.

    Attributes:
        path: of the file.
        names: axis -> names of the part's own codes.
        detector_names: columns of the detectors.
    """

    path: Path
    names: dict[str, tuple[str, ...]]
    detector_names: tuple[str, ...]

    @classmethod
    def save(cls, pool: Pool, seed: int, path: Path) -> StoredPart:
        """Write the arrays of a part, and the permanent random numbers of its documents under a draw's seed."""
        arrays = {name: np.ascontiguousarray(getattr(pool, name)) for name in _VALUES}
        arrays |= {_AXIS + axis: np.ascontiguousarray(codes.code) for axis, codes in pool.columns.items()}
        save_file({**arrays, "unit": unit_hash(pool.doc_id, seed)}, path)
        return cls(path, {axis: codes.names for axis, codes in pool.columns.items()}, pool.detector_names)

    def load(self, tables: Tables) -> tuple[Pool, F64]:
        """The part in the codes of the whole pool, without ids (they stay in the pool), and the random numbers."""
        arrays = load_file(self.path)
        codes: dict[str, Any] = {}
        for axis, names in self.names.items():
            every = tables.names[axis]
            place = {name: i for i, name in enumerate(every)}
            table = np.array([place[name] for name in names], np.int32)
            codes[_FIELDS.get(axis, axis)] = Codes(table[arrays[_AXIS + axis]], every)
        values: dict[str, Any] = {name: arrays[name] for name in _VALUES}
        pool = Pool(
            doc_id=pl.Series("doc_id", [], dtype=pl.Utf8),
            detector_names=self.detector_names,
            centres=tables.centres,
            **values,
            **codes,
        )
        return pool, arrays["unit"]
