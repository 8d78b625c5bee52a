from __future__ import annotations

import json
import shutil
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from curation_pipeline.errors import ConfigError, MissingModelError, TrainingDivergedError
from curation_pipeline.training.initial import init_model
from curation_pipeline.training.loss import weighted_cross_entropy
from curation_pipeline.training.packing import Packed, pack
from curation_pipeline.training.runtime import block_causal, load_model
from curation_pipeline.training.settings import LoraSettings
from curation_pipeline.training.state import STATE_FILE
from curation_pipeline.training.step import Stepper
from curation_pipeline.training.tokenizer import load_tokenizer
from curation_pipeline.training.trainer import LAST_GOOD, fit, learning_rate
from curation_pipeline.training.world import ALONE
from tests.training.tiny_model import SETTINGS, build, sentences


@pytest.fixture(scope="module")
def parent(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(tmp_path_factory.mktemp("trainer"))


@pytest.fixture(scope="module")
def packed(parent: Path) -> Packed:
    return pack(sentences(150, seed=1), np.tile([0.5, 1.0, 2.0], 50), parent, SETTINGS.sequence_length, seed=5)


def _weights(folder: Path) -> dict[str, torch.Tensor]:
    return load_file(folder / "model.safetensors")


class _StopError(Exception):
    pass


def test_a_packed_row_gives_the_losses_of_its_documents_alone(parent: Path) -> None:
    texts = sentences(6, seed=9)
    model, tokenizer = load_model(parent), load_tokenizer(parent)
    row = pack(texts, np.ones(6), parent, 512, seed=0)
    tokens = torch.from_numpy(row.tokens.astype(np.int64))
    with torch.inference_mode():
        logits = model(
            input_ids=tokens[:, :-1],
            attention_mask=block_causal(torch.from_numpy(row.segment[:, :-1])),
            position_ids=torch.from_numpy(row.position[:, :-1].astype(np.int64)),
        ).logits
        each = -torch.log_softmax(logits, -1).gather(-1, tokens[:, 1:, None]).squeeze(-1)
        together = float((each * torch.from_numpy(row.loss_weight[:, 1:])).sum())
        alone = 0.0
        for text in texts:
            ids = torch.tensor([[0, *tokenizer(text)["input_ids"], 0]]).clone()
            ids[0, 0] = ids[0, -1] = tokenizer.eos_token_id
            log_p = torch.log_softmax(model(input_ids=ids).logits[0, :-1], -1)
            alone -= float(log_p.gather(1, ids[0, 1:, None]).sum())
    assert together == pytest.approx(alone, rel=1e-5)


def test_an_interrupted_run_ends_with_the_same_weights(parent: Path, packed: Packed, tmp_path: Path) -> None:
    whole = fit(parent, packed, SETTINGS, tmp_path / "whole", seed=2)
    eager = SETTINGS.model_copy(update={"save_every_seconds": 0.0})

    def stop(_what: str, fraction: float) -> None:
        if fraction > 0.4:
            raise _StopError

    with pytest.raises(_StopError):
        fit(parent, packed, eager, tmp_path / "cut", seed=2, scratch_dir=tmp_path / "scratch", progress=stop)
    assert not (tmp_path / "cut").exists()
    resumed = fit(
        parent, packed, eager, tmp_path / "cut", seed=2, scratch_dir=tmp_path / "scratch", model_card="# card"
    )
    assert 0 < resumed.resumed_from < resumed.steps == whole.steps
    assert resumed.losses == whole.losses
    before, after = _weights(tmp_path / "whole"), _weights(tmp_path / "cut")
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)
    # What stands in the folder is a checkpoint as transformers reads it.
    assert load_model(tmp_path / "cut").num_parameters() == load_model(parent).num_parameters()
    assert (tmp_path / "cut" / "README.md").read_text() == "# card"
    assert json.loads((tmp_path / "cut" / "trainer.json").read_text())["steps"] == whole.steps
    # Another seed is another run: it must not go on from this state.
    other = fit(parent, packed, eager, tmp_path / "other", seed=3, scratch_dir=tmp_path / "scratch")
    assert other.resumed_from == 0


