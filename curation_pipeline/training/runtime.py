"""Where and how torch runs: device, precision, threads and determinism, set for the length of a block only."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from curation_pipeline.errors import ConfigError
from curation_pipeline.pretrained import load_pretrained

if TYPE_CHECKING:
    import torch


def resolve_device(wanted: str) -> str:
    """``cpu`` or ``cuda`` for a wanted ``auto``, ``cpu`` or ``cuda``.

    Raises:
        ConfigError: when a GPU is asked for and there is none.
    """
    import torch

    has_gpu = torch.cuda.is_available()
    if wanted == "cuda" and not has_gpu:
        raise ConfigError("training.device is 'cuda' but torch finds no GPU; set it to 'auto' or 'cpu'")
    return "cuda" if has_gpu and wanted != "cpu" else "cpu"


def resolve_precision(wanted: str, device: str) -> str:
    """``fp32``, ``bf16`` or ``fp16``; ``auto`` takes bf16 where it is done in hardware, and fp16 on any other GPU.

    An emulated bf16 is eight times slower than fp32 (measured on an AVX2 processor), so the question matters.
    """
    import torch

    if wanted != "auto":
        return wanted
    if device == "cuda":
        return "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "fp16"
    # On a processor the tiny models here gain little from AVX512-BF16; AMX is where it pays.
    has_amx = getattr(torch.cpu, "_is_amx_tile_supported", lambda: False)
    return "bf16" if has_amx() else "fp32"


@contextlib.contextmanager
def torch_runtime(threads: int, deterministic: bool = True) -> Iterator[None]:
    """Thread count and deterministic algorithms inside the block; both are put back after it."""
    import torch

    # `use_deterministic_algorithms` says the same and imports torch's compiler, which takes 1.5 seconds. Memory that
    # is always written before it is read need not be filled.
    memory = torch.utils.deterministic
    before = torch.get_num_threads(), torch.get_deterministic_debug_mode(), memory.fill_uninitialized_memory
    torch.set_num_threads(threads)
    torch.set_deterministic_debug_mode("warn" if deterministic else "default")
    memory.fill_uninitialized_memory = False
    try:
        yield
    finally:
        torch.set_num_threads(before[0])
        torch.set_deterministic_debug_mode(before[1])
        memory.fill_uninitialized_memory = before[2]


@contextlib.contextmanager
def no_progress_bars() -> Iterator[None]:
    """Transformers draws no bars inside the block: the core is silent."""
    from transformers.utils import logging

    library: Any = logging  # not typed
    shown = library.is_progress_bar_enabled()
    library.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            library.enable_progress_bar()


def save_model(model: Any, folder: Path) -> None:
    """Write a model as config.json and model.safetensors."""
    folder.mkdir(parents=True, exist_ok=True)
    with no_progress_bars():
        model.save_pretrained(str(folder))


def load_model(source: str | Path, device: str = "cpu") -> Any:
    """A causal language model in fp32 from a checkpoint folder or a hub id.

    Args:
        source: a folder in transformers' format, or a hub id.
        device: ``cpu`` or ``cuda``.

    Returns:
        The transformers model, in training mode off.

    Raises:
        MissingModelError: when there is no such folder or the hub cannot be reached.
    """
    import torch

    failed = (
        f"no causal language model at {source}; give a folder with config.json and model.safetensors, or a hub id that "
        "this machine can reach"
    )
    with no_progress_bars():
        model = load_pretrained("AutoModelForCausalLM", source, failed, dtype=torch.float32, attn_implementation="sdpa")
    model.to(device).eval()
    return model


@contextlib.contextmanager
def training_attention(model: Any, precision: str, length: int) -> Iterator[None]:
    """Inside the block the model attends in the way that trains fastest.

    On a processor the backward pass of torch's fused attention is five times as slow in bf16 as plain products of
    matrices, as long as rows are short (at 128 tokens a whole step takes 36 ms instead of 42, at 512 they are equal).

    Args:
        model: a transformers causal language model, or peft's wrapper of one.
        precision: ``fp32``, ``bf16`` or ``fp16``.
        length: tokens of a row.
    """
    before = model.config._attn_implementation
    plain = model.device.type == "cpu" and precision == "bf16" and length <= 256
    if plain:
        model.set_attn_implementation("eager")
    try:
        yield
    finally:
        if plain:
            model.set_attn_implementation(before)


def block_causal(segments: torch.Tensor, shared: int | None = None) -> torch.Tensor:
    """Boolean attention mask (B, 1, L, L) for rows of several documents: causal, and inside one document only.

    Args:
        segments: (B, L) number of the document that each input token belongs to.
        shared: number of a document that the others follow, and see.
    """
    import torch

    length = segments.shape[1]
    causal = torch.ones(length, length, dtype=torch.bool, device=segments.device).tril()
    seen = segments[:, None, :, None] == segments[:, None, None, :]
    if shared is not None:
        seen |= segments[:, None, None, :] == shared
    return seen & causal
