"""A detector fitted here: logistic regression over hashed words and pieces of words of the undisguised text.

One head for each axis of harm (``HEADS``), fitted on the labelled texts of role ``fit`` alone. Besides the
hashed features a frozen sentence encoder's vector may enter. The score is a probability under equal weight of data sets
and classes, so it ranks texts; what it means as a probability on the pool is calibrated later, on other labels.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import scipy
from pydantic import Field

from curation_pipeline import seeds
from curation_pipeline.annotate import augment, subwords
from curation_pipeline.annotate.detectors.preflight import missing_model, missing_package
from curation_pipeline.annotate.detectors.protocol import score_frame
from curation_pipeline.annotate.detectors.registry import DetectorSpec, Making, Missing, Opening, Preflight
from curation_pipeline.annotate.encoder import MINILM, Encoder, encoder_version, load_encoder
from curation_pipeline.annotate.files import load_arrays, save_arrays
from curation_pipeline.annotate.identity_terms import without_groups
from curation_pipeline.annotate.obfuscation import deobfuscate
from curation_pipeline.annotate.sparse_logistic import Rows, Weights, balanced, choose_penalty, fit_logistic
from curation_pipeline.datasets.text import near_duplicate_units
from curation_pipeline.errors import ConfigError, DataError
from curation_pipeline.progress import Progress, silent
from curation_pipeline.settings import Settings

HEADS: tuple[str, ...] = ("harm_head", "bias_head", "subtle_head")
"""toxicity (insult, abuse, harmful answers), bias (stereotype, sexism) and subtle harm (implicit hate, unsafe replies):
three axes with labels of their own, never merged into one."""
KIND = "head"
VERSION = 2
CHUNK = 8192
LEAST_OF_A_LABEL = 20
"""Fewest texts of either label that a head is fitted on: cross-validation must find both in every fold."""
NEUTRAL = "\0neutral"
"""The name, among the data sets, of the neutral sentences."""


class HeadSettings(Settings):
    """Fitted heads: on which labelled sets, over which features, how strongly regularised and augmented."""

    harm_head: tuple[str, ...] = Field(
        default=("pyrit_harm", "impermium", "davidson", "paradetox", "wiki_talk"),
        min_length=1,
        description="labelled sets that the head of toxicity is fitted on, as far as they are there",
    )
    bias_head: tuple[str, ...] = Field(
        default=("redditbias", "edos"),
        min_length=1,
        description="labelled sets that the head of stereotypes is fitted on, as far as they are there",
    )
    subtle_head: tuple[str, ...] = Field(
        default=("toxigen", "diasafety"),
        min_length=1,
        description="labelled sets that the head of implicit harm is fitted on, as far as they are there",
    )
    bits: int = Field(default=18, ge=10, le=24, description="2 ** bits buckets of words and as many of word pieces")
    encoder: str | None = Field(
        default=None,
        description="a frozen sentence encoder besides the hashed words: minilm (from its package), a local folder or "
        "a hub id, read as sentence-transformers reads it (a plain transformers model gives the mean of its tokens); "
        "better on implicit harm, and some hundred times slower",
    )
    encoder_revision: str | None = Field(default=None, description="commit, tag or branch of an encoder on the hub")
    encoder_window: int = Field(default=128, ge=16, le=8192, description="tokens that the encoder reads at once")
    encoder_batch: int = Field(default=64, ge=1, le=4096, description="windows encoded at once")
    encoder_scale: float = Field(
        default=1.0,
        gt=0.0,
        le=100.0,
        description="length of the encoder's vector, where the blocks of words have length 1",
    )
    device: str = Field(default="cpu", description="torch device of the encoder, such as cpu or cuda:0")
    inverse_penalty: tuple[float, ...] = Field(
        default=(0.5, 1.0, 2.0, 4.0),
        min_length=1,
        description="values of C, the inverse of the L2 penalty, of which cross-validation chooses",
    )
    folds: int = Field(default=3, ge=2, le=20, description="folds of cross-validation; near-duplicates share one")
    swapped_share: float = Field(
        default=1.0,
        ge=0.0,
        le=1.0,
        description="share of the texts that name a group of which a copy names another of its kind, label unchanged",
    )
    neutral_share: float = Field(
        default=0.1,
        ge=0.0,
        le=0.5,
        description="weight of neutral sentences about groups of people, relative to all labelled texts",
    )
    disguised_share: float = Field(
        default=0.1, ge=0.0, le=1.0, description="share of the texts of which a copy has some words disguised"
    )
    max_copies: int = Field(
        default=20_000, ge=0, description="most copies of either kind; an encoder reads each one, at its speed"
    )

    def datasets_of(self, head: str) -> tuple[str, ...]:
        """The labelled sets of a head.

        Args:
            head: one of ``HEADS``.
        """
        return {"harm_head": self.harm_head, "bias_head": self.bias_head, "subtle_head": self.subtle_head}[head]


@dataclass(frozen=True, slots=True, eq=False)
class HeadDetector:
    """A fitted head.

    Attributes:
        name: one of ``HEADS``; also its only column.
        weights: of the hashed features, float32 (2 ** (bits + 1),), with ``dense`` float32 (d,) of the encoder's
            vector, None without one, and the bias.
        idf: float32 (2 ** (bits + 1),) factor of each bucket.
        scale: length of the encoder's vector.
        encoder: the encoder that ``dense`` was fitted on, or None.
        facts: how it was fitted: data sets and their texts, the penalty chosen.
    """

    name: str
    weights: Weights
    idf: np.ndarray
    scale: float
    encoder: Encoder | None
    facts: dict[str, Any]

    @property
    def heads(self) -> tuple[str, ...]:
        """The only column."""
        return (self.name,)

    @property
    def bits(self) -> int:
        """Logarithm to base 2 of the number of buckets of one block."""
        return len(self.idf).bit_length() - 2

    @property
    def version(self) -> str:
        """Hash of all that the scores depend on besides the texts."""
        digest = hashlib.sha256(json.dumps(self._identity(), sort_keys=True).encode())
        for array in self._arrays().values():
            digest.update(np.ascontiguousarray(array).tobytes())
        return digest.hexdigest()[:16]

    def _identity(self) -> dict[str, Any]:
        encoder = None if self.encoder is None else self.encoder.version
        return {"name": self.name, "code": [VERSION, subwords.VERSION], "encoder": encoder, "scale": self.scale}

    def _arrays(self) -> dict[str, np.ndarray]:
        arrays = {"sparse": self.weights.sparse, "idf": self.idf, "bias": np.array([self.weights.bias], np.float32)}
        return arrays if self.weights.dense is None else {**arrays, "dense": self.weights.dense}

    def margins(self, texts: pl.Series, vectors: np.ndarray | None = None) -> np.ndarray:
        """Log-odds of texts, float64 (n,).

        Args:
            texts: n strings.
            vectors: (n, d) of the encoder, where they are known already.
        """
        clear = deobfuscate(texts)
        dense = None
        if self.encoder is not None:
            dense = self.scale * (self.encoder.encode(clear.to_list()) if vectors is None else vectors)
        return self.weights.margins(Rows(subwords.subword_features(clear, self.bits, self.idf), dense))

    def score(self, texts: Sequence[str], progress: Progress | None = None) -> pl.DataFrame:
        """One Float32 column named after the head, a row a text."""
        report = progress or silent
        parts = [np.empty(0)]
        for start in range(0, len(texts), CHUNK):
            parts.append(scipy.special.expit(self.margins(pl.Series(texts[start : start + CHUNK], dtype=pl.Utf8))))
            report(f"scoring with {self.name}", min(1.0, (start + CHUNK) / len(texts)))
        return score_frame(np.concatenate(parts)[:, None], self.heads)

    def save(self, directory: Path) -> None:
        """Write to a folder: arrays as safetensors, facts as JSON; the encoder is named, not written."""
        save_arrays(directory, self._arrays(), {"kind": KIND, **self._identity(), "facts": self.facts})


def load_head(directory: Path, encoder: Encoder | None = None) -> HeadDetector:
    """What ``HeadDetector.save`` wrote.

    Args:
        directory: the folder.
        encoder: the encoder it was fitted with (see ``encoder.load_encoder``), or None for a head without one.

    Raises:
        MissingModelError: the folder does not hold it.
        DataError: it is of another version, or was fitted with another encoder.
    """
    arrays, meta = load_arrays(directory)
    if meta.get("kind") != KIND or meta.get("code") != [VERSION, subwords.VERSION]:
        raise DataError(f"{directory} holds no head of version {VERSION}; fit it again")
    found = None if encoder is None else encoder.version
    if meta["encoder"] != found:
        raise DataError(
            f"{directory}: the head was fitted with the encoder {meta['encoder'] or 'none'}, not {found or 'none'}; "
            "fit it again or set annotate.heads.encoder back"
        )
    weights = Weights(arrays["sparse"], arrays.get("dense"), float(arrays["bias"][0]))
    return HeadDetector(meta["name"], weights, arrays["idf"], float(meta["scale"]), encoder, meta["facts"])


def head_rows(name: str, labels: pl.DataFrame, settings: HeadSettings) -> pl.DataFrame:
    """The labelled texts that a head may be fitted on: of its data sets, and of role ``fit`` alone.

    Args:
        name: one of ``HEADS``.
        labels: rows of ``datasets.registry.LABELS_SCHEMA``.
        settings: which data sets.

    Raises:
        ConfigError: there is no such head, or none of its data sets is there with both labels.
    """
    if name not in HEADS:
        raise ConfigError(f"there is no head `{name}`; known are {', '.join(HEADS)}")
    wanted = settings.datasets_of(name)
    rows = labels.filter(
        (pl.col("role") == "fit") & pl.col("dataset").is_in(list(wanted)) & pl.col("label").is_not_null()
    )
    fewest = min(rows.filter(pl.col("label") >= 0.5).height, rows.filter(pl.col("label") < 0.5).height)
    if fewest < LEAST_OF_A_LABEL:
        there = labels.filter(pl.col("role") == "fit")["dataset"].unique().sort().to_list()
        raise ConfigError(
            f"annotate names the head {name}, which needs {LEAST_OF_A_LABEL} texts of each label with the role fit and "
            f"has {fewest}: any of {', '.join(wanted)} will do, those there are {', '.join(there) or 'none'}; add one "
            f"under labels.files, change annotate.heads.{name}, or leave the head out of annotate.teachers"
        )
    return rows.sort("dataset", "text_id")


def fit_head(
    name: str,
    texts: pl.Series,
    labels: np.ndarray,
    datasets: np.ndarray,
    groups: np.ndarray,
    seed: int,
    settings: HeadSettings,
    encoder: Encoder | None = None,
    progress: Progress | None = None,
) -> HeadDetector:
    """Fit a head on labelled texts, all of which must have role ``fit`` (see ``head_rows``).

    Args:
        name: one of ``HEADS``.
        texts: n strings.
        labels: (n,) in [0, 1], 1 = harm of the head's kind; a soft label counts for both sides.
        datasets: n names of data sets, which weigh the same.
        groups: n names of groups within a data set (empty for none), in each of which both classes weigh the same.
        seed: of copies and folds.
        settings: features, penalty grid, augmentation.
        encoder: a frozen encoder whose vectors enter as well, or None.
        progress: told of each step.

    Raises:
        DataError: lengths differ, or labels lie outside of [0, 1] or have one side only.
    """
    report = progress or silent
    y = np.asarray(labels, dtype=np.float64)
    dataset = np.asarray(datasets).astype(str)
    group = np.array(["" if value is None else str(value) for value in groups], dtype=str)
    if not (len(texts) == len(y) == len(dataset) == len(group)) or not len(y):
        raise DataError(f"{name}: {len(texts)} texts, {len(y)} labels, {len(dataset)} data sets, {len(group)} groups")
    if not np.isfinite(y).all() or y.min() < 0.0 or y.max() > 1.0:
        raise DataError(f"{name}: labels must lie in [0, 1]")
    fold = np.minimum((near_duplicate_units(texts, seeds.derive(seed, name, "folds")) * settings.folds).to_numpy(), 1e9)
    fold = fold.astype(np.int64)
    copies, source = _copies(name, texts, seed, settings)
    neutral = augment.neutral_sentences() if settings.neutral_share else []
    n, m = len(y), len(neutral)
    positive, negative = balanced(
        np.concatenate([y, y[source]]),
        np.concatenate([dataset, dataset[source]]),
        np.concatenate([group, group[source]]),
    )
    extra = np.full(m, settings.neutral_share * len(positive) / max(m, 1))
    positive, negative = np.concatenate([positive, np.zeros(m)]), np.concatenate([negative, extra])
    folds = np.concatenate([fold, fold[source], np.full(m, -1)])
    report(f"reading texts for {name}", 0.0)
    clear = deobfuscate(pl.concat([texts.cast(pl.Utf8).alias("text"), pl.Series("text", [*copies, *neutral])]))
    bare = subwords.subword_features(clear[:n], settings.bits)
    idf = subwords.inverse_document_frequency(bare)
    scale = settings.encoder_scale
    dense = None if encoder is None else scale * encoder.encode(clear.to_list(), progress)
    rows = Rows(subwords.subword_features(clear, settings.bits, idf), dense)
    report(f"fitting {name}", 0.5)
    scored = np.arange(len(positive)) < n
    chosen, losses = choose_penalty(rows, positive, negative, folds, scored, settings.inverse_penalty)
    found = fit_logistic(rows, positive, negative, chosen)
    report(f"fitting {name}", 1.0)
    facts = {
        "datasets": {key: int((dataset == key).sum()) for key in sorted(set(dataset.tolist()))},
        "copies": len(copies),
        "neutral": m,
        "inverse_penalty": chosen,
        "held_out_loss": dict(zip(map(str, settings.inverse_penalty), np.round(losses, 5).tolist(), strict=False)),
        "seed": seed,
    }
    weights = Weights(
        found.sparse.astype(np.float32),
        None if found.dense is None else found.dense.astype(np.float32),
        float(np.float32(found.bias)),
    )
    return HeadDetector(name, weights, idf, scale, encoder, facts)


def _copies(name: str, texts: pl.Series, seed: int, settings: HeadSettings) -> tuple[list[str], np.ndarray]:
    """Copies that name another group or are disguised, and the row each is a copy of."""
    random = seeds.generator(seed, name, "copies")
    known = texts.to_list()
    copies: list[str] = []
    source: list[int] = []
    for share, change in (
        (settings.swapped_share, augment.swap_identity),
        (settings.disguised_share, augment.disguise),
    ):
        rows = random.permutation(len(known))
        rows = np.sort(rows[: round(share * len(rows))])
        made = [(change(known[row], random), row) for row in rows.tolist()]
        kept = [(copy, row) for copy, row in made if copy is not None and copy != known[row]]
        if len(kept) > settings.max_copies:
            kept = [kept[i] for i in np.sort(random.permutation(len(kept))[: settings.max_copies]).tolist()]
        copies += [copy for copy, _ in kept]
        source += [row for _, row in kept]
    return copies, np.asarray(source, dtype=np.int64)


def _missing(settings: HeadSettings, preflight: Preflight) -> Iterator[Missing]:
    if settings.encoder is not None and settings.encoder != MINILM:
        yield from missing_package("transformers", "transformers")
        yield from missing_model(
            "annotate.heads.encoder", settings.encoder, settings.encoder_revision, preflight.environ
        )
    wanted = settings.datasets_of(preflight.name)
    if preflight.labelled is not None and not set(wanted) & set(preflight.labelled):
        yield Missing(
            f"no labelled set to fit it on: annotate.heads.{preflight.name} names {', '.join(wanted)}, and the "
            f"profile makes {', '.join(sorted(preflight.labelled)) or 'none'}"
        )


def _make(settings: HeadSettings, making: Making) -> str:
    rows = making.rows
    assert rows is not None
    head = fit_head(
        making.name,
        # A head that cannot see groups when it scores does not see them when it learns.
        without_groups(rows["text"]) if making.identity_blind else rows["text"],
        rows["label"].to_numpy(),
        rows["dataset"].to_numpy(),
        rows["group"].fill_null("").to_numpy(),
        seeds.derive(making.seed, "heads"),
        settings,
        None if settings.encoder is None else load_encoder(settings, making.cache),
        making.progress,
    )
    head.save(making.folder)
    sizes = rows.group_by("dataset").len().sort("dataset").iter_rows()
    return "fitted on " + ", ".join(f"{name} {n}" for name, n in sizes)


def _parameters(settings: HeadSettings) -> dict[str, Any]:
    return {
        "heads": settings.model_dump(mode="json"),
        "code": [VERSION, subwords.VERSION],
        "encoder": encoder_version(settings),
    }


def _open(settings: HeadSettings, opening: Opening) -> HeadDetector:
    if settings.encoder is None or opening.cache is None:
        return load_head(opening.folder)
    return load_head(opening.folder, load_encoder(settings, opening.cache))


def _rows(name: str, settings: HeadSettings, labels: pl.DataFrame) -> pl.DataFrame:
    return head_rows(name, labels, settings)


DETECTORS = tuple(
    DetectorSpec(
        name=name,
        version=str(VERSION),
        source="fitted here on labelled sets of role fit",
        axis=axis,
        settings=HeadSettings,
        section="heads",
        missing=_missing,
        training_rows=partial(_rows, name),
        parameters=_parameters,
        make=_make,
        open=_open,
    )
    for name, axis in zip(HEADS, ("toxicity", "bias", "subtle"), strict=True)
)
