"""A transformers classifier from a local folder in the hub's own format, trained here on mild words."""

from __future__ import annotations

import random
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers

from curation_pipeline.annotate.detectors.registry import find_detector, load_detector
from curation_pipeline.annotate.settings import AnnotateSettings, ClassifierSettings
from curation_pipeline.errors import ConfigError, MissingModelError

SPEC = find_detector("classifier")
HARMFUL = ["you idiot", "what an idiot you are", "idiot go away", "such a fool you are", "fool"]
BENIGN = ["good morning friend", "have a nice day", "what a day", "you are a friend", "the river is long", "go on"]
WORDS = sorted({word for text in HARMFUL + BENIGN for word in text.split()})


def make_tokenizer(folder: Path, **options: Any) -> Any:
    folder.mkdir(parents=True)
    vocabulary = folder / "vocab.txt"
    vocabulary.write_text("\n".join(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *WORDS]))
    return transformers.BertTokenizerFast(vocab=str(vocabulary), **options)


def save(folder: Path, kind: str, tokenizer: Any, **options: Any) -> Path:
    """A network with random weights; ``kind`` is its class without what it ends in."""
    config = getattr(transformers, f"{kind}Config")(
        vocab_size=len(tokenizer), hidden_size=32, num_hidden_layers=1, num_attention_heads=2, intermediate_size=64,
        max_position_embeddings=34, pad_token_id=0, initializer_range=0.3, **options,
    )  # fmt: skip
    torch.manual_seed(0)
    getattr(transformers, f"{kind}ForSequenceClassification")(config).eval().save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def train(folder: Path, problem: str) -> Path:
    tokenizer = make_tokenizer(folder, model_max_length=32)
    config = transformers.BertConfig(
        vocab_size=len(tokenizer), hidden_size=32, num_hidden_layers=1, num_attention_heads=2, intermediate_size=64,
        max_position_embeddings=32, hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0,
        id2label={0: "Harmless", 1: "Harmful"}, problem_type=problem,
    )  # fmt: skip
    torch.manual_seed(0)
    model = transformers.BertForSequenceClassification(config)
    draw = random.Random(0)
    texts = [" ".join(draw.choices(WORDS, k=draw.randint(1, 14))) for _ in range(400)] + HARMFUL + BENIGN
    batch = tokenizer(texts, padding=True, return_tensors="pt")
    truth = torch.tensor([int(bool({"idiot", "fool"} & set(text.split()))) for text in texts])
    labels = torch.nn.functional.one_hot(truth, 2).float() if problem.startswith("multi") else truth
    optimiser = torch.optim.Adam(model.parameters(), lr=5e-3)
    for _ in range(80):
        optimiser.zero_grad()
        model(**batch, labels=labels).loss.backward()
        optimiser.step()
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module", params=["single_label_classification", "multi_label_classification"])
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return train(tmp_path_factory.mktemp("classifier") / "model", request.param)


def settings(folder: Path, **changes: object) -> AnnotateSettings:
    given = {"model": str(folder), "harmful_labels": ["harmful"], **changes}
    return AnnotateSettings(teachers=("classifier",), classifier=ClassifierSettings.model_validate(given))


def test_scores_follow_the_labels_in_any_batch(folder: Path, tmp_path: Path) -> None:
    detector = load_detector("classifier", settings(folder), tmp_path)
    texts = [*HARMFUL, *BENIGN, ""]
    scores = detector.score(texts)
    assert scores["harm"][: len(HARMFUL)].min() > 0.8  # type: ignore[operator]
    assert scores["harm"][len(HARMFUL) : -1].max() < 0.2  # type: ignore[operator]
    one = load_detector("classifier", settings(folder, batch_size=1), tmp_path).score(texts)
    assert (one["harm"] - scores["harm"]).abs().max() <= 2e-4  # type: ignore[operator]
    assert detector.score([]).height == 0


def test_harm_anywhere_in_a_long_text_counts(folder: Path, tmp_path: Path) -> None:
    detector = load_detector("classifier", settings(folder, window=16, stride=4), tmp_path)
    filler = "have a nice day " * 40
    scores = detector.score([filler, filler + "you idiot"])
    assert scores["harm"][0] < 0.2
    assert scores["harm"][1] > 0.5
    assert scores["harm_mean"][1] < scores["harm"][1] / 3


