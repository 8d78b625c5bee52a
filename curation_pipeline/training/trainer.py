"""The training loop: a cosine with warm-up, states that a killed run resumes from, and a stop when it diverges."""

from __future__ import annotations

import json
import math
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from curation_pipeline.errors import MissingModelError, TrainingDivergedError
from curation_pipeline.progress import Progress, silent
from curation_pipeline.seeds import derive, generator
from curation_pipeline.training import lora
from curation_pipeline.training.health import LossWatch
from curation_pipeline.training.packing import Packed
from curation_pipeline.training.runtime import (
    load_model,
    resolve_device,
    resolve_precision,
    save_model,
    torch_runtime,
    training_attention,
)
from curation_pipeline.training.settings import TrainingSettings
from curation_pipeline.training.state import LoopState, StateFile, fingerprint
from curation_pipeline.training.step import Stepper
from curation_pipeline.training.tokenizer import load_tokenizer
from curation_pipeline.training.world import ALONE, World

LAST_GOOD = "last_good"
"""Folder next to the resumable state in which a run that diverged leaves its last good weights as a checkpoint."""


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
    world: World = ALONE,
) -> TrainingResult:
    """Continue training from a checkpoint's weights, with a fresh optimiser, and write the new checkpoint.

    A run that was interrupted resumes from the state in `scratch_dir` and ends with exactly the weights that an
    uninterrupted run has (same machine, same number of threads and processes). The state of another run is ignored and
    overwritten.

    Args:
        parent_dir: checkpoint folder to start from (see `init_model`).
        packed: rows to train on.
        settings: the optimiser, its schedule, threads and precision.
        out_dir: folder of the new checkpoint: config.json, model.safetensors, tokenizer, trainer.json and README.md.
        seed: decides the order of rows, dropout where the model has it, and the start of adapters.
        scratch_dir: folder for the resumable state; None saves none.
        progress: called after each step.
        model_card: text of README.md; absent, none is written.
        world: the processes that train together, each of which calls this function; rank 0 alone writes.

    Raises:
        MissingModelError: when `parent_dir` is not a checkpoint.
        DataError: the resumable state cannot be read or written.
        TrainingDivergedError: the loss or gradient is not finite, or the loss ran away. No checkpoint is written to
            `out_dir`; the last good weights stand as a checkpoint in ``scratch_dir / "last_good"``, if a state was
            saved before.
    """
    if not (parent_dir / "config.json").is_file():
        raise MissingModelError(f"{parent_dir} is not a checkpoint (no config.json); make one with init_model")
    tokenizer = load_tokenizer(parent_dir)
    run = fingerprint(parent_dir, packed, settings, seed) if scratch_dir is not None else ""
    with torch_runtime(settings.threads):
        model = load_model(parent_dir, resolve_device(settings.device))
        saver = None if scratch_dir is None else StateFile(scratch_dir, run)
        try:
            result = train(model, packed, settings, seed, saver, progress, world)
        except TrainingDivergedError as error:
            if saver is None or world.rank > 0:
                raise
            raise TrainingDivergedError(f"{error}; {_keep_last_good(parent_dir, settings, saver)}") from error
        if world.rank == 0:
            out_dir.mkdir(parents=True, exist_ok=True)
            save_model(model, out_dir)
    if world.rank > 0:
        return result
    tokenizer.save_pretrained(str(out_dir))
    record = {**asdict(result), "settings": settings.model_dump(), "seed": seed, "documents": packed.n_documents}
    (out_dir / "trainer.json").write_text(json.dumps(record, indent=1), encoding="utf-8")
    if model_card is not None:
        (out_dir / "README.md").write_text(model_card, encoding="utf-8")
    return result


def _keep_last_good(parent_dir: Path, settings: TrainingSettings, saver: StateFile) -> str:
    """Write the weights of the saved state as a checkpoint next to it, and say where they are."""
    model = load_model(parent_dir)
    adapted = model if settings.lora is None else lora.attach(model, settings.lora)
    state = saver.load(adapted)
    if state is None:
        return f"no good state had been saved yet, so {parent_dir} is the last good checkpoint"
    folder = saver.folder / LAST_GOOD
    save_model(adapted if settings.lora is None else lora.merge(adapted), folder)
    load_tokenizer(parent_dir).save_pretrained(str(folder))
    return f"the last good weights, those before step {state.step}, are the checkpoint {folder}"


def train(
    model: Any,
    packed: Packed,
    settings: TrainingSettings,
    seed: int,
    saver: StateFile | None = None,
    progress: Progress | None = None,
    world: World = ALONE,
) -> TrainingResult:
    """The loop itself, on a model in memory, which it changes; call it inside `torch_runtime`.

    A state is saved before a step's update and after its loss and gradient were found finite, so what a later run
    resumes from is known to be good.

    Args:
        model: a transformers causal language model, on the device to train on.
        packed: rows to train on.
        settings: the optimiser and its schedule.
        seed: decides the order of rows.
        saver: where to keep and look for a resumable state.
        progress: called after each step.
        world: the processes that train together.

    Raises:
        DataError: the resumable state cannot be read or written, or the processes disagree.
        TrainingDivergedError: when a loss or gradient is not finite, or the loss ran away.
    """
    import torch

    rng = generator(seed, "rows")
    order = np.concatenate([rng.permutation(packed.tokens.shape[0]) for _ in range(settings.passes)])
    steps = -(-order.size // settings.batch_size)
    report = progress or silent
    first, losses, before = 0, [], 0.0
    precision = resolve_precision(settings.precision, model.device.type)
    with torch.random.fork_rng(), training_attention(model, precision, packed.tokens.shape[1]):
        torch.manual_seed(derive(seed, "adapters"))
        adapted = model if settings.lora is None else lora.attach(model, settings.lora)
        stepper = Stepper(adapted, packed, settings, world)
        saved = saver.load(adapted, stepper) if saver is not None else None
        if saved is not None:
            first, losses, before = saved.step, list(saved.losses), saved.seconds
        world.agree("the step to start from", first)
        watch = LossWatch(settings.divergence_nats, losses)
        adapted.train()
        began = last_save = time.monotonic()
        for step in range(first, steps):
            # Dropout is a function of the step, so that no random state need be kept to resume.
            torch.manual_seed(derive(seed, "dropout", step, world.rank))
            loss, norm = stepper.gradient(order[step * settings.batch_size : (step + 1) * settings.batch_size])
            watch.see(loss)
            finite = math.isfinite(loss) and (math.isfinite(norm) or stepper.may_overflow)
            if not finite or watch.diverged:
                what = f"the mean loss rose by {watch.rise:.2f} nats" if finite else f"gradient norm {norm}"
                raise TrainingDivergedError(
                    f"training diverged at step {step} of {steps}: loss {loss}, {what}; lower training.learning_rate "
                    f"({settings.learning_rate}) or look at the batch's text"
                )
            now = time.monotonic()
            if (
                saver is not None
                and world.rank == 0
                and watch.healthy
                and now - last_save >= settings.save_every_seconds
            ):
                saver.save(adapted, stepper, LoopState(step, losses, before + now - began))
                last_save = time.monotonic()
            stepper.update(learning_rate(step, steps, settings))
            losses.append(loss)
            report("training", (step + 1) / steps)
        if settings.lora is not None:
            lora.merge(adapted)
    model.eval()
    seconds = before + time.monotonic() - began
    return TrainingResult(tuple(losses), packed.n_tokens * settings.passes, seconds, steps, first)
