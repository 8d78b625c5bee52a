"""The training loop: weighted cross entropy, AdamW, a cosine with warm-up, and a state that can be resumed."""

from __future__ import annotations

import json
import math
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from curation_pipeline.errors import MissingModelError, TrainingDivergedError
from curation_pipeline.progress import Progress, silent
from curation_pipeline.seeds import derive, generator
from curation_pipeline.training.packing import Packed
from curation_pipeline.training.runtime import (
    block_causal,
    load_model,
    resolve_device,
    resolve_precision,
    save_model,
    torch_runtime,
)
from curation_pipeline.training.settings import TrainingSettings
from curation_pipeline.training.state import LoopState, StateFile, fingerprint
from curation_pipeline.training.tokenizer import load_tokenizer

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True, slots=True)
class TrainingResult:
    """What a fit did.

    Attributes:
        losses: weighted mean cross entropy of each step's tokens, in nats per token.
        tokens: tokens predicted, over all passes.
        seconds: wall time of the loop, earlier interrupted runs included.
        steps: optimiser steps.
        resumed_from: the step that this run started at; 0 for a fresh one.
    """

    losses: tuple[float, ...]
    tokens: int
    seconds: float
    steps: int
    resumed_from: int


def init_model(settings: TrainingSettings, tokenizer_dir: Path, out_dir: Path, seed: int) -> Path:
    """Write the model that training starts from as a checkpoint folder.

    Args:
        settings: `model_id` to copy an existing model and its own tokenizer, else the `scratch` architecture.
        tokenizer_dir: tokenizer of a scratch model; not read when `model_id` is set.
        out_dir: folder to write; made if absent.
        seed: decides the random weights of a scratch model.

    Returns:
        ``out_dir``: config.json, model.safetensors and the tokenizer's files.
    """
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    out_dir.mkdir(parents=True, exist_ok=True)
    if settings.model_id is not None:
        save_model(load_model(settings.model_id), out_dir)
        load_tokenizer(settings.model_id).save_pretrained(str(out_dir))
        return out_dir
    tokenizer = load_tokenizer(tokenizer_dir)
    shape = settings.scratch
    config = LlamaConfig(
        vocab_size=max(shape.vocab_size, len(tokenizer)),
        hidden_size=shape.hidden_size,
        intermediate_size=shape.mlp_size,
        num_hidden_layers=shape.n_layers,
        num_attention_heads=shape.n_heads,
        num_key_value_heads=shape.n_heads,
        max_position_embeddings=max(2 * settings.sequence_length, 512),
        tie_word_embeddings=True,
        initializer_range=shape.init_std,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derive(seed, "init_model"))
        model = LlamaForCausalLM(config)
    save_model(model, out_dir)
    tokenizer.save_pretrained(str(out_dir))
    return out_dir


def learning_rate(step: int, steps: int, settings: TrainingSettings) -> float:
    """Rate of a step: linear warm-up to the peak, then a cosine to its final share (Loshchilov and Hutter, 2017)."""
    warmup = max(1, math.ceil(settings.warmup_fraction * steps))
    if step < warmup:
        return settings.learning_rate * (step + 1) / warmup
    done = (step - warmup) / max(1, steps - warmup)
    floor = settings.final_learning_rate
    return settings.learning_rate * (floor + (1 - floor) * 0.5 * (1 + math.cos(math.pi * done)))


def fit(
    parent_dir: Path,
    packed: Packed,
    settings: TrainingSettings,
    out_dir: Path,
    seed: int,
    scratch_dir: Path | None = None,
    progress: Progress | None = None,
    model_card: str | None = None,
) -> TrainingResult:
    """Continue training from a checkpoint's weights, with a fresh optimiser, and write the new checkpoint.

    A run that was interrupted goes on from the state in `scratch_dir` and ends with exactly the weights that an
    uninterrupted run has (same machine, same thread count). The state of another run is ignored and overwritten.

    Args:
        parent_dir: checkpoint folder to start from (see `init_model`).
        packed: rows to train on.
        settings: the optimiser, its schedule, threads and precision.
        out_dir: folder of the new checkpoint: config.json, model.safetensors, tokenizer, trainer.json and README.md.
        seed: decides the order of rows, and dropout where the model has it.
        scratch_dir: folder for the resumable state; None saves none.
        progress: called after each step.
        model_card: text of README.md; absent, none is written.

    Raises:
        MissingModelError: when `parent_dir` is not a checkpoint.
        TrainingDivergedError: when a loss or gradient is not finite; the last finite state stays in `scratch_dir`.
    """
    if not (parent_dir / "config.json").is_file():
        raise MissingModelError(f"{parent_dir} is not a checkpoint (no config.json); make one with init_model")
    tokenizer = load_tokenizer(parent_dir)
    run = fingerprint(parent_dir, packed, settings, seed) if scratch_dir is not None else ""
    with torch_runtime(settings.threads):
        model = load_model(parent_dir, resolve_device(settings.device))
        saver = None if scratch_dir is None else StateFile(scratch_dir, run)
        result = train(model, packed, settings, seed, saver, progress)
        out_dir.mkdir(parents=True, exist_ok=True)
        save_model(model, out_dir)
    tokenizer.save_pretrained(str(out_dir))
    record = {**asdict(result), "settings": settings.model_dump(), "seed": seed, "documents": packed.n_documents}
    (out_dir / "trainer.json").write_text(json.dumps(record, indent=1), encoding="utf-8")
    if model_card is not None:
        (out_dir / "README.md").write_text(model_card, encoding="utf-8")
    return result


