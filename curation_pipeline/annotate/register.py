"""Register of each document: indicators, a predicted register, and the quality classifier's score (``register@1``)."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl

from curation_pipeline import seeds
from curation_pipeline.annotate.annotator_settings import RegisterSettings
from curation_pipeline.annotate.hashed_linear import HashedLinear, excerpts, fit_hashed_linear, load_hashed_linear
from curation_pipeline.annotate.indicators import INDICATORS, indicators
from curation_pipeline.annotate.quality_classifier import QualityModel
from curation_pipeline.annotate.words import Words, words_of

VERSION = 1
DECIMALS = 4
OTHER = "other"
KIND = "register"

SCHEMA: dict[str, pl.DataType] = {
    "doc_id": pl.Utf8(),
    **dict.fromkeys(INDICATORS, pl.Float32()),
    "register": pl.Utf8(),
    "register_confidence": pl.Float32(),
    "quality_classifier": pl.Float32(),
}


@dataclass(frozen=True, slots=True, eq=False)
class RegisterModel:
    """A fitted register classifier.

    Attributes:
        linear: one column of weights a register.
        registers: their names, in the order of the columns.
        min_confidence: below it a document's register is "other".
    """

    linear: HashedLinear
    registers: tuple[str, ...]
    min_confidence: float

    def predict(self, words: Words, values: pl.DataFrame) -> pl.DataFrame:
        """The likeliest register of each of n texts.

        Args:
            words: of the texts.
            values: their indicators.

        Returns:
            ``register`` (a name, or "other" where the model is unsure or the text holds no word) and
            ``register_confidence``, its probability in [0, 1]; n rows.
        """
        logits = self.linear.logits(words, values)
        if logits.shape[1] == 1:  # two registers have one column: that of the second against the first
            logits = np.column_stack([np.zeros(len(logits)), logits[:, 0]])
        odds = np.exp(logits - logits.max(axis=1, keepdims=True, initial=-np.inf))
        share = np.round(odds / odds.sum(axis=1, keepdims=True), DECIMALS)
        best = share.argmax(axis=1)
        sure = share[np.arange(len(best)), best]
        sure[words.counts == 0] = 0.0
        names = np.array(self.registers, dtype=object)[best]
        names[sure < self.min_confidence] = OTHER
        return pl.DataFrame(
            {"register": names.tolist(), "register_confidence": sure},
            schema={"register": pl.Utf8, "register_confidence": pl.Float32},
        )

    def save(self, directory: Path) -> None:
        """Write to a folder as safetensors and JSON."""
        meta = {"kind": KIND, "version": VERSION, "registers": list(self.registers)}
        self.linear.save(directory, {**meta, "min_confidence": self.min_confidence})


def load_register(directory: Path) -> RegisterModel:
    """What ``RegisterModel.save`` wrote.

    Raises:
        MissingModelError: when the folder does not hold it.
        DataError: when it holds something else.
    """
    linear, meta = load_hashed_linear(directory, KIND, VERSION)
    return RegisterModel(linear, tuple(meta["registers"]), float(meta["min_confidence"]))


def declared_registers(documents: pl.DataFrame) -> list[str]:
    """Registers that sources declare in the column ``domain``, sorted; "web" and "other" say nothing of one."""
    return sorted(set(documents["domain"].drop_nulls().to_list()) - {"web", OTHER})


def fit_register(documents: pl.DataFrame, seed: int, settings: RegisterSettings | None = None) -> RegisterModel:
    """Learn registers from the sources that declare them.

    Fitted on excerpts of like lengths, equally many from each register: neither a register's share of the corpus nor
    the length of its documents tells. What the model learns is the sources' topics too, as far as these go with
    register.

    Args:
        documents: columns ``text`` and ``domain``; rows whose domain is null, "web" or "other" are left out.
        seed: the same documents and seed give the same model.
        settings: size and regularisation.

    Raises:
        DataError: when fewer than two registers are declared.
    """
    settings = settings or RegisterSettings()
    declared = documents.filter(pl.col("domain").is_in(declared_registers(documents)))
    limits = (settings.words_min, max(settings.words_min, settings.words_max))
    generator = seeds.generator(seed, "register")
    sample = excerpts(declared, "domain", settings.max_documents, limits, generator)
    registers = tuple(sample["domain"].unique().sort().to_list())
    place = {name: i for i, name in enumerate(registers)}
    labels = np.array([place[name] for name in sample["domain"].to_list()], dtype=np.int64)
    linear = fit_hashed_linear(
        sample["text"], labels, bits=settings.buckets_log2, pairs=False, regularisation=settings.regularisation
    )
    return RegisterModel(linear, registers, settings.min_confidence)


def register(
    documents: pl.DataFrame, model: RegisterModel | None = None, quality: QualityModel | None = None
) -> pl.DataFrame:
    """Indicators, register and quality of each document, with one splitting into words.

    Args:
        documents: columns ``doc_id`` and ``text``.
        model: predicts the register; without it ``register`` is null.
        quality: scores quality; without it ``quality_classifier`` is null.

    Returns:
        One row a document, in order, with the columns of ``SCHEMA``: see ``indicators.INDICATORS``,
        ``RegisterModel.predict`` and ``QualityModel.score``; floats rounded to 4 decimals.
    """
    words = words_of(documents["text"])
    values = indicators(documents["text"], words)
    n = documents.height
    predicted = model.predict(words, values) if model and n else pl.DataFrame({"register": [None] * n})
    scores = quality.score(words, values) if quality and n else None
    frame = pl.concat([documents.select("doc_id"), values, predicted], how="horizontal").with_columns(
        pl.Series("quality_classifier", [None] * n if scores is None else scores, dtype=pl.Float32)
    )
    if "register_confidence" not in frame.columns:
        frame = frame.with_columns(pl.lit(None, dtype=pl.Float32).alias("register_confidence"))
    return frame.select(
        pl.col(name).cast(pl.Float64).round(DECIMALS).cast(dtype) if dtype == pl.Float32 else pl.col(name).cast(dtype)
        for name, dtype in SCHEMA.items()
    )
