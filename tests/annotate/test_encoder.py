"""Encoders in the format of sentence-transformers, tiny and with random weights, from a local folder."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from hypothesis import given, settings
from hypothesis import strategies as st
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer import modules

from curation_pipeline.annotate.detectors.head import HeadSettings
from curation_pipeline.annotate.detectors.preflight import preflight
from curation_pipeline.annotate.encoder import SentenceEncoder, encoder_version, load_encoder
from curation_pipeline.annotate.settings import AnnotateSettings
from curation_pipeline.errors import ConfigError, MissingModelError

pytestmark = pytest.mark.slow  # sentence-transformers takes seconds to import

NUMBERS = ["one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten"]
WORDS = ["a", "the", *NUMBERS, "dog", "cat", "runs", "in", "park"]
TEXTS = ["the dog runs", "the cat runs in the park", "", "https://example.com/a.png", "ten", "Dog!\n\nCat?"]
LONG = " ".join(WORDS * 9)
POOLINGS = ("cls", "mean", "max", "lasttoken", "mean_sqrt_len_tokens", "weightedmean")


def network(folder: Path, **options: Any) -> Path:
    """A transformers folder without a word of pooling."""
    folder.mkdir(parents=True)
    vocabulary = folder / "vocab.txt"
    letters = [chr(code) for code in range(97, 123)]
    pieces = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *WORDS, *letters, *(f"##{letter}" for letter in letters)]
    vocabulary.write_text("\n".join(dict.fromkeys(pieces)))
    tokenizer = transformers.BertTokenizerFast(vocab=str(vocabulary), model_max_length=48, **options)
    config = transformers.BertConfig(
        vocab_size=len(tokenizer), hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=32,
        max_position_embeddings=48, initializer_range=0.4,
    )  # fmt: skip
    torch.manual_seed(0)
    transformers.BertModel(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def sentence_model(folder: Path, pooling: str | list[str], *more: Any, **options: Any) -> Path:
    """The same as sentence-transformers saves it, with its pooling and more modules behind it."""
    transformer = modules.Transformer(str(network(folder.with_name(f"{folder.name}-network"))))
    size = transformer.get_embedding_dimension()
    model = SentenceTransformer(modules=[transformer, modules.Pooling(size, pooling), *more], device="cpu", **options)
    model.save(str(folder), create_model_card=False)
    return folder


def load(folder: Path, window: int = 48, **changes: Any) -> SentenceEncoder:
    return load_encoder(HeadSettings(encoder=str(folder), encoder_window=window, **changes), folder)


def reference(folder: Path, texts: list[str]) -> np.ndarray:
    return np.asarray(SentenceTransformer(str(folder), device="cpu").encode(texts, normalize_embeddings=True))


@pytest.mark.parametrize("pooling", [*POOLINGS, ["cls", "max"]], ids=str)
def test_an_encoder_pools_as_its_folder_says(pooling: str | list[str], tmp_path: Path) -> None:
    more = [modules.Normalize()] if pooling == "cls" else [modules.Dense(16, 6)] if pooling == "mean" else []
    folder = sentence_model(tmp_path / "model", pooling, *more)
    vectors = load(folder).encode(TEXTS)
    np.testing.assert_allclose(vectors, reference(folder, TEXTS), atol=1e-5)
    plain = load(tmp_path / "model-network").encode(TEXTS)  # a folder that does not say is pooled by the mean
    np.testing.assert_allclose(plain, reference(tmp_path / "model-network", TEXTS), atol=1e-5)
    if pooling in ("cls", "max", "lasttoken"):
        assert np.abs(plain - vectors).max() > 0.01


def test_the_old_form_of_the_pooling_file_is_read(tmp_path: Path) -> None:
    folder = sentence_model(tmp_path / "model", "mean")
    mean = load(folder)
    flags = {"pooling_mode_cls_token": True, "pooling_mode_mean_tokens": False, "pooling_mode_max_tokens": False}
    (folder / "1_Pooling/config.json").write_text(json.dumps({"word_embedding_dimension": 16, **flags}))
    first = load(folder)
    assert first.version != mean.version
    expected = reference(sentence_model(tmp_path / "cls", "cls"), TEXTS)
    np.testing.assert_allclose(first.encode(TEXTS), expected, atol=1e-5)


def test_a_network_in_a_folder_of_its_own_is_found(tmp_path: Path) -> None:
    """As older versions of sentence-transformers wrote it."""
    folder = sentence_model(tmp_path / "model", "cls")
    expected = load(folder).encode(TEXTS)
    inner = folder / "0_Transformer"
    inner.mkdir()
    for path in [path for path in folder.iterdir() if path.is_file() and path.name != "modules.json"]:
        path.rename(inner / path.name)
    listed = json.loads((folder / "modules.json").read_text())
    listed[0]["path"] = "0_Transformer"
    (folder / "modules.json").write_text(json.dumps(listed))
    preflight(["harm_head"], AnnotateSettings(heads=HeadSettings(encoder=str(folder))))
    np.testing.assert_allclose(load(folder).encode(TEXTS), expected, atol=1e-5)


def test_prompt_cut_and_lower_case_are_those_of_the_folder(tmp_path: Path) -> None:
    folder = sentence_model(tmp_path / "model", "cls", prompts={"park": "in park "}, default_prompt_name="park")
    config = json.loads((folder / "config_sentence_transformers.json").read_text())
    (folder / "config_sentence_transformers.json").write_text(json.dumps({**config, "truncate_dim": 4}))
    encoder = load(folder, window=16)
    assert encoder.extra == 4
    np.testing.assert_allclose(encoder.encode(TEXTS[:3]), reference(folder, TEXTS[:3]), atol=1e-5)
    assert encoder.encode([]).shape == (0, 4)
    longer = sentence_model(tmp_path / "long", "cls", prompts={"p": "one two three " * 3}, default_prompt_name="p")
    with pytest.raises(ConfigError, match=r"encoder_window: of 16 tokens .* take 11"):
        load(longer, window=16)


@pytest.fixture(scope="module")
def first_token(tmp_path_factory: pytest.TempPathFactory) -> SentenceEncoder:
    return load(sentence_model(tmp_path_factory.mktemp("windows") / "model", "cls"), window=16)


@settings(max_examples=40)
@given(
    st.lists(
        st.text(st.sampled_from("abc dog\u0301 \ufdfa漢字🙂\0\n"), max_size=120) | st.just(LONG), min_size=1, max_size=4
    )
)
def test_windows_hold_the_whole_text_and_fit(first_token: SentenceEncoder, texts: list[str]) -> None:
    windows, owners, sizes = first_token._windows(texts)
    for index, text in enumerate(texts):
        assert "".join(windows[row] for row in np.flatnonzero(owners == index)) == text or not text
    assert all(sizes[row] <= 16 or len(windows[row]) == 1 for row in range(len(windows)))
    together = first_token.encode(texts)
    alone = np.concatenate([first_token.encode([text]) for text in texts])
    np.testing.assert_allclose(together, alone, atol=1e-4)


def test_a_window_counts_by_its_tokens(first_token: SentenceEncoder) -> None:
    windows, _, sizes = first_token._windows([LONG])
    assert len(windows) > 5
    assert not any(window[-1].isalpha() and follower[0].isalpha() for window, follower in pairwise(windows))
    parts = first_token.model.encode(windows) * sizes[:, None]
    mean = parts.sum(axis=0) / np.linalg.norm(parts.sum(axis=0))
    np.testing.assert_allclose(first_token.encode([LONG])[0], mean, atol=1e-5)


def test_a_tokenizer_that_pads_the_wrong_side_is_put_right(tmp_path: Path) -> None:
    folder = network(tmp_path / "model", padding_side="left")
    encoder = load(folder)
    assert encoder.model.tokenizer.padding_side == "right"
    np.testing.assert_allclose(encoder.encode(TEXTS)[4], encoder.encode(TEXTS[4:5])[0], atol=1e-5)


def unknown_pooling(folder: Path) -> None:
    (folder / "1_Pooling/config.json").write_text('{"embedding_dimension": 16, "pooling_mode": "x"}')


def break_module(folder: Path) -> None:
    listed = json.loads((folder / "modules.json").read_text())
    listed[1]["type"] = "shutil.rmtree"
    (folder / "modules.json").write_text(json.dumps(listed))


def pickle_weights(folder: Path) -> None:
    dense = folder / "2_Dense"
    torch.save({}, dense / "pytorch_model.bin")
    (dense / "model.safetensors").unlink()


def another_kind(folder: Path) -> None:
    (folder / "config_sentence_transformers.json").write_text('{"model_type": "SparseEncoder"}')


def cut_weights(folder: Path) -> None:
    (folder / "model.safetensors").write_bytes((folder / "model.safetensors").read_bytes()[:500])


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (unknown_pooling, "Invalid pooling mode"),
        (break_module, "shutil.rmtree"),
        (pickle_weights, "safetensors"),
        (another_kind, "holds a SparseEncoder"),
        (cut_weights, "cannot be loaded"),
        (lambda folder: (folder / "modules.json").unlink(), "copy the whole folder"),
        (lambda folder: (folder / "modules.json").write_text("{"), "cannot be loaded"),
        (lambda folder: shutil.rmtree(folder / "1_Pooling"), "cannot be loaded"),
    ],
)
def test_what_cannot_be_read_is_one_clear_message(
    spoil: Callable[[Path], object], message: str, tmp_path: Path
) -> None:
    folder = sentence_model(tmp_path / "model", "cls", modules.Dense(16, 6))
    before = encoder_version(HeadSettings(encoder=str(folder)))
    spoil(folder)
    assert encoder_version(HeadSettings(encoder=str(folder))) != before
    with pytest.raises(MissingModelError, match=message) as caught:
        load(folder)
    assert "annotate.heads.encoder" in str(caught.value)