def test_the_loss_falls_and_heavier_documents_are_learnt_better(parent: Path, tmp_path: Path) -> None:
    heavy, light = ["boats slowly past the mill"] * 40, ["the old bridge near town"] * 40
    weights = np.concatenate([np.full(40, 4.0), np.full(40, 0.01)])
    rows = pack([*heavy, *light], weights, parent, SETTINGS.sequence_length, seed=0)
    result = fit(parent, rows, SETTINGS.model_copy(update={"passes": 3}), tmp_path / "out", seed=1)
    assert np.mean(result.losses[-3:]) < 0.7 * result.losses[0]
    model, tokenizer = load_model(tmp_path / "out"), load_tokenizer(parent)

    def loss(text: str) -> float:
        ids = torch.tensor([[tokenizer.eos_token_id, *tokenizer(text)["input_ids"]]])
        with torch.inference_mode():
            return float(model(input_ids=ids, labels=ids).loss)

    assert loss(heavy[0]) < loss(light[0]) - 0.5


def _with_broken_norm(parent: Path, folder: Path) -> Path:
    shutil.copytree(parent, folder)
    weights = _weights(folder)
    weights["model.norm.weight"][0] = float("inf")
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    return folder


def test_a_loss_that_is_not_a_number_keeps_no_broken_state(parent: Path, packed: Packed, tmp_path: Path) -> None:
    broken = _with_broken_norm(parent, tmp_path / "broken")
    eager = SETTINGS.model_copy(update={"save_every_seconds": 0.0})
    with pytest.raises(TrainingDivergedError, match=r"step 0.*no good state"):
        fit(broken, packed, eager, tmp_path / "out", seed=0, scratch_dir=tmp_path / "scratch")
    assert not (tmp_path / "out").exists()
    assert not (tmp_path / "scratch" / STATE_FILE).exists()


def test_a_run_that_diverges_leaves_its_last_good_weights(parent: Path, packed: Packed, tmp_path: Path) -> None:
    # The rate grows until it throws the weights about.
    wild = SETTINGS.model_copy(
        update={
            "save_every_seconds": 0.0,
            "learning_rate": 1.0,
            "warmup_fraction": 0.9,
            "passes": 6,
            "divergence_nats": 0.3,
        }
    )
    with pytest.raises(TrainingDivergedError, match=r"rose by .*last good weights, those before step \d+") as caught:
        fit(parent, packed, wild, tmp_path / "out", seed=0, scratch_dir=tmp_path / "scratch")
    assert not (tmp_path / "out").exists()
    assert str(tmp_path / "scratch" / LAST_GOOD) in str(caught.value)
    kept = load_model(tmp_path / "scratch" / LAST_GOOD)
    rows = torch.from_numpy(packed.tokens[:8].astype(np.int64))
    with torch.inference_mode():
        good, start = (float(model(input_ids=rows, labels=rows).loss) for model in (kept, load_model(parent)))
    assert good < start + 1.0
    # The same settings diverge again from there at once; a lower rate is another run, from the start.
    with pytest.raises(TrainingDivergedError):
        fit(parent, packed, wild, tmp_path / "out", seed=0, scratch_dir=tmp_path / "scratch")
    tame = wild.model_copy(update={"learning_rate": 1e-3, "passes": 1, "save_every_seconds": 30.0})
    assert fit(parent, packed, tame, tmp_path / "out", seed=0, scratch_dir=tmp_path / "scratch").resumed_from == 0


def test_micro_batches_add_up_to_the_step(parent: Path, packed: Packed, tmp_path: Path) -> None:
    whole = fit(parent, packed, SETTINGS, tmp_path / "whole", seed=2)
    parts = fit(parent, packed, SETTINGS.model_copy(update={"micro_batch_size": 3}), tmp_path / "parts", seed=2)
    np.testing.assert_allclose(parts.losses, whole.losses, atol=2e-3)
    np.testing.assert_allclose(parts.losses[:10], whole.losses[:10], rtol=1e-5)


def test_weights_normalised_over_a_step_do_not_scale_its_gradient(parent: Path, packed: Packed) -> None:
    heavy = replace(packed, loss_weight=packed.loss_weight * 3)
    rows = np.arange(4)
    norms = {
        over: [
            Stepper(load_model(parent), data, SETTINGS.model_copy(update={"normalise_over": over}), ALONE).gradient(
                rows
            )[1]
            for data in (packed, heavy)
        ]
        for over in ("batch", "step")
    }
    assert norms["batch"][1] == pytest.approx(3 * norms["batch"][0], rel=1e-4)
    assert norms["step"][1] == pytest.approx(norms["step"][0], rel=1e-4)


