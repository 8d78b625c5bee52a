"""The pretrained model out of a package: converted, fitted, saved and resumed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from curation_pipeline.errors import DataError
from curation_pipeline.training.initial import init_model
from curation_pipeline.training.packing import pack
from curation_pipeline.training.runtime import load_model
from curation_pipeline.training.settings import TrainingSettings
from curation_pipeline.training.smollm2 import MODEL_ID, resolve_model
from curation_pipeline.training.tokenizer import load_tokenizer
from curation_pipeline.training.trainer import fit

TEXTS = ["The old bridge crossed the river near the mill.", "Two boats went slowly past the quiet town."] * 2


class _StopError(Exception):
    pass


def test_other_names_stay_as_they_are(tmp_path: Path) -> None:
    assert resolve_model("someone/small-model", tmp_path) == "someone/small-model"
    with pytest.raises(DataError, match="package:other"):
        resolve_model("package:other", tmp_path)


@pytest.mark.slow
@pytest.mark.network
def test_the_packaged_model_trains_saves_and_resumes(package_cache: Path, tmp_path: Path) -> None:
    pytest.importorskip("gguf", reason="the extra `smollm2` is not installed")
    pytest.importorskip("accelerate", reason="the extra `smollm2` is not installed")
    source = Path(resolve_model(MODEL_ID, package_cache))
    tokenizer = load_tokenizer(source)
    assert tokenizer.eos_token == tokenizer.bos_token == "<|endoftext|>"
    model = load_model(source)
    assert model.num_parameters() == 134_515_008
    prompt = torch.tensor([[tokenizer.eos_token_id, *tokenizer("The capital of France is")["input_ids"]]])
    with torch.inference_mode():
        assert tokenizer.decode(model(input_ids=prompt).logits[0, -1].argmax()) == " Paris"

    settings = TrainingSettings(
        model_id=str(source), sequence_length=32, batch_size=1, passes=1, learning_rate=1e-4, precision="fp32",
        device="cpu", save_every_seconds=0.0,
    )  # fmt: skip
    start = init_model(settings, tmp_path, tmp_path / "start", seed=0)
    row = pack(TEXTS[:2], np.ones(2), start, settings.sequence_length, seed=0)
    assert row.tokens.shape[0] == 1
    fixed = settings.model_copy(update={"passes": 3})
    whole = fit(start, row, fixed, tmp_path / "whole", seed=1)
    assert whole.losses[2] < whole.losses[1] < whole.losses[0] < 8.0  # random weights would give 10.8

    def stop(_what: str, fraction: float) -> None:
        if fraction > 0.6:
            raise _StopError

    with pytest.raises(_StopError):
        fit(start, row, fixed, tmp_path / "cut", seed=1, scratch_dir=tmp_path / "scratch", progress=stop)
    resumed = fit(start, row, fixed, tmp_path / "cut", seed=1, scratch_dir=tmp_path / "scratch")
    assert resumed.resumed_from == 1
    assert resumed.losses == whole.losses
    with torch.inference_mode():
        one, two = (load_model(tmp_path / name)(input_ids=prompt).logits for name in ("whole", "cut"))
        moved = (one - model(input_ids=prompt).logits).abs().max()
    assert torch.equal(one, two)
    assert float(moved) > 0.01