def train(
    model: Any,
    packed: Packed,
    settings: TrainingSettings,
    seed: int,
    saver: StateFile | None = None,
    progress: Progress | None = None,
) -> TrainingResult:
    """The loop itself, on a model in memory, which it changes; call it inside `torch_runtime`.

    The loss of a step is the sum of weight x cross entropy over the number of tokens predicted: since the weights of
    `packed` have mean 1 over the whole run, a heavier document moves the model more and the learning rate keeps its
    meaning.

    Args:
        model: a transformers causal language model, on the device to train on.
        packed: rows to train on.
        settings: the optimiser and its schedule.
        seed: decides the order of rows.
        saver: where to keep and look for a resumable state.
        progress: called after each step.

    Raises:
        TrainingDivergedError: when a loss or gradient is not finite.
    """
    import torch
    import torch.nn.functional as functional

    device = next(model.parameters()).device.type
    bf16 = resolve_precision(settings.precision, device) == "bf16"
    rng = generator(seed, "rows")
    order = np.concatenate([rng.permutation(packed.tokens.shape[0]) for _ in range(settings.passes)])
    steps = -(-order.size // settings.batch_size)
    # Norms and biases are not decayed (as in GPT-2's and Llama's training).
    matrices = [p for p in model.parameters() if p.requires_grad and p.dim() >= 2]
    vectors = [p for p in model.parameters() if p.requires_grad and p.dim() < 2]
    optimiser = torch.optim.AdamW(
        [{"params": matrices, "weight_decay": settings.weight_decay}, {"params": vectors, "weight_decay": 0.0}],
        lr=settings.learning_rate,
        betas=(settings.beta1, settings.beta2),
        fused=True,
    )
    report = progress or silent
    first, losses, before = 0, [], 0.0
    with torch.random.fork_rng():
        torch.manual_seed(derive(seed, "dropout"))
        saved = saver.load(model, optimiser) if saver is not None else None
        if saved is not None:
            first, losses, before = saved.step, list(saved.losses), saved.seconds
        model.train()
        began = last_save = time.monotonic()
        for step in range(first, steps):
            rows = order[step * settings.batch_size : (step + 1) * settings.batch_size]
            inputs, targets, weights = _batch(packed, rows, device)
            for group in optimiser.param_groups:
                group["lr"] = learning_rate(step, steps, settings)
            with torch.autocast(device, torch.bfloat16, enabled=bf16):
                logits = model(**inputs, use_cache=False).logits
            each = functional.cross_entropy(logits.float().flatten(0, 1), targets, reduction="none")
            total = torch.dot(each, weights)
            loss = total / (weights > 0).sum().clamp(min=1)
            optimiser.zero_grad(set_to_none=True)
            torch.autograd.backward(loss)
            norm = torch.nn.utils.clip_grad_norm_(model.parameters(), settings.grad_clip)
            value = float(total.detach() / weights.sum())
            if not (math.isfinite(value) and math.isfinite(float(norm))):
                if saver is not None:
                    saver.save(model, optimiser, LoopState(step, losses, before + time.monotonic() - began))
                raise TrainingDivergedError(
                    f"training: loss {value} with gradient norm {float(norm)} at step {step} of {steps}; lower "
                    f"training.learning_rate ({settings.learning_rate}) or look at the batch's text"
                )
            optimiser.step()
            losses.append(value)
            now = time.monotonic()
            if saver is not None and now - last_save >= settings.save_every_seconds:
                saver.save(model, optimiser, LoopState(step + 1, losses, before + now - began))
                last_save = time.monotonic()
            report("training", (step + 1) / steps)
    model.eval()
    seconds = before + time.monotonic() - began
    return TrainingResult(tuple(losses), packed.n_tokens * settings.passes, seconds, steps, first)


def _batch(packed: Packed, rows: np.ndarray, device: str) -> tuple[dict[str, torch.Tensor], torch.Tensor, torch.Tensor]:
    """Model inputs, flat targets and flat loss weights of some rows."""
    import torch

    tokens = torch.from_numpy(packed.tokens[rows].astype(np.int64)).to(device)
    segment = torch.from_numpy(packed.segment[rows, :-1]).to(device)
    position = torch.from_numpy(packed.position[rows, :-1].astype(np.int64)).to(device)
    weight = torch.from_numpy(packed.loss_weight[rows, 1:]).to(device)
    inputs = {"input_ids": tokens[:, :-1], "attention_mask": block_causal(segment), "position_ids": position}
    return inputs, tokens[:, 1:].flatten(), weight.flatten()