def test_the_loss_and_its_gradient_are_those_of_torch() -> None:
    generator = torch.Generator().manual_seed(0)
    logits = 200 * torch.randn(7, 11, generator=generator)  # so that probabilities underflow
    target, weight = torch.arange(7), torch.rand(7, generator=generator)
    given, plain = logits.clone().requires_grad_(), logits.clone().requires_grad_()
    loss = weighted_cross_entropy(given, target, weight)
    (3 * loss).backward()
    expected = torch.dot(torch.nn.functional.cross_entropy(plain, target, reduction="none"), weight)
    (3 * expected).backward()
    torch.testing.assert_close(loss, expected)
    torch.testing.assert_close(given.grad, plain.grad)


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_half_precision_learns_as_full_does_and_resumes(
    parent: Path, packed: Packed, tmp_path: Path, precision: str
) -> None:
    half = SETTINGS.model_copy(update={"precision": precision, "save_every_seconds": 0.0})
    full = fit(parent, packed, SETTINGS, tmp_path / "full", seed=2)
    whole = fit(parent, packed, half, tmp_path / "half", seed=2)
    assert whole.losses != full.losses
    np.testing.assert_allclose(whole.losses[-10:], full.losses[-10:], atol=0.15)
    if precision == "bf16":  # has no loss scale, so nothing of its own to resume
        return

    def stop(_what: str, fraction: float) -> None:
        if fraction > 0.6:
            raise _StopError

    with pytest.raises(_StopError):
        fit(parent, packed, half, tmp_path / "cut", seed=2, scratch_dir=tmp_path / "scratch", progress=stop)
    assert fit(parent, packed, half, tmp_path / "cut", seed=2, scratch_dir=tmp_path / "scratch").losses == whole.losses


def test_adapters_learn_resume_and_end_as_a_plain_model(parent: Path, packed: Packed, tmp_path: Path) -> None:
    pytest.importorskip("peft", reason="the extra `lora` is not installed")
    settings = SETTINGS.model_copy(
        update={"lora": LoraSettings(rank=4, dropout=0.1), "learning_rate": 2e-2, "save_every_seconds": 0.0}
    )
    whole = fit(parent, packed, settings, tmp_path / "whole", seed=2)
    assert np.mean(whole.losses[-5:]) < whole.losses[0] - 0.4

    def stop(_what: str, fraction: float) -> None:
        if fraction > 0.5:
            raise _StopError

    with pytest.raises(_StopError):
        fit(parent, packed, settings, tmp_path / "cut", seed=2, scratch_dir=tmp_path / "scratch", progress=stop)
    resumed = fit(parent, packed, settings, tmp_path / "cut", seed=2, scratch_dir=tmp_path / "scratch")
    assert resumed.resumed_from > 0
    assert resumed.losses == whole.losses
    before, after, again = _weights(parent), _weights(tmp_path / "whole"), _weights(tmp_path / "cut")
    assert before.keys() == after.keys()
    assert all(torch.equal(after[name], again[name]) for name in after)
    # Embeddings and norms were frozen, linear layers moved.
    assert torch.equal(before["model.embed_tokens.weight"], after["model.embed_tokens.weight"])
    assert not torch.equal(before["model.layers.0.mlp.up_proj.weight"], after["model.layers.0.mlp.up_proj.weight"])


def test_adapters_without_peft_name_the_extra(
    parent: Path, packed: Packed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "peft", None)
    settings = SETTINGS.model_copy(update={"lora": LoraSettings()})
    with pytest.raises(ConfigError, match=r"\[lora\]"):
        fit(parent, packed, settings, tmp_path / "out", seed=2)


def test_a_folder_without_a_model_is_named(packed: Packed, tmp_path: Path) -> None:
    with pytest.raises(MissingModelError, match=tmp_path.name):
        fit(tmp_path, packed, SETTINGS, tmp_path / "out", seed=0)


def test_the_learning_rate_rises_and_falls() -> None:
    rates = [learning_rate(step, 100, SETTINGS) for step in range(100)]
    top = int(np.argmax(rates))
    assert rates[top] == pytest.approx(SETTINGS.learning_rate)
    assert 0 < rates[0] < rates[top]
    assert rates[top:] == sorted(rates[top:], reverse=True)
    assert rates[-1] == pytest.approx(SETTINGS.learning_rate * SETTINGS.final_learning_rate, rel=0.05)


def test_a_local_model_can_be_the_start(parent: Path, tmp_path: Path) -> None:
    settings = SETTINGS.model_copy(update={"model_id": str(parent)})
    init_model(settings, tmp_path / "unused", tmp_path / "copy", seed=0)
    before, after = _weights(parent), _weights(tmp_path / "copy")
    assert all(torch.equal(before[name], after[name]) for name in before)
