"""Any transformers sequence classifier as a detector, from a local folder or a hub id.

Long texts are scored in overlapping windows of the model's length: harm anywhere in a document counts (the maximum),
and the mean over its windows says how much of it is harmful.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
from pydantic import Field

from curation_pipeline.annotate.detectors.preflight import missing_model, missing_package
from curation_pipeline.annotate.detectors.protocol import score_frame
from curation_pipeline.annotate.detectors.registry import DetectorSpec, Missing, Preflight
from curation_pipeline.annotate.detectors.token_windows import TOKENS_OF_A_TEXT, TokenWindows, window_of
from curation_pipeline.annotate.encoder import model_version
from curation_pipeline.errors import ConfigError, MissingModelError
from curation_pipeline.pretrained import load_pretrained
from curation_pipeline.progress import Progress
from curation_pipeline.settings import Settings

NAME = "classifier"
VERSION = 2
HEADS = ("harm", "harm_mean")


class ClassifierSettings(Settings):
    """Which transformers model is the detector ``classifier``, and what of it means harm."""

    model: str | None = Field(default=None, description="local folder or hub id of a sequence classifier")
    revision: str | None = Field(default=None, description="commit, tag or branch on the hub; name one to stay with it")
    harmful_labels: tuple[str, ...] = Field(
        default=("toxic",), min_length=1, description="labels of the model that mean harm, in any case of letters"
    )
    window: int | None = Field(default=None, ge=8, description="tokens scored at once; the model's length if absent")
    stride: int = Field(default=64, ge=0, description="tokens that neighbouring windows of a long text share")
    device: str = Field(default="cpu", description="torch device, such as cpu or cuda:0")
    batch_size: int = Field(default=32, ge=1, le=4096, description="windows of 128 tokens scored at once")


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
        """Harm, a row a text: of a window it is the largest (multi-label) or the summed harmful probability."""

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
        ConfigError: a harmful label is none of the model's, its outcome is no probability, or it cannot read windows.
    """
    import torch

    assert settings.model is not None
    name = f"annotate.classifier.model: {settings.model!r}"
    failed = f"{name} cannot be loaded as a sequence classifier with safetensors weights"
    tokenizer = load_pretrained("AutoTokenizer", settings.model, failed, revision=settings.revision)
    model, found = load_pretrained(
        "AutoModelForSequenceClassification", settings.model, failed, revision=settings.revision,
        dtype=torch.float32, output_loading_info=True,
    )  # fmt: skip
    if missing := sorted(found["missing_keys"]):
        raise MissingModelError(f"{name} has no weights for {', '.join(missing[:4])}: is it a classifier?")
    if not tokenizer.is_fast:
        raise ConfigError(f"{name} has no fast tokenizer, which windows need")
    config = model.config
    if config.problem_type == "regression":
        raise ConfigError(f"{name} is a regression (problem_type), whose outcome is no probability of a label")
    labels = [str(config.id2label[index]) for index in range(config.num_labels)]
    wanted = {label.lower() for label in settings.harmful_labels}
    if unknown := [label for label in settings.harmful_labels if label.lower() not in {n.lower() for n in labels}]:
        raise ConfigError(
            f"annotate.classifier.harmful_labels: {settings.model!r} has no label {', '.join(unknown)}; "
            f"it has {', '.join(labels)}"
        )
    window = window_of(model, tokenizer, settings.window)
    network = TokenWindows(
        model=model.to(settings.device).eval(),
        tokenizer=tokenizer,
        window=window,
        stride=min(settings.stride, window // 2),
        batch_tokens=settings.batch_size * TOKENS_OF_A_TEXT,
    )
    return SequenceClassifier(
        network=network.settled("annotate.classifier.model"),
        harmful=tuple(index for index, label in enumerate(labels) if label.lower() in wanted),
        # As transformers' own pipeline decides: softmax over a single logit would be 1 for every text.
        multi_label=config.problem_type == "multi_label_classification" or config.num_labels == 1,
        version=fingerprint(settings),
    )


def fingerprint(settings: ClassifierSettings) -> str:
    """What the scores depend on besides the texts: the model, which labels mean harm, and how windows are cut."""
    labels = ",".join(sorted(label.lower() for label in settings.harmful_labels))
    model = model_version(settings.model or "", settings.revision)
    return f"{VERSION} {labels} {settings.window} {settings.stride} {model}"


def _missing(settings: ClassifierSettings, preflight: Preflight) -> Iterator[Missing]:
    if settings.model is None:
        yield Missing("annotate.classifier.model is not set; give a local folder or a hub id")
        return
    yield from missing_package("transformers", "transformers")
    yield from missing_model("annotate.classifier.model", settings.model, settings.revision, preflight.environ)


DETECTORS = (
    DetectorSpec(
        name=NAME,
        version=str(VERSION),
        source="a folder or hub id that the profile names, under its own licence",
        settings=ClassifierSettings,
        section="classifier",
        missing=_missing,
        identity=fingerprint,
        open=lambda settings, opening: load(settings),
        cuts_windows=True,
    ),
)
