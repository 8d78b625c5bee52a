"""What the scoring benchmark compares: each contender loads its model and gives a function from texts to scores."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

Score = Callable[[list[str]], np.ndarray]
"""From texts to headline scores, float (n,)."""

BATCH = 32
"""Texts a batch of the peers: what Detoxify's documentation and transformers' pipeline guide use."""


def detoxify_predict(work: Path) -> Score:
    """Plain Detoxify, as its documentation says: ``predict`` on lists of texts, here of 32."""
    import torch
    from detoxify import Detoxify

    folder = work / "checkpoint/model"
    loaded = torch.load(work / "checkpoint/checkpoint.ckpt", weights_only=True)
    loaded["config"]["arch"]["args"]["model_type"] = str(folder)  # it would ask a hub for the configuration
    local = io.BytesIO()
    torch.save(loaded, local)
    local.seek(0)
    model = Detoxify(checkpoint=local, huggingface_config_path=str(folder))

    def score(texts: list[str]) -> np.ndarray:
        found: list[float] = []
        for start in range(0, len(texts), BATCH):
            found += np.atleast_1d(model.predict(texts[start : start + BATCH])["toxicity"]).tolist()
        return np.array(found)

    return score


def transformers_pipeline(work: Path) -> Score:
    """A text-classification pipeline over the same weights, in batches of 32."""
    from transformers import pipeline

    classify = pipeline("text-classification", model=str(work / "checkpoint/model"), device="cpu")

    def score(texts: list[str]) -> np.ndarray:
        rows = classify(texts, batch_size=BATCH, truncation=True, top_k=None, function_to_apply="sigmoid")
        return np.array([next(row["score"] for row in labels if row["label"] == "toxic") for labels in rows])

    return score


def _detector(detector: Any) -> Score:
    return lambda texts: np.asarray(detector.score(texts)[detector.heads[0]].to_numpy())


def detoxify(work: Path) -> Score:
    """This project's detector ``detoxify`` on the same checkpoint, in windows."""
    return _detector(expensive(work))


def classifier(work: Path) -> Score:
    """This project's detector ``classifier`` on the same weights, in windows."""
    from curation_pipeline.annotate.detectors import classifier as module
    from curation_pipeline.annotate.settings import ClassifierSettings

    return _detector(module.load(ClassifierSettings(model=str(work / "checkpoint/model"), harmful_labels=("toxic",))))


def cascade(work: Path) -> Score:
    """The fitted cascade in front of ``detoxify``."""
    from curation_pipeline.annotate.detectors.cascade import CascadeDetector, load_cascade

    return _detector(CascadeDetector(load_cascade(work / "cascade"), None, expensive(work)))


def student(work: Path) -> Score:
    """The cascade's student alone."""
    from curation_pipeline.annotate.detectors.cascade import load_cascade

    return _detector(load_cascade(work / "cascade").student)


def alt_profanity(work: Path) -> Score:
    """This project's conversion of alt-profanity-check."""
    return _detector(_packaged("alt_profanity", work))


def tox_block(work: Path) -> Score:
    """This project's conversion of tox-block."""
    return _detector(_packaged("tox_block", work))


def expensive(work: Path) -> Any:
    """The detector ``detoxify``."""
    from curation_pipeline.annotate.detectors import detoxify as module

    return module.load(work / "checkpoint/checkpoint.ckpt", work / "checkpoint/model")


def _packaged(name: str, work: Path) -> Any:
    from curation_pipeline.annotate.detectors.registry import Making, find_detector, load_detector
    from curation_pipeline.annotate.settings import AnnotateSettings
    from curation_pipeline.config import cache_folder

    models = work / "models"
    if not (models / name).is_dir():
        find_detector(name).make(None, Making(name, models / name, cache_folder()))
    return load_detector(name, AnnotateSettings(), models)


CONTENDERS: dict[str, Callable[[Path], Score]] = {
    "detoxify_predict": detoxify_predict,
    "transformers_pipeline": transformers_pipeline,
    "detoxify": detoxify,
    "classifier": classifier,
    "cascade": cascade,
    "student": student,
    "alt_profanity": alt_profanity,
    "tox_block": tox_block,
}
