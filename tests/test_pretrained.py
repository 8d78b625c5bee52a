"""Hostile model folders: nothing in them runs, whoever loads them and whatever standard input says."""

from __future__ import annotations

import ast
import io
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers

from curation_pipeline.annotate.detectors import classifier, detoxify
from curation_pipeline.annotate.detectors.head import HeadSettings
from curation_pipeline.annotate.detectors.preflight import model_problem
from curation_pipeline.annotate.encoder import load_encoder
from curation_pipeline.annotate.settings import ClassifierSettings
from curation_pipeline.bootstrap import Bootstrap
from curation_pipeline.errors import CurationError, IntegrityError, MissingModelError
from curation_pipeline.evaluation.harness import run_harness
from curation_pipeline.evaluation.settings import HarnessSettings
from curation_pipeline.pretrained import load_pretrained
from curation_pipeline.training.initial import init_model
from curation_pipeline.training.runtime import load_model
from curation_pipeline.training.settings import TrainingSettings
from curation_pipeline.training.tokenizer import load_tokenizer, train_tokenizer

ROOT = Path(__file__).parents[1]
AUTO = ("AutoConfig", "AutoModel", "AutoModelForCausalLM", "AutoModelForSequenceClassification")
EVIL = """
from pathlib import Path
Path({marker!r}).touch()
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast
class Config(LlamaConfig):
    model_type = "evil"
class Model(LlamaForCausalLM):
    config_class = Config
class Tokenizer(PreTrainedTokenizerFast):
    pass
"""


class _Trap:
    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[Any, tuple[Path]]:
        return (Path.touch, (self.marker,))


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("good")
    train_tokenizer(["a text of a few words"], 270, folder)
    config = transformers.LlamaConfig(
        vocab_size=270, hidden_size=16, intermediate_size=16, num_hidden_layers=1, num_attention_heads=2, num_labels=2
    )
    transformers.LlamaForSequenceClassification(config).save_pretrained(folder)
    transformers.LlamaForCausalLM(config).save_pretrained(folder)
    return folder


def change(path: Path, **values: Any) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


@pytest.fixture
def marker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """What hostile folders touch; standard input says yes to everything."""
    monkeypatch.setattr("sys.stdin", io.StringIO("y\n" * 100))
    return tmp_path / "the code ran"


@pytest.fixture
def code(good: Path, tmp_path: Path, marker: Path) -> Path:
    """A folder whose model and tokenizer are code of its own."""
    folder = tmp_path / "code"
    shutil.copytree(good, folder)
    (folder / "evil.py").write_text(EVIL.format(marker=str(marker)))
    names = {name: f"evil.{'Config' if name == 'AutoConfig' else 'Model'}" for name in AUTO}
    change(folder / "config.json", model_type="evil", architectures=["Model"], auto_map=names)
    change(
        folder / "tokenizer_config.json",
        tokenizer_class="Tokenizer",
        auto_map={"AutoTokenizer": ["evil.Tokenizer", "evil.Tokenizer"]},
    )
    return folder


@pytest.fixture
def pickled(good: Path, tmp_path: Path, marker: Path) -> Path:
    """A folder whose weights are a pickle that touches the marker."""
    folder = tmp_path / "pickled"
    shutil.copytree(good, folder)
    (folder / "model.safetensors").unlink()
    torch.save({"model.embed_tokens.weight": _Trap(marker)}, folder / "pytorch_model.bin")
    return folder


def _detoxify(folder: Path, model: str, tokenizer: str) -> None:
    arch = {"model_type": "x", "model_name": model, "tokenizer_name": tokenizer, "num_classes": 2}
    checkpoint = folder.parent / "detoxify.ckpt"
    torch.save({"config": {"arch": {"args": arch}, "dataset": {"args": {"classes": ["toxic", "insult"]}}}}, checkpoint)
    loaded = torch.load(checkpoint, weights_only=True)
    torch.save(loaded | {"state_dict": {}}, checkpoint)
    detoxify.load(checkpoint, folder)


def _harness(folder: Path) -> None:
    tasks = folder.parent / "tasks"
    tasks.mkdir()
    (tasks / "items.jsonl").write_text('{"text": "a few words"}\n')
    (tasks / "plain.yaml").write_text(
        f"task: plain\ndataset_path: json\ndataset_kwargs: {{data_files: {{test: {tasks}/items.jsonl}}}}\n"
        "test_split: test\noutput_type: loglikelihood\ndoc_to_text: a\ndoc_to_target: ' text'\n"
        "metric_list: [{metric: acc}]\n"
    )
    run_harness(folder, ("plain",), tasks, HarnessSettings(tasks=("plain",)), 1, Bootstrap(1, 10, 0.95))


