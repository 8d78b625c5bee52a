"""Tokens a second of training: this project, `transformers.Trainer`, and the matrix products alone.

    python benchmarks/training_speed.py [--rows N] [--steps N] [--rounds N] [--out FILE]

One thread trains the demo's model (see `ScratchModel`) on rows of 128 random tokens, in fp32 and, where the processor
has matrix units for it (AMX), in bf16. The three take turns, and the median of a step's CPU time counts, so that other
work on the machine disturbs all alike and little. The ceiling is the time of the products of matrices that a step has:
the seven linear layers of each block and the output layer, forward, and by input and by weight backward; attention,
norms, loss and optimiser cost nothing in it. Trainer is given the same rows as one text each (no mask of documents),
the same optimiser and clipping, and saves, logs and evaluates nothing. Its package accelerate comes with the extra
`harness`.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

os.environ["OMP_NUM_THREADS"] = "1"  # before torch is imported

DOCUMENT_TOKENS = (20, 100)
"""Shortest and longest document of the rows."""
WARM_UP = 5
"""First steps of a turn that are not counted."""


def rows_of(settings: Any, count: int) -> Any:
    """At least `count` packed rows of random documents."""
    from curation_pipeline.training.packing import pack_tokens
    from curation_pipeline.training.tokenizer import Tokenised

    rng = np.random.default_rng(0)
    lengths = rng.integers(*DOCUMENT_TOKENS, count * settings.sequence_length // DOCUMENT_TOKENS[0])
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    tokens = rng.integers(2, settings.scratch.vocab_size, offsets[-1]).astype(np.int32)
    return pack_tokens(Tokenised(tokens, offsets), np.ones(lengths.size), 0, settings.sequence_length, 0)


def model_of(settings: Any) -> Any:
    """The demo's model with random weights."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    shape = settings.scratch
    torch.manual_seed(0)
    return LlamaForCausalLM(
        LlamaConfig(
            vocab_size=shape.vocab_size,
            hidden_size=shape.hidden_size,
            intermediate_size=shape.mlp_size,
            num_hidden_layers=shape.n_layers,
            num_attention_heads=shape.n_heads,
            num_key_value_heads=shape.n_heads,
            max_position_embeddings=512,
            tie_word_embeddings=True,
            initializer_range=shape.init_std,
            bos_token_id=0,
            eos_token_id=0,
            pad_token_id=1,
            attn_implementation="sdpa",
        )
    )


def ours(settings: Any, packed: Any, steps: int) -> np.ndarray:
    """CPU seconds of each step of this project's loop."""
    from dataclasses import replace

    from curation_pipeline.training.runtime import torch_runtime
    from curation_pipeline.training.trainer import train

    used = slice(0, steps * settings.batch_size)
    arrays = ("tokens", "loss_weight", "segment", "position")
    packed = replace(packed, **{name: getattr(packed, name)[used] for name in arrays})
    marks: list[float] = []
    with torch_runtime(1):
        train(model_of(settings), packed, settings, 0, progress=lambda *_: marks.append(time.process_time()))
    return np.diff(marks)


def trainers(settings: Any, packed: Any, steps: int) -> np.ndarray:
    """CPU seconds of each step of `transformers.Trainer`."""
    import torch
    from transformers import PrinterCallback, Trainer, TrainerCallback, TrainingArguments

    marks: list[float] = []

    class Watch(TrainerCallback):
        def on_step_end(self, *_: Any, **__: Any) -> None:
            marks.append(time.process_time())

    tokens = torch.from_numpy(packed.tokens.astype(np.int64))
    with tempfile.TemporaryDirectory() as folder:
        arguments = TrainingArguments(
            output_dir=folder,
            max_steps=steps,
            per_device_train_batch_size=settings.batch_size,
            learning_rate=settings.learning_rate,
            lr_scheduler_type="cosine",
            warmup_steps=max(1, int(settings.warmup_fraction * steps)),
            weight_decay=settings.weight_decay,
            adam_beta2=settings.beta2,
            max_grad_norm=settings.grad_clip,
            optim="adamw_torch_fused",
            bf16=settings.precision == "bf16",
            use_cpu=True,
            save_strategy="no",
            logging_strategy="no",
            report_to="none",
            disable_tqdm=True,
        )
        rows = [{"input_ids": row, "labels": row} for row in tokens]
        trainer = Trainer(model_of(settings), arguments, train_dataset=rows, callbacks=[Watch()])
        trainer.remove_callback(PrinterCallback)
        trainer.train()
    return np.diff(marks)


