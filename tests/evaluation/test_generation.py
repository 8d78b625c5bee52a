from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from curation_pipeline.errors import DataError
from curation_pipeline.evaluation.generation import generate, nucleus
from curation_pipeline.evaluation.model import LanguageModel
from curation_pipeline.training.packing import pack
from curation_pipeline.training.trainer import fit
from tests.training.tiny_model import SETTINGS, build, sentences


@pytest.fixture(scope="module")
def lm(tmp_path_factory: pytest.TempPathFactory) -> LanguageModel:
    folder: Path = tmp_path_factory.mktemp("generation")
    parent = build(folder)
    rows = pack(sentences(400, seed=2), np.ones(400), parent, SETTINGS.sequence_length, seed=0)
    fit(parent, rows, SETTINGS.model_copy(update={"learning_rate": 1e-2}), folder / "fitted", seed=0)
    return LanguageModel.load(folder / "fitted", window=48)


def test_a_prompt_gives_the_same_texts_alone_and_in_any_batch(lm: LanguageModel) -> None:
    prompts = ["the", "two boats went slowly past the old stone", "a quiet", "by the river near town"]
    names = [f"p{index}" for index in range(4)]
    together = generate(lm, names, prompts, 3, 12, 0.9, seed=7)
    alone = [generate(lm, [name], [text], 3, 12, 0.9, seed=7)[0] for name, text in zip(names, prompts, strict=True)]
    backwards = generate(lm, names[::-1], prompts[::-1], 3, 12, 0.9, seed=7, batch_sequences=6)[::-1]
    assert together == alone == backwards
    assert together != generate(lm, names, prompts, 3, 12, 0.9, seed=8)
    assert len({text for group in together for text in group}) > 8


def test_the_cache_gives_the_tokens_of_full_passes(lm: LanguageModel) -> None:
    # A tiny nucleus leaves the most probable token only, so sampling must agree with greedy decoding without a cache.
    prompts = ["the old", "two boats went slowly past the"]
    found = generate(lm, ["a", "b"], prompts, 1, 10, 1e-6, seed=0)
    for prompt, (text,) in zip(prompts, found, strict=True):
        ids = [lm.bos_id, *lm.tokenizer(prompt)["input_ids"]]
        start = len(ids)
        with torch.inference_mode():
            while len(ids) < start + 10:
                ids.append(int(lm.model(input_ids=torch.tensor([ids])).logits[0, -1].argmax()))
                if ids[-1] == lm.eos_id:
                    ids.pop()
                    break
        assert text == lm.tokenizer.decode(ids[start:])


@given(
    logits=st.lists(st.floats(-6, 6), min_size=2, max_size=12),
    top_p=st.sampled_from([0.1, 0.5, 0.9, 1.0]),
)
def test_nucleus_frequencies_are_the_renormalised_probabilities(logits: list[float], top_p: float) -> None:
    row = torch.tensor(logits)
    grid = (torch.arange(4000) + 0.5) / 4000
    tokens = nucleus(row.expand(4000, -1), grid, top_p)
    found = torch.bincount(tokens, minlength=len(logits)).double() / 4000
    probability = torch.softmax(row.double(), 0)
    order = torch.argsort(probability, descending=True, stable=True)
    inside = probability[order].cumsum(0) - probability[order] < top_p - 1e-7
    # Equal logits may stand on either side of the nucleus's border; sorted, the masses agree.
    expected = torch.zeros_like(probability)
    expected[: int(inside.sum())] = probability[order][inside] / probability[order][inside].sum()
    assert float((found.sort(descending=True).values - expected).abs().max()) < 2e-3


def test_a_large_vocabulary_with_a_flat_distribution_is_sorted_whole() -> None:
    tokens = nucleus(torch.zeros(2000, 1500), (torch.arange(2000) + 0.5) / 2000, 1.0)
    assert tokens.unique().numel() == 1500


def test_a_window_without_room_is_refused(lm: LanguageModel) -> None:
    with pytest.raises(DataError, match="room"):
        generate(lm, ["a"], ["the"], 1, 48, 0.9, seed=0)
