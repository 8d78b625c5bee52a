"""The candidate pool as arrays, in the order of its frame."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from curation_pipeline.errors import DataError

F32 = npt.NDArray[np.float32]
F64 = npt.NDArray[np.float64]
I32 = npt.NDArray[np.int32]
Rows = npt.NDArray[np.int64]

_KEYS = ("doc_id", "source", "snapshot", "domain", "n_tokens", "topic", "toxicity_bin", "identity_group", "stratum")
_VALUES = ("vector", "p_harm", "alignment", "quality", "n_drawn")
DIMS = 16
"""Leading dimensions of the sentence vectors that a policy sees."""
NO_GROUP = "none"
"""The identity group of a document that mentions no group."""


@dataclass(frozen=True, slots=True)
class Codes:
    """A categorical column: ``names[code[i]]`` is the value of row i; names are sorted."""

    code: I32
    names: tuple[str, ...]

    @classmethod
    def of(cls, column: pl.Series, names: tuple[str, ...] | None = None) -> Codes:
        """Codes of a column, its nulls as the name "unknown".

        Args:
            column: of strings or whole numbers.
            names: the sorted names of a larger table of which this is a part; None for those of the column.

        Raises:
            DataError: the column holds a name that is not among them.
        """
        text = column.cast(pl.Utf8).fill_null("unknown")
        if names is None:
            names = tuple(text.unique().sort().to_list())
        try:
            code = text.cast(pl.Enum(names)).to_physical()
        except pl.exceptions.InvalidOperationError as error:
            raise DataError(
                f"the column {column.name} holds a name that the survey of the pool did not meet; the pool's "
                "files have changed since: build the pool again"
            ) from error
        return cls(code.cast(pl.Int32).to_numpy(), names)

    def shares(self, mass: F64) -> F64:
        """Share of ``mass`` (n,) in each name."""
        share: F64 = np.bincount(self.code, weights=mass, minlength=len(self.names)) / mass.sum()
        return share


_CENTRE_UNIT = 2.0**-20


@dataclass(frozen=True, slots=True)
class Centres:
    """Where the topics of some documents lie.

    Vectors are rounded to whole multiples of 2**-20, so that sums in float64 are exact and those of parts of a pool add
    up to the same in any order.

    Attributes:
        sums: (topics, d) sums of the vectors of each topic.
        count: (topics,) documents behind them.
    """

    sums: F64
    count: Rows

    @classmethod
    def of(cls, vectors: F32, topic: Codes) -> Centres:
        """Those of n documents.

        Args:
            vectors: (n, d).
            topic: of each.
        """
        n, k = len(vectors), len(topic.names)
        whole = np.rint(vectors * np.float32(1.0 / _CENTRE_UNIT)).astype(np.float64)
        from scipy.sparse import csc_array  # a second, which reading a profile need not wait for

        members = csc_array((np.ones(n), topic.code, np.arange(n + 1)), shape=(k, n))
        return cls((members @ whole) * _CENTRE_UNIT, np.bincount(topic.code, minlength=k).astype(np.int64))

    def distance(self, vectors: F32, topic: Codes) -> F32:
        """Distance (n,) of each vector (n, d) to the mean vector of its topic."""
        mean = np.asarray(self.sums / np.maximum(self.count, 1)[:, None], dtype=np.float32)
        apart = vectors - mean[topic.code]
        distance: F32 = np.sqrt(np.einsum("ij,ij->i", apart, apart))
        return distance


@dataclass(frozen=True, slots=True)
class Tables:
    """What the rows of one part of a pool need to know of the whole pool to become arrays.

    Attributes:
        names: axis -> sorted names, for the axes in ``Pool.columns``.
        centres: of the topics.
    """

    names: Mapping[str, tuple[str, ...]]
    centres: Centres


@dataclass(frozen=True, slots=True)
class Pool:
    """The arrays of a pool of n documents.

    Attributes:
        doc_id: ids, 32 hexadecimal digits.
        vectors: (n, d) the leading dimensions of the sentence vectors.
        safety: (n,) R_s = 1 - P(harm), in [0, 1], higher is better.
        alignment: (n,) R_a in [0, 1], higher is better.
        detectors: (n, k) scores of the teacher's detectors in [0, 1]; not a number where a detector did not run.
        detector_names: the k columns of ``detectors``.
        quality: (n,) a feature, never a reward.
        n_tokens: (n,) tokens, at least 1.
        centres: of the topics in the whole pool.
        toxicity_bin: (n,) bin of the stratum.
        n_drawn: (n,) how often earlier iterations of the chain drew the document.
        stratum, topic, group, domain, source: categorical columns.
        register: what the register classifier says, where the frame has it.
    """

    doc_id: pl.Series
    vectors: F32
    safety: F32
    alignment: F32
    detectors: F32
    detector_names: tuple[str, ...]
    quality: F32
    n_tokens: npt.NDArray[np.int64]
    centres: Centres
    toxicity_bin: I32
    n_drawn: I32
    stratum: Codes
    topic: Codes
    group: Codes
    domain: Codes
    source: Codes
    register: Codes | None = None

    def __len__(self) -> int:
        return len(self.n_tokens)

    @property
    def log_tokens(self) -> F32:
        """(n,) natural logarithm of ``n_tokens``."""
        return np.log(self.n_tokens).astype(np.float32)

    @property
    def p_harm(self) -> F32:
        """(n,) calibrated P(harm) = 1 - safety."""
        return (1.0 - self.safety).astype(np.float32)

    @property
    def centroid_distance(self) -> F32:
        """(n,) distance of the vector to the mean vector of its topic in the whole pool."""
        return self.centres.distance(self.vectors, self.topic)

    @property
    def total_tokens(self) -> int:
        """Tokens of the whole pool."""
        return int(self.n_tokens.sum())

    @property
    def axes(self) -> dict[str, Codes]:
        """The columns that shares of a batch can be about, by their names in a profile."""
        axes = {
            "topic": self.topic, "source": self.source, "domain": self.domain, "identity_group": self.group
        }  # fmt: skip
        return axes if self.register is None else {"register": self.register, **axes}

    @property
    def columns(self) -> dict[str, Codes]:
        """All categorical columns: the stratum and ``axes``."""
        return {"stratum": self.stratum, **self.axes}

    def take(self, rows: Rows | slice) -> Pool:
        """Some of the documents; names stay those of the whole pool."""

        def part(value: Any) -> Any:
            if isinstance(value, Codes):
                return Codes(value.code[rows], value.names)
            return value[rows] if isinstance(value, np.ndarray | pl.Series) else value

        return replace(self, **{field.name: part(getattr(self, field.name)) for field in fields(self)})

    @classmethod
    def from_frame(cls, frame: pl.DataFrame, dims: int = DIMS, tables: Tables | None = None) -> Pool:
        """Arrays of a frame that follows the ``pool`` contract.

        Every further numeric column is taken as a detector, in alphabetical order.

        Args:
            frame: one row per candidate.
            dims: leading dimensions of ``vector`` to keep.
            tables: names and centres of the whole pool where the frame is a part of it; None where it is the whole.

        Raises:
            DataError: the frame is empty, a column is missing, or a value is null, repeated or out of range.
        """
        missing = [name for name in (*_KEYS, *_VALUES) if name not in frame.columns]
        if missing:
            raise DataError(f"the pool lacks the columns {', '.join(missing)}; it has {', '.join(frame.columns)}")
        if frame.is_empty():
            raise DataError("the pool is empty; check the partitions that it was built from")
        repeated = _repeated(frame["doc_id"])
        if repeated:
            raise DataError(f"{repeated} rows of the pool repeat a doc_id; drop duplicates before building the pool")
        known = {*_KEYS, *_VALUES}
        names = tuple(sorted(c for c in frame.columns if c not in known and frame.schema[c].is_numeric()))
        tokens = _finite(frame, "n_tokens", 1.0, np.inf).astype(np.int64)
        vectors = frame["vector"].to_numpy()
        if vectors.dtype == object:
            vectors = np.stack(list(vectors))
        vectors = np.ascontiguousarray(vectors[:, :dims], dtype=np.float32)
        if not bool(np.isfinite(vectors).all()):
            raise DataError("the pool's column vector holds values that are not finite")

        def codes(column: str) -> Codes:
            return Codes.of(frame[column], None if tables is None else tables.names[column])

        topic = codes("topic")
        detectors = [frame[name].cast(pl.Float32).to_numpy().astype(np.float32) for name in names]
        return cls(
            doc_id=frame["doc_id"],
            vectors=vectors,
            safety=(1.0 - _finite(frame, "p_harm", 0.0, 1.0)).astype(np.float32),
            alignment=_finite(frame, "alignment", 0.0, 1.0).astype(np.float32),
            detectors=np.stack(detectors, axis=1) if detectors else np.empty((len(tokens), 0), np.float32),
            detector_names=names,
            quality=_finite(frame, "quality", -np.inf, np.inf).astype(np.float32),
            n_tokens=tokens,
            centres=Centres.of(vectors, topic) if tables is None else tables.centres,
            toxicity_bin=_finite(frame, "toxicity_bin", -128, 127).astype(np.int32),
            n_drawn=_finite(frame, "n_drawn", 0, np.inf).astype(np.int32),
            stratum=codes("stratum"),
            topic=topic,
            group=codes("identity_group"),
            domain=codes("domain"),
            source=codes("source"),
            register=codes("register") if "register" in frame.columns else None,
        )


def _finite(frame: pl.DataFrame, name: str, low: float, high: float) -> F64:
    """A numeric column without nulls, inside [low, high]."""
    values = np.asarray(frame[name].cast(pl.Float64).to_numpy(), dtype=np.float64)
    # The extremes tell of a sound column in two passes: either is not a number where any value is.
    least, most = float(values.min()), float(values.max())
    if not (least >= low and most <= high and np.isfinite(least) and np.isfinite(most)):
        bad = ~(np.isfinite(values) & (values >= low) & (values <= high))
        row = int(np.flatnonzero(bad)[0])
        raise DataError(
            f"the pool's column {name} holds {int(bad.sum())} values outside [{low:g}, {high:g}] or null, "
            f"the first {values[row]} for document {frame['doc_id'][row]}"
        )
    return values


def _repeated(doc_id: pl.Series) -> int:
    """How many rows repeat an id; a pool of the lake is sorted, where neighbours tell."""
    if bool((doc_id[1:] > doc_id[:-1]).all()):
        return 0
    return len(doc_id) - doc_id.n_unique()
