"""Everything that is missing is said at once, before anything runs."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path
from typing import Any

import pytest

from curation_pipeline.annotate.detectors.preflight import preflight
from curation_pipeline.annotate.settings import AnnotateSettings
from curation_pipeline.errors import ConfigError, MissingModelError


def settings(**sections: dict[str, Any]) -> AnnotateSettings:
    return AnnotateSettings.model_validate(sections)


def test_one_error_lists_all_that_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name in ("detoxify", "openai") else found(name)
    )
    with pytest.raises(MissingModelError) as caught:
        preflight(
            ["alt_profanity", "openai_chat", "detoxify", "classifier", "bias_head"],
            settings(
                detoxify={"checkpoint": tmp_path / "none.ckpt"}, classifier={"model": "someone/model", "revision": "v1"}
            ),
            labelled=("impermium",),
            environ={"HF_HUB_OFFLINE": "1", "HF_HUB_CACHE": str(tmp_path)},
        )
    lines = str(caught.value).splitlines()[1:]
    for line, says in zip(
        lines,
        (
            "openai_chat: .*OPENAI_API_KEY",
            "openai_chat: .*package openai is not installed.*curation-pipeline.hosted",
            "detoxify: .*package detoxify is not installed",
            "detoxify: .*none.ckpt",
            "detoxify: .*huggingface_config_path",
            "classifier: .*someone/model@v1",
            "bias_head: .*redditbias, edos.*impermium",
        ),
        strict=True,
    ):
        assert re.search(says, line), line


def test_nothing_is_said_when_nothing_is_missing_or_not_named(tmp_path: Path) -> None:
    preflight(["alt_profanity"], settings(), environ={}, labelled=())
    folder = tmp_path / "model"
    folder.mkdir()
    chosen = settings(classifier={"model": str(folder)})
    with pytest.raises(MissingModelError, match=r"lacks config\.json and weights as \.safetensors and a tokenizer"):
        preflight(["classifier"], chosen, environ={})
    for name in ("config.json", "model.safetensors", "tokenizer.json"):
        (folder / name).write_text("{}")
    named = ["classifier", "openai_moderation", "harm_head"]
    preflight(named, chosen, environ={"OPENAI_API_KEY": "k"}, labelled=("impermium",))
    with pytest.raises(ConfigError, match="OPENAI_API_KEY"):
        preflight(["openai_moderation"], chosen, environ={"OPENAI_API_KEY": " "})


def test_a_hub_model_is_looked_for_in_the_cache_only_when_the_hub_is_off(tmp_path: Path) -> None:
    chosen = settings(classifier={"model": "someone/model"})
    preflight(["classifier"], chosen, environ={})
    offline = {"TRANSFORMERS_OFFLINE": "1", "HF_HOME": str(tmp_path)}
    with pytest.raises(MissingModelError, match="hub is switched off"):
        preflight(["classifier"], chosen, environ=offline)
    repository = tmp_path / "hub" / "models--someone--model"
    (repository / "refs").mkdir(parents=True)
    (repository / "refs" / "main").write_text("abc123")
    (repository / "snapshots" / "abc123").mkdir(parents=True)
    (repository / "snapshots" / "abc123" / "config.json").write_text("{}")
    preflight(["classifier"], chosen, environ=offline)
    with pytest.raises(MissingModelError, match="does not exist"):
        preflight(["classifier"], settings(classifier={"model": "./nowhere"}), environ={})
