"""Any transformers sequence classifier as a detector, from a local folder or a hub id.

Long texts are scored in overlapping windows of the model's length: harm anywhere in a document counts (the maximum),
and the mean over its windows says how much of it is harmful.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from curation_pipeline.annotate.detectors.protocol import score_frame
from curation_pipeline.annotate.detectors.token_windows import TOKENS_OF_A_TEXT, TokenWindows, window_of
from curation_pipeline.errors import ConfigError
from curation_pipeline.lake.lake import file_sha256
from curation_pipeline.pretrained import load_pretrained
from curation_pipeline.progress import Progress

if TYPE_CHECKING:
    from curation_pipeline.annotate.settings import ClassifierSettings

NAME = "classifier"
HEADS = ("harm", "harm_mean")


@dataclass(frozen=True, slots=True, eq=False)
class SequenceClassifier:
    """A loaded classifier.

    Attributes:
        network: a transformers model for sequence classification and its tokenizer, over windows.
        harmful: columns of the logits that mean harm.
        multi_label: each label has its own probability (sigmoid); otherwise they share one (softmax).
        version: the model's name or content.
        name: the detector's name.
        heads: ``harm``, the maximum over a text's windows, and ``harm_mean``, their mean.
    """

    network: TokenWindows
    harmful: tuple[int, ...]
    multi_label: bool
    version: str
    name: str = NAME
    heads: tuple[str, ...] = HEADS

    def score(self, texts: Sequence[str], progress: Progress | None = None) -> pl.DataFrame:
        """See ``Detector.score``. A window's harm is the largest (multi-label) or the summed harmful probability."""

        def harm(logits: Any) -> Any:
            if self.multi_label:
                return logits.sigmoid()[:, list(self.harmful)].amax(dim=1, keepdim=True)
            return logits.softmax(dim=1)[:, list(self.harmful)].sum(dim=1, keepdim=True)

        highest, mean = self.network.pooled(texts, harm, 1, self.name, progress)
        return score_frame(np.column_stack([highest, mean]), HEADS)


def load(settings: ClassifierSettings) -> SequenceClassifier:
    """Load the classifier that a profile names.

    Raises:
        MissingModelError: the folder or hub id cannot be loaded.
        ConfigError: a harmful label is none of the model's, or the tokenizer cannot cut windows.
    """
    assert settings.model is not None
    failed = (
        f"annotate.classifier.model: {settings.model!r} cannot be loaded as a sequence classifier with safetensors "
        "weights"
    )
    tokenizer = load_pretrained("AutoTokenizer", settings.model, failed, revision=settings.revision)
    model = load_pretrained("AutoModelForSequenceClassification", settings.model, failed, revision=settings.revision)
    if not tokenizer.is_fast:
        raise ConfigError(f"annotate.classifier.model: {settings.model!r} has no fast tokenizer, which windows need")
    labels = {str(label).lower(): index for index, label in model.config.id2label.items()}
    if unknown := [label for label in settings.harmful_labels if label.lower() not in labels]:
        raise ConfigError(
            f"annotate.classifier.harmful_labels: {settings.model!r} has no label {', '.join(unknown)}; "
            f"it has {', '.join(map(str, model.config.id2label.values()))}"
        )
    window = window_of(model, tokenizer, settings.window)
    return SequenceClassifier(
        network=TokenWindows(
            model=model.to(settings.device).eval(),
            tokenizer=tokenizer,
            window=window,
            stride=min(settings.stride, window // 2),
            batch_tokens=settings.batch_size * TOKENS_OF_A_TEXT,
        ),
        harmful=tuple(labels[label.lower()] for label in settings.harmful_labels),
        multi_label=model.config.problem_type == "multi_label_classification",
        version=fingerprint(settings),
    )


def fingerprint(settings: ClassifierSettings) -> str:
    """What the scores depend on besides the texts: content of a local folder, or a hub id with its revision."""
    folder = Path(settings.model or "")
    if not folder.is_dir():
        return f"{settings.model}@{settings.revision or 'main'}"
    names = sorted(path for path in folder.iterdir() if path.suffix in (".safetensors", ".json", ".txt", ".model"))
    return " ".join(f"{path.name}:{file_sha256(path)[:16]}" for path in names)
