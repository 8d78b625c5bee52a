"""A calibrated linear SVM over words, the model of the package alt-profanity-check, without its pickles.

The model is TF-IDF over single words, five linear SVMs and, for each, Platt's sigmoid (Platt 1999); the score is the
mean of the five probabilities, as in scikit-learn's ``CalibratedClassifierCV``. It reads words without context and is
known to call some plain identity terms toxic: a teacher to be corrected, not to be believed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from curation_pipeline.annotate.detectors.allowlist import (
    NDARRAY_WRAPPER,
    NUMPY_VALUES,
    PickledObject,
    read_pickle,
)
from curation_pipeline.annotate.detectors.protocol import score_frame
from curation_pipeline.annotate.detectors.registry import DetectorSpec, converted
from curation_pipeline.annotate.files import load_arrays, save_arrays
from curation_pipeline.annotate.vocabulary import TOKEN, word_counts
from curation_pipeline.datasets.catalogue import ALT_PROFANITY_CHECK
from curation_pipeline.datasets.packages import read_member
from curation_pipeline.errors import DataError, IntegrityError
from curation_pipeline.progress import Progress, silent

NAME = "alt_profanity"
VERSION = "1.9.1-1"
CHUNK = 4096

_MODEL_RECORDS = (
    ("sklearn.calibration", "CalibratedClassifierCV"),
    ("sklearn.calibration", "_CalibratedClassifier"),
    ("sklearn.calibration", "_SigmoidCalibration"),
    ("sklearn.svm._classes", "LinearSVC"),
    NDARRAY_WRAPPER,
)
_VECTORIZER_RECORDS = (
    ("sklearn.feature_extraction.text", "TfidfVectorizer"),
    ("sklearn.feature_extraction.text", "TfidfTransformer"),
    NDARRAY_WRAPPER,
)
# The part of the vectoriser's settings that `score` implements; an archive that says otherwise is another model.
_EXPECTED = {
    "analyzer": "word",
    "ngram_range": (1, 1),
    "lowercase": True,
    "binary": False,
    "norm": "l2",
    "use_idf": True,
    "sublinear_tf": False,
    "strip_accents": None,
    "token_pattern": TOKEN,
}


@dataclass(frozen=True, slots=True, eq=False)
class LinearDetector:
    """The linear detector, loaded; score it from any number of processes.

    Attributes:
        vocabulary: v words in the order of the columns below; stop words are not among them.
        idf: (v,) float64 inverse document frequencies.
        coef: (v, m) float64 weights of the m SVMs, intercept: (m,) their intercepts.
        slope, offset: (m,) Platt's parameters: probability = 1 / (1 + exp(slope * margin + offset)).
    """

    vocabulary: tuple[str, ...]
    idf: np.ndarray
    coef: np.ndarray
    intercept: np.ndarray
    slope: np.ndarray
    offset: np.ndarray
    name: str = NAME
    version: str = VERSION
    heads: tuple[str, ...] = (NAME,)

    def probability(self, texts: Sequence[str]) -> np.ndarray:
        """Unrounded probabilities, float64 of shape (n,)."""
        from scipy.special import expit
        from sklearn.preprocessing import normalize

        weighted = word_counts(pl.Series(texts, dtype=pl.Utf8), self.vocabulary).multiply(self.idf[None, :]).tocsr()
        margin = normalize(weighted, norm="l2", copy=False) @ self.coef + self.intercept
        return np.asarray(expit(-(self.slope * margin + self.offset)).mean(axis=1))

    def score(self, texts: Sequence[str], progress: Progress | None = None) -> pl.DataFrame:
        """One Float32 column named after the detector, a row a text."""
        report = progress or silent
        parts = [np.empty(0)]
        for start in range(0, len(texts), CHUNK):
            parts.append(self.probability(list(texts[start : start + CHUNK])))
            report(f"scoring with {self.name}", min(1.0, (start + CHUNK) / len(texts)))
        return score_frame(np.concatenate(parts)[:, None], self.heads)


def convert(archive: Path, out_dir: Path) -> None:
    """Convert the package archive's two joblib files into ``out_dir`` (safetensors and JSON), once.

    Args:
        archive: the wheel of alt-profanity-check.
        out_dir: folder to write; made if absent.

    Raises:
        IntegrityError: when a pickle holds anything but what was reviewed.
        DataError: when the archive lacks the members.
    """
    model = read_pickle(read_member(archive, "profanity_check/data/model.joblib"), _MODEL_RECORDS, NUMPY_VALUES)
    vectorizer = read_pickle(
        read_member(archive, "profanity_check/data/vectorizer.joblib"), _VECTORIZER_RECORDS, NUMPY_VALUES
    )
    if not isinstance(model, PickledObject) or not isinstance(vectorizer, PickledObject):
        raise IntegrityError(f"{archive.name} does not hold the model that was reviewed; use alt-profanity-check 1.9.1")
    differing = [key for key, value in _EXPECTED.items() if vectorizer[key] != value]
    if differing or model["method"] != "sigmoid":
        raise IntegrityError(
            f"{archive.name}: the vectoriser's {', '.join(differing) or 'calibration'} is not what this detector "
            "implements; use alt-profanity-check 1.9.1"
        )
    vocabulary: dict[str, Any] = vectorizer["vocabulary_"]
    words = [word for word, _ in sorted(vocabulary.items(), key=lambda item: int(item[1]))]
    parts = model["calibrated_classifiers_"]
    sigmoids = [part["calibrators"][0] for part in parts]
    save_arrays(
        out_dir,
        {
            "idf": np.asarray(vectorizer["_tfidf"]["idf_"], dtype=np.float64).ravel(),
            "coef": np.stack([part["estimator"]["coef_"].ravel() for part in parts], axis=1),
            "intercept": np.concatenate([part["estimator"]["intercept_"] for part in parts]),
            "slope": np.array([float(sigmoid["a_"]) for sigmoid in sigmoids]),
            "offset": np.array([float(sigmoid["b_"]) for sigmoid in sigmoids]),
        },
        {"name": NAME, "version": VERSION, "vocabulary": words},
    )


def load(directory: Path) -> LinearDetector:
    """The detector that ``convert`` wrote.

    Raises:
        MissingModelError: when the folder does not hold it.
        DataError: when it holds another version.
    """
    arrays, meta = load_arrays(directory)
    if meta.get("name") != NAME or meta.get("version") != VERSION:
        raise DataError(
            f"{directory} holds {meta.get('name')} {meta.get('version')}, not {NAME} {VERSION}; "
            "convert the archive again"
        )
    return LinearDetector(
        vocabulary=tuple(meta["vocabulary"]),
        idf=arrays["idf"],
        coef=arrays["coef"],
        intercept=arrays["intercept"],
        slope=arrays["slope"],
        offset=arrays["offset"],
    )


DETECTORS = (
    DetectorSpec(
        name=NAME,
        version=VERSION,
        source="the package alt-profanity-check 1.9.1, MIT",
        make=converted(ALT_PROFANITY_CHECK, convert),
        open=lambda options, opening: load(opening.folder),
        cheap=True,
    ),
)