def products(settings: Any, _packed: Any, steps: int) -> np.ndarray:
    """CPU seconds of a step's products of matrices."""
    import torch

    shape, tokens = settings.scratch, settings.batch_size * (settings.sequence_length - 1)
    kind = torch.bfloat16 if settings.precision == "bf16" else torch.float32
    operands = [
        (torch.randn(tokens, n_in).to(kind), torch.randn(n_out, n_in).to(kind), torch.randn(tokens, n_out).to(kind))
        for n_in, n_out in layers(shape)
    ]
    marks = []
    for _ in range(steps):
        marks.append(time.process_time())
        for inputs, weight, gradient in operands:
            inputs @ weight.t()
            gradient @ weight
            gradient.t() @ inputs
    return np.diff(marks)


def layers(shape: Any) -> list[tuple[int, int]]:
    """Inputs and outputs of each linear layer of a pass."""
    width, wide = shape.hidden_size, shape.mlp_size
    return [*([(width, width)] * 4 + [(width, wide)] * 2 + [(wide, width)]) * shape.n_layers, (width, shape.vocab_size)]


WAYS: dict[str, Callable[[Any, Any, int], np.ndarray]] = {
    "matrix products": products,
    "this project": ours,
    "transformers.Trainer": trainers,
}


def measure(precision: str, batch_size: int, steps: int, rounds: int) -> dict[str, Any]:
    """The table of one precision: tokens a second of the median step, and its quartiles over all rounds."""
    from curation_pipeline.training.settings import TrainingSettings

    settings = TrainingSettings(batch_size=batch_size, device="cpu", precision=precision)  # type: ignore[arg-type]
    packed = rows_of(settings, (steps + WARM_UP) * batch_size)
    found: dict[str, list[np.ndarray]] = {name: [] for name in WAYS}
    for _ in range(rounds):
        for name, way in WAYS.items():
            found[name].append(way(settings, packed, steps + WARM_UP)[WARM_UP - 1 :])
    tokens = batch_size * (settings.sequence_length - 1)
    operations = sum(6 * n_in * n_out for n_in, n_out in layers(settings.scratch))
    result: dict[str, Any] = {"batch_rows": batch_size, "operations_a_token": operations}
    for name, seconds in found.items():
        low, middle, high = np.quantile(np.concatenate(seconds), [0.25, 0.5, 0.75])
        result[name] = {
            "tokens_a_second": round(tokens / middle),
            "quartiles": [round(tokens / high), round(tokens / low)],
            "gflop_a_second": round(tokens * operations / middle / 1e9, 1),
        }
    ours_speed = result["this project"]["tokens_a_second"]
    result["times_trainer"] = round(ours_speed / result["transformers.Trainer"]["tokens_a_second"], 2)
    result["share_of_products"] = round(ours_speed / result["matrix products"]["tokens_a_second"], 2)
    return result


def main() -> None:
    """See the module's docstring."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--rows", type=int, default=4, help="rows of a step")
    parser.add_argument("--steps", type=int, default=60, help="steps of a turn that count")
    parser.add_argument("--rounds", type=int, default=5, help="turns of each")
    parser.add_argument("--out", type=Path, default=Path(__file__).with_suffix(".json"))
    options = parser.parse_args()
    import torch

    from curation_pipeline.training.runtime import resolve_precision

    torch.set_num_threads(1)
    precisions = ["fp32", "bf16"] if resolve_precision("auto", "cpu") == "bf16" else ["fp32"]
    result: dict[str, Any] = {
        "machine": {"cpus": os.cpu_count(), "processor": platform.processor() or platform.machine()},
        "torch": torch.__version__,
        "steps": options.steps * options.rounds,
        **{precision: measure(precision, options.rows, options.steps, options.rounds) for precision in precisions},
    }
    options.out.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    print(f"{'':6}{'':22}{'tokens/s':>10}{'GFLOP/s':>10}")
    for precision in precisions:
        for name in WAYS:
            row = result[precision][name]
            print(f"{precision:6}{name:22}{row['tokens_a_second']:>10,}{row['gflop_a_second']:>10}")
        found = result[precision]
        print(f"{'':6}{found['times_trainer']} times Trainer, {found['share_of_products']:.0%} of the products")


if __name__ == "__main__":
    main()