def test_other_weights_are_another_fingerprint(folder: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    shutil.copytree(folder, other)
    assert SPEC.weights(settings(other)) == SPEC.weights(settings(folder))
    raw = bytearray((other / "model.safetensors").read_bytes())
    raw[-1] ^= 1
    (other / "model.safetensors").write_bytes(raw)
    assert SPEC.weights(settings(other)) != SPEC.weights(settings(folder))


def test_wrong_settings_are_one_clear_message(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="has no label obscene; it has Harmless, Harmful"):
        load_detector("classifier", settings(folder, harmful_labels=["obscene"]), tmp_path)
    with pytest.raises(MissingModelError, match="cannot be loaded"):
        load_detector("classifier", settings(tmp_path / "nothing"), tmp_path)
    with pytest.raises(ConfigError, match=r"annotate\.classifier\.model is not set"):
        AnnotateSettings(teachers=("classifier",))


def test_a_single_logit_is_a_probability_and_a_regression_is_refused(tmp_path: Path) -> None:
    """Softmax over one logit is 1 whatever the text."""
    folder = save(tmp_path / "one", "Bert", make_tokenizer(tmp_path / "one"), id2label={0: "toxic"})
    texts = [*HARMFUL, *BENIGN]
    scores = load_detector("classifier", settings(folder, harmful_labels=["toxic"]), tmp_path).score(texts)["harm"]
    pipeline = transformers.pipeline("text-classification", str(folder))
    assert scores.to_list() == pytest.approx([found["score"] for found in pipeline(texts)], abs=2e-4)
    assert scores.n_unique() > 5
    other = save(tmp_path / "two", "Bert", make_tokenizer(tmp_path / "two"), num_labels=1, problem_type="regression")
    with pytest.raises(ConfigError, match="is a regression"):
        load_detector("classifier", settings(other, harmful_labels=["label_0"]), tmp_path)


def test_windows_end_where_the_positions_of_the_model_end(tmp_path: Path) -> None:
    """RoBERTa counts positions on from its padding's number; its tokenizer names no length here, and pads left."""
    folder = save(tmp_path / "model", "Roberta", make_tokenizer(tmp_path / "model", padding_side="left"))
    wanted = settings(folder, harmful_labels=["label_1"], window=4_000)
    detector = load_detector("classifier", wanted, tmp_path)
    assert detector.network.window == 33
    assert detector.network.tokenizer.padding_side == "right"
    texts = ["idiot " * 400, "a day"]
    together = detector.score(texts)["harm"]
    assert together[1] == pytest.approx(detector.score(texts[1:])["harm"][0], abs=2e-4)


def test_a_network_that_reads_the_last_place_is_padded_on_the_left(tmp_path: Path) -> None:
    tokenizer = make_tokenizer(tmp_path / "model", model_max_length=32)
    config = transformers.XLNetConfig(
        vocab_size=len(tokenizer), d_model=32, n_layer=1, n_head=2, d_inner=64, pad_token_id=0, initializer_range=0.3
    )
    torch.manual_seed(0)
    transformers.XLNetForSequenceClassification(config).eval().save_pretrained(tmp_path / "model")
    tokenizer.save_pretrained(tmp_path / "model")
    detector = load_detector("classifier", settings(tmp_path / "model", harmful_labels=["label_1"]), tmp_path)
    assert detector.network.tokenizer.padding_side == "left"
    together = detector.score(HARMFUL)["harm"]
    assert together[4] == pytest.approx(detector.score(HARMFUL[4:])["harm"][0], abs=2e-4)


def test_a_folder_without_a_head_or_with_damaged_weights_is_no_classifier(folder: Path, tmp_path: Path) -> None:
    shutil.copytree(folder, tmp_path / "headless")
    transformers.BertModel.from_pretrained(folder).save_pretrained(tmp_path / "headless")
    with pytest.raises(MissingModelError, match=r"has no weights for classifier\.bias"):
        load_detector("classifier", settings(tmp_path / "headless", harmful_labels=["label_1"]), tmp_path)
    shutil.copytree(folder, tmp_path / "cut")
    (tmp_path / "cut" / "model.safetensors").write_bytes((folder / "model.safetensors").read_bytes()[:999])
    with pytest.raises(MissingModelError, match="cannot be loaded"):
        load_detector("classifier", settings(tmp_path / "cut"), tmp_path)


@pytest.mark.parametrize("changes", [{"harmful_labels": ["harmless"]}, {"window": 16}, {"stride": 1}])
def test_other_settings_are_another_version(folder: Path, changes: dict[str, Any]) -> None:
    assert SPEC.weights(settings(folder, **changes)) != SPEC.weights(settings(folder))
