"""The shipped profiles: each is valid, and those that need a hub, a GPU, Ray or a bucket run here as far as can be.

In the place of the hub's models are small ones in the same formats, in the place of the cluster one machine's Ray, and
a real S3 server in the place of the bucket. What is not run: the hub itself, GPUs, and models of the declared size.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
import tomlkit

from curation_pipeline.config import PROFILES, load_profile
from curation_pipeline.lake.lake import Lake
from tests.s3_server import KEYS, s3_server

NAMES = sorted(path.stem for path in PROFILES.glob("*.toml"))
TINY = Path(__file__).with_name("tiny.toml")
SMALL = ("corpus", "policy", "evaluation", "credit")
"""Tables of the tiny profile that take the place of a shipped one's."""


@pytest.mark.parametrize("name", NAMES)
def test_every_shipped_profile_is_valid_and_called_as_its_file(name: str) -> None:
    assert load_profile(name).name == name


def letters(folder: Path) -> Any:
    """A tokenizer that reads every word by its letters, so that no two texts look alike to random weights."""
    import string

    import transformers

    folder.mkdir()
    pieces = [f"{mark}{letter}" for mark in ("", "##") for letter in string.ascii_lowercase + string.digits]
    vocabulary = folder / "vocab.txt"
    vocabulary.write_text("\n".join(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *pieces]))
    tokenizer = transformers.BertTokenizerFast(vocab=str(vocabulary), model_max_length=64)
    tokenizer.save_pretrained(folder)
    return tokenizer


def network(labels: list[str], tokenizer: Any, seed: int) -> Any:
    """A small BERT of random weights, large enough to tell texts apart; seeds 0 and 11 find some of both kinds."""
    import torch
    import transformers

    config = transformers.BertConfig(
        vocab_size=len(tokenizer), hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=32,
        max_position_embeddings=64, initializer_range=0.8, id2label=dict(enumerate(labels)),
    )  # fmt: skip
    torch.manual_seed(seed)
    model = transformers.BertForSequenceClassification(config).eval()
    model.classifier.weight.data *= 30.0  # sure of itself: hardly a text is neither toxic nor benign
    return model


def detoxify(folder: Path) -> dict[str, str]:
    """A small Detoxify in its own file format."""
    import torch

    classes = ["toxicity", "insult"]
    model = network(classes, letters(folder), 0)
    model.config.save_pretrained(folder)
    arch = {
        "model_type": "not-asked-for", "model_name": "BertForSequenceClassification",
        "tokenizer_name": "BertTokenizer", "num_classes": len(classes),
    }  # fmt: skip
    config = {"arch": {"args": arch}, "dataset": {"args": {"classes": classes}}}
    torch.save({"config": config, "state_dict": model.state_dict()}, folder / "tiny.ckpt")
    return {"checkpoint": str(folder / "tiny.ckpt"), "huggingface_config_path": str(folder)}


def classifier(folder: Path) -> str:
    """A small classifier in the hub's format, with the labels of the real one."""
    network(["nothate", "hate"], letters(folder), 11).save_pretrained(folder)
    return str(folder)


def language_model(folder: Path) -> str:
    """A small causal language model in the hub's format."""
    from tests.training.tiny_model import build

    return str(build(folder))


def replaced(name: str, folder: Path, url: str | None) -> dict[str, Any]:
    """A shipped profile with small models, little text, and no GPU."""
    raw = tomllib.loads((PROFILES / f"{name}.toml").read_text())
    tiny = tomllib.loads(TINY.read_text())
    raw |= {part: tiny[part] for part in SMALL}
    raw["annotate"] |= {part: tiny["annotate"][part] for part in ("vector_max_terms", "vector_sample", "topics")}
    raw["annotate"]["detoxify"] = {**detoxify(folder / "detoxify"), "device": "cpu"}
    raw["annotate"]["classifier"] |= {"model": classifier(folder / "classifier"), "device": "cpu"}
    raw["annotate"]["classifier"].pop("revision")
    raw["annotate"]["judge_max_false_positives"] = 1.0  # its weights are random
    raw["training"] |= {"model_id": language_model(folder / "model"), "sequence_length": 32, "device": "cpu"}
    raw["training"] |= {"precision": "fp32", "batch_size": 4, "micro_batch_size": 4}
    raw["loop"] |= {"token_budget": 6_000, "max_iterations": 1}
    raw["engine"] = {**raw["engine"], "workers": 2}
    for request in raw["engine"].get("requests", {}).values():
        request |= {"cpus": 1, "gpus": 0}
        request.pop("memory_gb", None)
        if "actors" in request:
            request["actors"] = 1
    if url is not None:
        raw["lake"] |= {"root": "s3://lake/lake", "endpoint_url": url}
    return raw


@pytest.mark.slow
@pytest.mark.network
@pytest.mark.parametrize("name", ["local", "cluster"])
def test_a_profile_of_larger_machines_runs_with_small_models(
    name: str, tmp_path: Path, package_cache: Path, request: pytest.FixtureRequest
) -> None:
    environment = {**os.environ, "AWS_ACCESS_KEY_ID": "curator", "AWS_SECRET_ACCESS_KEY": KEYS["curator"]}
    environment |= {"AWS_DEFAULT_REGION": "us-east-1", "PYTHONPATH": str(TINY.parents[1]), "COLUMNS": "200"}
    environment.pop("RAY_ADDRESS", None)
    url = None
    if name == "cluster":
        pytest.importorskip("ray", reason="Ray is not installed: pip install -e .[ray]")
        server = s3_server(tmp_path / "s3")
        url = server.__enter__()
        request.addfinalizer(lambda: server.__exit__(None, None, None))
    profile = tmp_path / f"{name}.toml"
    raw = replaced(name, tmp_path, url)
    profile.write_text(tomlkit.dumps(raw))
    state = tmp_path / "state"
    command = [str(Path(sys.executable).with_name("curate")), "run", "--no-arms", "--profile", str(profile)]
    done = subprocess.run(
        [*command, "--state", str(state)], env=environment, capture_output=True, text=True, timeout=3000, check=False
    )
    logs = "".join(path.read_text()[-3000:] for path in (state / "logs").glob("*.log"))
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}\n{logs}"
    if url is None:
        lake = Lake.open(state / "lake")
        (scores,) = lake.heads("toxicity_teacher")[:1]
        assert "detoxify" in lake.frame(scores).columns
        (checkpoint,) = lake.heads("checkpoints", {"chain": "main"})
        assert checkpoint.n_bytes > 0
