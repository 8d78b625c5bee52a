"""Detoxify (Hanu and Unitary 2020) through its own class, for users who have its weights on disk.

Detoxify itself downloads weights, asks a hub for the base model's configuration and unpickles its checkpoint without
restriction. Here nothing is downloaded: the checkpoint is first read in torch's weights-only mode, in which a pickle
can hold nothing but tensors and plain values, the hub's name in it is replaced by the local folder, and only that copy,
in memory, is handed over.
"""

from __future__ import annotations

import hashlib
import io
import json
import pickle
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from curation_pipeline.annotate.detectors.protocol import score_frame
from curation_pipeline.errors import ConfigError, IntegrityError, MissingModelError
from curation_pipeline.progress import Progress, silent

NAME = "detoxify"
HEADLINE = "toxicity"


@dataclass(frozen=True, slots=True, eq=False)
class DetoxifyDetector:
    """Detoxify, loaded.

    Attributes:
        model: the package's own ``Detoxify`` object.
        version: of the package and the checkpoint's content.
        heads: the checkpoint's classes, ``toxicity`` first.
        batch_size: texts scored at once.
    """

    model: Any
    version: str
    heads: tuple[str, ...]
    batch_size: int = 32
    name: str = NAME

    def score(self, texts: Sequence[str], progress: Progress | None = None) -> pl.DataFrame:
        """One Float32 column a class; see ``Detector.score``. Texts are truncated to the model's own length."""
        report = progress or silent
        scores = np.zeros((len(texts), len(self.heads)))
        # Texts of like length together: a batch costs as much as its longest text.
        order = np.argsort([len(text) for text in texts], kind="stable")
        for start in range(0, len(texts), self.batch_size):
            rows = order[start : start + self.batch_size]
            result = self.model.predict([texts[i] for i in rows])
            for column, head in enumerate(self.heads):
                scores[rows, column] = result[head]
            report(f"scoring with {self.name}", min(1.0, (start + self.batch_size) / len(texts)))
        return score_frame(scores, self.heads)


def load(
    checkpoint: Path, huggingface_config_path: Path, device: str = "cpu", batch_size: int = 32
) -> DetoxifyDetector:
    """Load Detoxify from local files only.

    Args:
        checkpoint: file in Detoxify's format: ``config`` (with ``arch.args`` and ``dataset.args.classes``) and
            ``state_dict``.
        huggingface_config_path: folder with config.json (its ``num_labels`` the number of classes) and the tokenizer.
        device: torch device.
        batch_size: texts scored at once.

    Raises:
        MissingModelError: when a file or the package is missing.
        IntegrityError: when the checkpoint is damaged or holds more than tensors and plain values.
        ConfigError: when checkpoint and configuration do not fit each other.
    """
    for path in (checkpoint, huggingface_config_path / "config.json"):
        if not path.is_file():
            raise MissingModelError(
                f"Detoxify: {path} does not exist; set annotate.detoxify.checkpoint to a downloaded checkpoint and "
                "annotate.detoxify.huggingface_config_path to a folder with its config.json and tokenizer"
            )
    try:
        import torch
        from detoxify import Detoxify
    except ImportError as error:
        raise MissingModelError(f"Detoxify is not installed ({error}); install the package `detoxify`") from error
    raw = checkpoint.read_bytes()
    try:
        loaded = torch.load(io.BytesIO(raw), map_location="cpu", weights_only=True)
        classes = list(loaded["config"]["dataset"]["args"]["classes"])
        arch = loaded["config"]["arch"]["args"]
    except (pickle.UnpicklingError, RuntimeError, KeyError, TypeError, EOFError) as error:
        raise IntegrityError(
            f"{checkpoint} is not a Detoxify checkpoint that can be read safely: {error}; download it again"
        ) from error
    # `num_labels` may be given directly or through its label names, whichever the model's publisher wrote.
    config = json.loads((huggingface_config_path / "config.json").read_text(encoding="utf-8"))
    labels = config.get("num_labels") or len(config.get("id2label") or {}) or 2
    if labels != len(classes) or arch.get("num_classes") != len(classes):
        raise ConfigError(
            f"{huggingface_config_path}/config.json describes {labels} labels, but {checkpoint} has {len(classes)} "
            f"classes ({', '.join(classes)}); set its num_labels to {len(classes)}"
        )
    arch["model_type"] = str(huggingface_config_path)
    local = io.BytesIO()
    torch.save(loaded, local)
    local.seek(0)
    model = Detoxify(checkpoint=local, device=device, huggingface_config_path=str(huggingface_config_path))
    names = tuple(model.class_names)
    heads = (HEADLINE, *(name for name in names if name != HEADLINE)) if HEADLINE in names else names
    version = f"0.5-{hashlib.sha256(raw).hexdigest()[:12]}"
    return DetoxifyDetector(model=model, version=version, heads=heads, batch_size=batch_size)
