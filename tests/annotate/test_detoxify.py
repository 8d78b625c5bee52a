"""Detoxify through its own class, on a tiny checkpoint trained here in its own file format."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest

from curation_pipeline.annotate.detectors.registry import find_detector, load_detector
from curation_pipeline.annotate.settings import AnnotateSettings, DetoxifySettings
from curation_pipeline.errors import ConfigError, IntegrityError, MissingModelError

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")
pytest.importorskip("detoxify")

CLASSES = ["toxic", "insult"]
TEXTS = ["you are an idiot", "you are a fool", "good morning my friend", "have a nice day", "the river is long"]


def _write(folder: Path, state: dict[str, Any], classes: list[str]) -> Path:
    path = folder / "tiny.ckpt"
    arch = {
        "model_type": "a-hub-name-that-must-not-be-asked-for",
        "model_name": "BertForSequenceClassification",
        "tokenizer_name": "BertTokenizer",
        "num_classes": len(classes),
    }
    config = {"arch": {"args": arch}, "dataset": {"args": {"classes": classes}}}
    torch.save({"config": config, "state_dict": state}, path)
    return path


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, dict[str, Any]]:
    """Checkpoint, configuration folder and state of a two-class BERT that has learned two words."""
    folder = tmp_path_factory.mktemp("detoxify")
    (folder / "vocab.txt").write_text(
        "\n".join(
            ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *sorted({word for text in TEXTS for word in text.split()})]
        )
    )
    tokenizer = transformers.BertTokenizer(str(folder / "vocab.txt"))
    tokenizer.save_pretrained(folder)
    config = transformers.BertConfig(
        vocab_size=len(tokenizer),
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=32,
        max_position_embeddings=64,
        num_labels=len(CLASSES),
        hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
    )
    config.save_pretrained(folder)
    torch.manual_seed(0)
    model = transformers.BertForSequenceClassification(config)
    batch = tokenizer(TEXTS, return_tensors="pt", padding=True)
    target = torch.tensor([[1.0, 1.0]] * 2 + [[0.0, 0.0]] * 3)
    optimiser = torch.optim.Adam(model.parameters(), lr=1e-2)
    for _ in range(60):
        loss = torch.nn.functional.binary_cross_entropy_with_logits(model(**batch).logits, target)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    return _write(folder, model.state_dict(), CLASSES), folder, model.state_dict()


def _settings(checkpoint: Path, folder: Path) -> AnnotateSettings:
    return AnnotateSettings(
        detoxify=DetoxifySettings(checkpoint=checkpoint, huggingface_config_path=folder, batch_size=2)
    )


def test_scores_with_local_files_only(tiny: tuple[Path, Path, dict[str, Any]], tmp_path: Path) -> None:
    checkpoint, folder, _ = tiny
    detector = load_detector("detoxify", _settings(checkpoint, folder), tmp_path)
    assert detector.heads == ("toxicity", "insult", "toxicity_mean")
    scores = detector.score(["good morning friend", "you idiot", "a long nice river"])["toxicity"].to_list()
    assert scores[1] > 0.8
    assert max(scores[0], scores[2]) < 0.2
    alone = detector.score(["you idiot"])["toxicity"][0]
    assert alone == pytest.approx(scores[1], abs=2e-4)


def test_short_texts_score_as_plain_predict_and_long_ones_are_read_to_their_end(
    tiny: tuple[Path, Path, dict[str, Any]], tmp_path: Path
) -> None:
    from detoxify import Detoxify

    checkpoint, folder, _ = tiny
    loaded = torch.load(checkpoint, weights_only=True)
    loaded["config"]["arch"]["args"]["model_type"] = str(folder)
    local = tmp_path / "local.ckpt"
    torch.save(loaded, local)
    plain = Detoxify(checkpoint=str(local), huggingface_config_path=str(folder))
    plain.tokenizer.model_max_length = 64  # the tiny tokenizer names no length of its own
    detector = load_detector("detoxify", _settings(checkpoint, folder), tmp_path)
    short = [*TEXTS, "", "idiot " * 40]
    scores = detector.score(short)
    for head, values in plain.predict(short).items():
        assert scores[head].to_list() == pytest.approx(values, abs=2e-4)
    assert scores["toxicity_mean"].equals(scores["toxicity"].alias("toxicity_mean"))
    long = "have a nice day " * 100 + "you are an idiot " * 5
    found = detector.score([long])
    assert plain.predict(long)["toxicity"] < 0.2
    assert found["toxicity"][0] > 0.5
    assert found["toxicity_mean"][0] < found["toxicity"][0] / 3


def test_config_with_another_number_of_labels_is_refused(
    tiny: tuple[Path, Path, dict[str, Any]], tmp_path: Path
) -> None:
    checkpoint, folder, _ = tiny
    for file in folder.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    config = json.loads((tmp_path / "config.json").read_text())
    config["id2label"] = {"0": "a", "1": "b", "2": "c"}
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(ConfigError, match="3 labels"):
        load_detector("detoxify", _settings(checkpoint, tmp_path), tmp_path)


class _Trap:
    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return (print, ("a checkpoint ran code",))


def test_checkpoint_that_runs_code_is_refused(
    tiny: tuple[Path, Path, dict[str, Any]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _, folder, state = tiny
    checkpoint = _write(tmp_path, {**state, "trap": _Trap()}, CLASSES)
    with pytest.raises(IntegrityError, match="read safely"):
        load_detector("detoxify", _settings(checkpoint, folder), tmp_path)
    assert "ran code" not in capsys.readouterr().out


def test_missing_weights_say_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(MissingModelError, match="huggingface_config_path"):
        load_detector("detoxify", AnnotateSettings(), tmp_path)
    with pytest.raises(MissingModelError, match="alt_profanity"):
        load_detector("alt_profanity", AnnotateSettings(), tmp_path)


def test_published_weights_are_downloaded_once_and_checked(
    tiny: tuple[Path, Path, dict[str, Any]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The package's own address is a file here, and the base model's hub id a folder."""
    from detoxify import detoxify as package

    checkpoint, folder, _ = tiny
    served = tmp_path / "served"
    served.mkdir()
    loaded = torch.load(checkpoint, weights_only=True)
    loaded["config"]["arch"]["args"]["model_type"] = str(folder)
    torch.save(loaded, served / "raw.ckpt")
    digits = hashlib.sha256((served / "raw.ckpt").read_bytes()).hexdigest()[:8]
    good = (served / "raw.ckpt").rename(served / f"tiny-{digits}.ckpt")
    monkeypatch.setitem(package.MODEL_URLS, "original", good.as_uri())
    settings = AnnotateSettings(detoxify=DetoxifySettings(variant="original"))
    cache = tmp_path / "cache"
    detector = load_detector("detoxify", settings, tmp_path, cache)
    assert detector.score(TEXTS).equals(load_detector("detoxify", _settings(checkpoint, folder), tmp_path).score(TEXTS))
    assert find_detector("detoxify").weights(settings) == f"published tiny-{digits}.ckpt"
    good.unlink()
    load_detector("detoxify", settings, tmp_path, cache)
    with pytest.raises(MissingModelError, match="local copies instead"):
        load_detector("detoxify", settings, tmp_path, tmp_path / "empty")
    wrong = served / "tiny-00000000.ckpt"
    torch.save(loaded, wrong)
    monkeypatch.setitem(package.MODEL_URLS, "original", wrong.as_uri())
    with pytest.raises(MissingModelError, match="hash"):
        load_detector("detoxify", settings, tmp_path, tmp_path / "other")
