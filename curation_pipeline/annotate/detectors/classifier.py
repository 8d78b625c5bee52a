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
from curation_pipeline.errors import ConfigError, MissingModelError
from curation_pipeline.lake.lake import file_sha256
from curation_pipeline.progress import Progress, silent

if TYPE_CHECKING:
    from curation_pipeline.annotate.settings import ClassifierSettings

NAME = "classifier"
HEADS = ("harm", "harm_mean")
DEFAULT_WINDOW = 512
"""Tokens of a window where neither the profile nor the tokenizer names a length."""


@dataclass(frozen=True, slots=True, eq=False)
class SequenceClassifier:
    """A loaded classifier.

    Attributes:
        model: a transformers model for sequence classification, in evaluation mode.
        tokenizer: its tokenizer.
        harmful: columns of the logits that mean harm.
        multi_label: each label has its own probability (sigmoid); otherwise they share one (softmax).
        window: tokens of a window, special tokens included.
        stride: tokens that neighbouring windows share.
        batch_size: windows scored at once.
        version: the model's name or content.
        name: the detector's name.
        heads: ``harm``, the maximum over a text's windows, and ``harm_mean``, their mean.
    """

    model: Any
    tokenizer: Any
    harmful: tuple[int, ...]
    multi_label: bool
    window: int
    stride: int
    batch_size: int
    version: str
    name: str = NAME
    heads: tuple[str, ...] = HEADS

    def score(self, texts: Sequence[str], progress: Progress | None = None) -> pl.DataFrame:
        """See ``Detector.score``. A window's harm is the largest (multi-label) or the summed harmful probability."""
        import torch

        report = progress or silent
        if not texts:
            return score_frame(np.zeros((0, len(HEADS))), HEADS)
        encoded = self.tokenizer(
            list(texts), truncation=True, max_length=self.window, stride=self.stride, return_overflowing_tokens=True
        )
        owner = np.asarray(encoded.pop("overflow_to_sample_mapping"))
        lengths = np.asarray([len(ids) for ids in encoded["input_ids"]])
        harm = np.zeros(len(owner))
        # Windows of like length together: a batch costs as much as its longest.
        order = np.argsort(lengths, kind="stable")
        for start in range(0, len(order), self.batch_size):
            rows = order[start : start + self.batch_size]
            batch = self.tokenizer.pad(
                {key: [value[i] for i in rows] for key, value in encoded.items()}, return_tensors="pt"
            )
            with torch.inference_mode():
                logits = self.model(**batch.to(self.model.device)).logits.float().cpu()
            if self.multi_label:
                harm[rows] = logits.sigmoid()[:, list(self.harmful)].amax(dim=1).numpy()
            else:
                harm[rows] = logits.softmax(dim=1)[:, list(self.harmful)].sum(dim=1).numpy()
            report(f"scoring with {self.name}", min(1.0, (start + self.batch_size) / len(order)))
        highest = np.zeros(len(texts))
        np.maximum.at(highest, owner, harm)
        mean = np.bincount(owner, weights=harm, minlength=len(texts)) / np.bincount(owner, minlength=len(texts))
        return score_frame(np.column_stack([highest, mean]), HEADS)


def load(settings: ClassifierSettings) -> SequenceClassifier:
    """Load the classifier that a profile names.

    Raises:
        MissingModelError: the folder or hub id cannot be loaded.
        ConfigError: a harmful label is none of the model's, or the tokenizer cannot cut windows.
    """
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    assert settings.model is not None
    try:
        tokenizer = AutoTokenizer.from_pretrained(settings.model, revision=settings.revision)
        model = AutoModelForSequenceClassification.from_pretrained(
            settings.model, revision=settings.revision, use_safetensors=True
        )
    except (OSError, ValueError) as error:
        raise MissingModelError(
            f"annotate.classifier.model: {settings.model!r} cannot be loaded as a sequence classifier with safetensors "
            f"weights: {str(error).strip().partition(chr(10))[0]}"
        ) from error
    if not tokenizer.is_fast:
        raise ConfigError(f"annotate.classifier.model: {settings.model!r} has no fast tokenizer, which windows need")
    labels = {str(label).lower(): index for index, label in model.config.id2label.items()}
    if unknown := [label for label in settings.harmful_labels if label.lower() not in labels]:
        raise ConfigError(
            f"annotate.classifier.harmful_labels: {settings.model!r} has no label {', '.join(unknown)}; "
            f"it has {', '.join(map(str, model.config.id2label.values()))}"
        )
    positions = getattr(model.config, "max_position_embeddings", None) or DEFAULT_WINDOW
    window = min(settings.window or DEFAULT_WINDOW, tokenizer.model_max_length, positions)
    return SequenceClassifier(
        model=model.to(settings.device).eval(),
        tokenizer=tokenizer,
        harmful=tuple(labels[label.lower()] for label in settings.harmful_labels),
        multi_label=model.config.problem_type == "multi_label_classification",
        window=window,
        stride=min(settings.stride, window // 2),
        batch_size=settings.batch_size,
        version=fingerprint(settings),
    )


def fingerprint(settings: ClassifierSettings) -> str:
    """What the scores depend on besides the texts: content of a local folder, or a hub id with its revision."""
    folder = Path(settings.model or "")
    if not folder.is_dir():
        return f"{settings.model}@{settings.revision or 'main'}"
    names = sorted(path for path in folder.iterdir() if path.suffix in (".safetensors", ".json", ".txt", ".model"))
    return " ".join(f"{path.name}:{file_sha256(path)[:16]}" for path in names)
