"""Everything that is missing is said at once, before anything runs."""

from __future__ import annotations

import re
from datetime import date
from pathlib import Path

import pytest

from curation_pipeline.annotate.detectors.preflight import preflight
from curation_pipeline.annotate.head_settings import HeadSettings
from curation_pipeline.annotate.hosted_settings import HostedSettings
from curation_pipeline.annotate.settings import ClassifierSettings, DetoxifySettings
from curation_pipeline.errors import ConfigError, MissingModelError

TODAY = date(2026, 6, 1)


def test_one_error_lists_all_that_is_missing(tmp_path: Path) -> None:
    with pytest.raises(MissingModelError) as caught:
        preflight(
            ["alt_profanity", "openai_chat", "perspective", "detoxify", "classifier", "bias_head"],
            detoxify=DetoxifySettings(checkpoint=tmp_path / "none.ckpt"),
            classifier=ClassifierSettings(model="someone/model", revision="v1"),
            hosted=HostedSettings(),
            heads=HeadSettings(),
            labelled=("impermium",),
            environ={"HF_HUB_OFFLINE": "1"},
            today=date(2027, 2, 1),
            hub_cache=tmp_path,
            installed=lambda package: package != "detoxify",
        )
    lines = str(caught.value).splitlines()[1:]
    for line, says in zip(
        lines,
        (
            "openai_chat: .*OPENAI_API_KEY",
            "perspective: the Perspective API closed on 2026-12-31",
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
    preflight(["alt_profanity"], environ={}, today=date(2030, 1, 1), labelled=())
    folder = tmp_path / "model"
    folder.mkdir()
    classifier = ClassifierSettings(model=str(folder))
    with pytest.raises(MissingModelError, match=r"lacks config\.json and weights as \.safetensors and a tokenizer"):
        preflight(["classifier"], classifier=classifier, environ={}, today=TODAY)
    for name in ("config.json", "model.safetensors", "tokenizer.json"):
        (folder / name).write_text("{}")
    preflight(
        ["classifier", "openai_moderation", "harm_head"],
        classifier=classifier,
        environ={"OPENAI_API_KEY": "k"},
        today=TODAY,
        labelled=("impermium",),
    )
    with pytest.raises(ConfigError, match="OPENAI_API_KEY"):
        preflight(["openai_moderation"], environ={"OPENAI_API_KEY": " "}, today=TODAY)


def test_a_hub_model_is_looked_for_in_the_cache_only_when_the_hub_is_off(tmp_path: Path) -> None:
    classifier = ClassifierSettings(model="someone/model")
    preflight(["classifier"], classifier=classifier, environ={}, hub_cache=tmp_path, today=TODAY)
    offline = {"TRANSFORMERS_OFFLINE": "1", "HF_HOME": str(tmp_path)}
    with pytest.raises(MissingModelError, match="hub is switched off"):
        preflight(["classifier"], classifier=classifier, environ=offline, today=TODAY)
    repository = tmp_path / "hub" / "models--someone--model"
    (repository / "refs").mkdir(parents=True)
    (repository / "refs" / "main").write_text("abc123")
    (repository / "snapshots" / "abc123").mkdir(parents=True)
    (repository / "snapshots" / "abc123" / "config.json").write_text("{}")
    preflight(["classifier"], classifier=classifier, environ=offline, today=TODAY)
    with pytest.raises(MissingModelError, match="does not exist"):
        preflight(["classifier"], classifier=ClassifierSettings(model="./nowhere"), environ={}, today=TODAY)