LOADERS: dict[str, Callable[[Path], object]] = {
    "causal model": load_model,
    "tokenizer": load_tokenizer,
    "encoder": lambda folder: load_encoder(HeadSettings(encoder=str(folder)), folder),
    "classifier": lambda folder: classifier.load(
        ClassifierSettings.model_validate({"model": str(folder), "harmful_labels": ["LABEL_1"]})
    ),
    "base": lambda folder: init_model(TrainingSettings(model_id=str(folder)), folder, folder.parent / "base", 1),
    "configuration": lambda folder: load_pretrained("AutoConfig", folder, "no"),
    "detoxify's model": lambda folder: _detoxify(folder, "AutoModelForSequenceClassification", "LlamaTokenizer"),
    "detoxify's tokenizer": lambda folder: _detoxify(folder, "LlamaForSequenceClassification", "AutoTokenizer"),
    "harness": _harness,
}


def test_the_hostile_folder_is_one(code: Path, pickled: Path, marker: Path) -> None:
    transformers.AutoConfig.from_pretrained(code)  # asks, and standard input answers `y`
    assert marker.exists()
    marker.unlink()
    torch.load(pickled / "pytorch_model.bin", weights_only=False)
    assert marker.exists()


@pytest.mark.parametrize("loader", LOADERS)
def test_no_loader_runs_code_of_a_folder(loader: str, code: Path, marker: Path) -> None:
    with pytest.raises(CurationError) as refused:
        LOADERS[loader](code)
    assert not marker.exists()
    assert "auto_map" in str(refused.value) or "no class of a network" in str(refused.value)


@pytest.mark.parametrize("loader", ["causal model", "encoder", "classifier", "base", "harness"])
def test_no_loader_reads_pickled_weights(loader: str, pickled: Path, marker: Path) -> None:
    with pytest.raises(MissingModelError, match=r"pytorch_model\.bin, a pickle.*save_pretrained"):
        LOADERS[loader](pickled)
    assert not marker.exists()
    assert "a pickle" in str(model_problem(str(pickled), None, {}))


def test_an_index_may_name_safetensors_of_its_folder_only(pickled: Path, good: Path, marker: Path) -> None:
    shutil.copy(good / "model.safetensors", pickled / "other.safetensors")
    index = pickled / "model.safetensors.index.json"
    for shard in ("pytorch_model.bin", "../good/model.safetensors"):
        index.write_text(json.dumps({"metadata": {}, "weight_map": {"model.embed_tokens.weight": shard}}))
        with pytest.raises(MissingModelError, match="no safetensors file of its folder"):
            load_model(pickled)
    assert not marker.exists()


def test_code_beside_an_architecture_that_transformers_has_is_left_alone(
    good: Path, tmp_path: Path, marker: Path
) -> None:
    folder = tmp_path / "both"
    shutil.copytree(good, folder)
    (folder / "evil.py").write_text(EVIL.format(marker=str(marker)))
    change(folder / "config.json", auto_map=dict.fromkeys(AUTO, "evil.Model"))
    torch.save({"x": _Trap(marker)}, folder / "pytorch_model.bin")  # safetensors are next to it
    assert type(load_model(folder)).__module__ == "transformers.models.llama.modeling_llama"
    assert not marker.exists()


def test_a_checkpoint_of_detoxify_may_name_plain_classes_only(good: Path) -> None:
    with pytest.raises(IntegrityError, match="no class of a network"):
        _detoxify(good, "pipeline", "LlamaTokenizer")


REFUSED = {
    "from_pretrained": "curation_pipeline/pretrained.py",
    "Unpickler": "curation_pipeline/annotate/detectors/allowlist.py",
    "eval": None, "exec": None, "os.system": None, "os.popen": None, "pickle.load": None, "pickle.loads": None,
    "joblib.load": None, "yaml.load": None, "yaml.full_load": None, "yaml.unsafe_load": None, "hub.load": None,
    "load_state_dict_from_url": None, "from_string": None,
}  # fmt: skip
"""Calls and bases that can run what a file says, and the one file that may have them."""


def test_no_source_loads_past_the_one_helper() -> None:
    found = []
    for folder in ("curation_pipeline", "assets", "resources", "benchmarks"):
        for path in (ROOT / folder).rglob("*.py"):
            place = path.relative_to(ROOT).as_posix()
            if place.startswith("benchmarks/peers/"):  # they run in environments of their own
                continue
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                names = [ast.unparse(base) for base in node.bases] if isinstance(node, ast.ClassDef) else []
                options: dict[str | None, str] = {}
                if isinstance(node, ast.Call):
                    names = [ast.unparse(node.func)]
                    options = {keyword.arg: ast.unparse(keyword.value) for keyword in node.keywords}
                for name in names:
                    last, two = name.rpartition(".")[2], ".".join(name.split(".")[-2:])
                    only = next((REFUSED[key] for key in (name, two, last) if key in REFUSED), place)
                    if last in ("eval", "exec") and name != last:
                        only = place  # a model's own method
                    wrong = only != place
                    wrong |= two == "torch.load" and options.get("weights_only") != "True"
                    wrong |= options.get("allow_pickle", "False") != "False"
                    wrong |= options.get("shell", "False") != "False"
                    wrong |= options.get("trust_remote_code", "False") != "False"
                    if wrong:
                        found.append(f"{place}:{node.lineno} {name}")
    assert found == []
