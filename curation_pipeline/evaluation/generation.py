"""Nucleus sampling with a key-value cache, reproducible prompt by prompt.

The uniform number of every (prompt, sample, step) is derived from the seed before anything runs and turned into a
token by the inverse of the nucleus's cumulative distribution (Holtzman et al., 2020, for the nucleus). So a text does
not depend on which other prompts share its batch, except where a draw falls within the rounding error of the logits
(about 1e-6) of a border between two tokens.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from curation_pipeline.errors import DataError
from curation_pipeline.evaluation.model import LanguageModel
from curation_pipeline.progress import Progress, silent
from curation_pipeline.seeds import generator
from curation_pipeline.training.tokenizer import encode

if TYPE_CHECKING:
    import torch


def generate(
    lm: LanguageModel,
    prompt_ids: Sequence[str],
    prompts: Sequence[str],
    samples: int,
    max_new_tokens: int,
    top_p: float,
    seed: int,
    temperature: float = 1.0,
    batch_sequences: int = 512,
    progress: Progress | None = None,
) -> list[list[str]]:
    """Sample continuations.

    Args:
        lm: the model.
        prompt_ids: n ids, which name the random streams.
        prompts: n texts; one that does not fit the window loses its beginning.
        samples: k, continuations of each prompt.
        max_new_tokens: longest continuation; an end-of-text token ends one earlier.
        top_p: mass of the nucleus, in (0, 1].
        seed: the seed of all streams.
        temperature: divides the logits.
        batch_sequences: sequences sampled side by side.
        progress: called after each batch.

    Returns:
        n lists of k continuations, without prompt and special tokens.

    Raises:
        DataError: when the window leaves no room for a prompt.
    """
    room = lm.window - max_new_tokens
    if room < 1:
        raise DataError(f"max_new_tokens {max_new_tokens} leaves no room in a window of {lm.window}; lower it")
    tokenised = encode(prompts, lm.tokenizer)
    opened = [np.concatenate([[lm.bos_id], tokenised[i]])[-room:] for i in range(len(tokenised))]
    uniforms = (
        np.stack(
            [
                generator(seed, "generation", name).random((samples, max_new_tokens), dtype=np.float32)
                for name in prompt_ids
            ]
        )
        if len(prompt_ids)
        else np.empty((0, samples, max_new_tokens), dtype=np.float32)
    )
    order = sorted(range(len(opened)), key=lambda i: (opened[i].size, i))
    out: list[list[str]] = [[] for _ in opened]
    per_batch = max(1, batch_sequences // samples)
    report = progress or silent
    for start in range(0, len(order), per_batch):
        rows = order[start : start + per_batch]
        tokens = _sample([opened[i] for i in rows], uniforms[rows], lm, top_p, temperature)
        for i, group in zip(rows, tokens, strict=True):
            ended = [row[: int(np.argmax(row == lm.eos_id))] if (row == lm.eos_id).any() else row for row in group]
            out[i] = list(lm.tokenizer.backend_tokenizer.decode_batch([row.tolist() for row in ended]))
        report("sampling continuations", (start + len(rows)) / len(order))
    return out


def _sample(
    prompts: list[np.ndarray], uniforms: np.ndarray, lm: LanguageModel, top_p: float, temperature: float
) -> np.ndarray:
    """Token ids (n, k, steps) for prompts of different lengths, padded on the left."""
    import torch
    from transformers import DynamicCache

    n, k, steps = uniforms.shape
    width = max(prompt.size for prompt in prompts)
    tokens = np.full((n, width), lm.eos_id, dtype=np.int64)
    real = np.zeros((n, width), dtype=bool)
    for row, prompt in enumerate(prompts):
        tokens[row, width - prompt.size :] = prompt
        real[row, width - prompt.size :] = True
    device = next(lm.model.parameters()).device
    chosen = np.full((n * k, steps), lm.eos_id, dtype=np.int64)
    with torch.inference_mode():
        keys = torch.from_numpy(real).to(device)
        # Real tokens never see padding; a padded place sees itself, since attention over nothing is not a number.
        eye = torch.eye(width, dtype=torch.bool, device=device)
        mask = (torch.tril(torch.ones_like(eye)) & keys[:, None, :]) | eye
        position = torch.clamp(keys.cumsum(1) - 1, min=0)
        cache = DynamicCache(config=lm.model.config)
        out = lm.model(
            input_ids=torch.from_numpy(tokens).to(device),
            attention_mask=mask[:, None],
            position_ids=position,
            past_key_values=cache,
            use_cache=True,
            logits_to_keep=1,
        )
        cache.batch_repeat_interleave(k)
        logits = out.logits[:, -1].repeat_interleave(k, dim=0)
        keys = keys.repeat_interleave(k, dim=0)
        position = position[:, -1:].repeat_interleave(k, dim=0)
        draws = torch.from_numpy(uniforms.reshape(n * k, steps)).to(device)
        done = torch.zeros(n * k, dtype=torch.bool, device=device)
        for step in range(steps):
            token = nucleus(logits.float() / temperature, draws[:, step], top_p)
            token = torch.where(done, lm.eos_id, token)
            chosen[:, step] = token.cpu().numpy()
            done |= token == lm.eos_id
            if step + 1 == steps or bool(done.all()):
                break
            keys = torch.cat([keys, torch.ones_like(keys[:, :1])], dim=1)
            position = position + 1
            logits = lm.model(
                input_ids=token[:, None],
                attention_mask=keys[:, None, None, :],
                position_ids=position,
                past_key_values=cache,
                use_cache=True,
            ).logits[:, -1]
    return chosen.reshape(n, k, steps)


def nucleus(logits: torch.Tensor, uniform: torch.Tensor, top_p: float) -> torch.Tensor:
    """Tokens at the quantiles `uniform` of the nucleus: the fewest most probable tokens with mass `top_p` or more.

    Args:
        logits: (B, V).
        uniform: (B,) in [0, 1).
        top_p: in (0, 1].

    Returns:
        int64 (B,).
    """
    import torch

    probability = torch.softmax(logits, dim=-1)
    # Only values are sorted: numpy does that 12 times as fast as torch sorts 2,048 values with their places.
    negated = -probability
    if negated.device.type == "cpu":
        negated.numpy().sort(axis=1)
    else:
        negated = negated.sort(dim=1).values
    mass = (-negated).cumsum(dim=1)
    last = torch.searchsorted(mass + negated, mass.new_full((mass.shape[0], 1), top_p)) - 1
    point = uniform[:, None] * mass.gather(1, last)
    place = torch.minimum(torch.searchsorted(mass, point, right=True), last)
    value = negated.gather(1, place)
    # The place among equal probabilities says which of them it is.
    before = (place - torch.searchsorted(negated, value)).squeeze(1)
    equal = probability == -value
    token = equal.byte().argmax(dim=1)
    tied = before > 0
    token[tied] = (equal[tied].cumsum(dim=1) > before[tied, None]).byte().argmax(dim=1)
    return token
