"""Detectors of other packages: the example package as pip installs it, and packages that are wrong."""

from __future__ import annotations

import subprocess
import sys
import warnings
from datetime import date
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from curation_pipeline.annotate.detectors.registry import find_detector
from curation_pipeline.annotate.settings import AnnotateSettings
from curation_pipeline.config import validate_profile
from curation_pipeline.errors import ConfigError
from curation_pipeline.lake.lake import Lake
from curation_pipeline.stages.context import Context
from curation_pipeline.stages.detectors import (
    check_detectors,
    models_in_force,
    score_teachers,
    teacher_parameters,
)
from curation_pipeline.steps.registry import steps
from tests.hosted_server import KEY, Reply, Server, harm_of
from tests.stages.sources import make

EXAMPLE = Path(__file__).parents[2] / "examples" / "curation_pipeline_perspective"


def installed(folder: Path, name: str, value: str) -> None:
    """A distribution that declares the detector ``name``, as far as its metadata go."""
    info = folder / f"{name}-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(f"[curation_pipeline.detectors]\n{name} = {value}\n")


def test_a_name_that_does_not_exist_is_answered_with_those_that_do() -> None:
    with pytest.raises(ConfigError, match=r"no detector `toxbert`; known are alt_profanity, bias_head, .*tox_block"):
        AnnotateSettings(teachers=("toxbert",))


def test_a_package_that_cannot_be_imported_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    installed(tmp_path, "broken", "broken_module:DETECTOR")
    installed(tmp_path, "other", "json:loads")
    (tmp_path / "broken_module.py").write_text("import a_package_that_is_not_there\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(ConfigError, match=r"`broken` of broken 1\.0 .*cannot be imported: ModuleNotFoundError.*a_pack"):
        find_detector("broken")
    with pytest.raises(ConfigError, match=r"`other` of other 1\.0 \(json:loads\) is no DetectorSpec of this name"):
        find_detector("other")
    with pytest.raises(ConfigError, match=r"known are .*broken.*other"):
        find_detector("third")


def test_options_belong_to_detectors_that_declare_them() -> None:
    for options, says in (
        ({"nowhere": {}}, "no detector `nowhere`"),
        ({"classifier": {}}, r"annotate\.detector_options\.classifier: .*they are in annotate\.classifier"),
        ({"alt_profanity": {"x": 1}}, "it has none"),
    ):
        with pytest.raises(ConfigError, match=says):
            AnnotateSettings.model_validate({"detector_options": options})


@pytest.mark.slow
@pytest.mark.network
def test_the_example_package_is_a_teacher_like_any_other(
    tmp_path: Path, package_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = tmp_path / "site"
    options = ["--no-deps", "--no-build-isolation", "--no-index", "--quiet", "--target", str(target)]
    subprocess.run([sys.executable, "-m", "pip", "install", *options, str(EXAMPLE)], check=True)
    monkeypatch.syspath_prepend(str(target))
    module = __import__("curation_pipeline_perspective.detector", fromlist=["today"])
    assert Path(str(module.__file__)).is_relative_to(target)
    monkeypatch.setattr(module, "today", lambda: date(2026, 6, 1))
    monkeypatch.setenv("PERSPECTIVE_API_KEY", KEY)
    steps.cache_clear()

    def answer(number: int, body: Any) -> Reply:
        if number == 1:
            return Reply({"error": {"code": 429, "message": "slow down", "status": "RESOURCE_EXHAUSTED"}}, 429)
        score = {"summaryScore": {"value": harm_of(body["comment"]["text"]), "type": "PROBABILITY"}}
        return Reply({"attributeScores": dict.fromkeys(body["requestedAttributes"], score), "languages": ["en"]})

    with Server(answer) as server:
        own = {"base_url": server.url, "attributes": ["TOXICITY", "THREAT"], "backoff_seconds": 0.01,
               "requests_per_minute": 6000.0}  # fmt: skip
        profile = validate_profile(
            {
                "name": "plugin",
                "corpus": {
                    "sources": [
                        {"kind": "package", "name": "wiki", "dataset": "bold", "snapshots": ["gender"], "limit": 50}
                    ]
                },
                "annotate": {
                    "teachers": ["alt_profanity", "perspective"],
                    "detector_options": {"perspective": own},
                },
            },
            "test",
        )
        ctx = Context(Lake.open(tmp_path / "lake"), profile, package_cache)
        check_detectors(ctx)
        make(ctx, "labels"), make(ctx, "detectors"), make(ctx, "cascade")
        make(ctx, "benchmarks"), make(ctx, "documents", "wiki|gender")
        shouted = ctx.lake.frame(make(ctx, "shouting", "wiki|gender"))
        assert shouted.height == 50
        assert shouted["capital_share"].is_between(0, 1).all()
        steps.cache_clear()
        texts = pl.Series(["harm=0.75 one", "two", "harm=0.75 one"])
        with pytest.warns(UserWarning, match="closes on 2026-12-31, in 213 days"):
            scores = score_teachers(ctx, texts, models_in_force(ctx))
        with warnings.catch_warnings(action="ignore"):
            assert score_teachers(ctx, texts, models_in_force(ctx)).equals(scores)
        assert len(server.seen) == 3, "one was refused at first, and known texts are not asked about"
        seen = server.seen[-1]
    assert scores["perspective"].to_list() == [0.75, 0.0, 0.75]
    assert "perspective_threat" in scores.columns
    assert seen.path == "/v1/comments:analyze"
    assert seen.headers["x-goog-api-key"] == KEY
    assert (seen.body["doNotStore"], seen.body["languages"]) == (True, ["en"])
    assert "TOXICITY" in profile.model_dump_json()
    assert server.url.split("/")[2] in teacher_parameters(profile.annotate)["hosted"]["perspective"]
    for path in (tmp_path / "lake").rglob("*"):
        assert not path.is_file() or KEY.encode() not in path.read_bytes()
    monkeypatch.setattr(module, "today", lambda: date(2027, 1, 1))
    with pytest.raises(ConfigError, match=r"perspective: the Perspective API closed on 2026-12-31.*another detector"):
        check_detectors(ctx)
    wrong: dict[str, Any] = {"detector_options": {"perspective": {"attributes": []}}}
    with pytest.raises(ConfigError, match=r"annotate\.detector_options\.perspective\.attributes: "):
        AnnotateSettings.model_validate(wrong)
