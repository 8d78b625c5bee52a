from __future__ import annotations

from pathlib import Path

import pytest

from curation_pipeline.config import PROFILES, load_profile, validate_profile
from curation_pipeline.errors import ConfigError

SOURCE = {"kind": "folder", "name": "crawl", "path": "/data"}


@pytest.mark.parametrize("path", sorted(PROFILES.glob("*.toml")), ids=lambda path: path.stem)
def test_shipped_profiles_are_valid(path: Path) -> None:
    assert load_profile(path.stem).name == path.stem


def test_every_wrong_value_is_named_at_once() -> None:
    raw = {
        "name": "mine",
        "loop": {"token_budget": 0, "iterations": 3},
        "corpus": {"sources": [SOURCE, {**SOURCE, "max_chars": 3}], "holdout_share": 2},
    }
    with pytest.raises(ConfigError) as caught:
        validate_profile(raw, "mine.toml")
    message = str(caught.value)
    for part in ("loop.token_budget", "given 0", "loop.iterations", "max_chars", "holdout_share", "given 2"):
        assert part in message


def test_the_judge_cannot_teach() -> None:
    raw = {"name": "mine", "corpus": {"sources": [SOURCE]}, "annotate": {"teachers": ["tox_block"]}}
    with pytest.raises(ConfigError, match="judg"):
        validate_profile(raw, "mine.toml")


def test_source_names_must_differ() -> None:
    with pytest.raises(ConfigError, match="two sources are called crawl"):
        validate_profile({"name": "mine", "corpus": {"sources": [SOURCE, SOURCE]}}, "mine.toml")


def test_a_missing_profile_and_a_broken_file_say_so(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="neither a shipped profile"):
        load_profile("nowhere")
    broken = tmp_path / "broken.toml"
    broken.write_text("name = [")
    with pytest.raises(ConfigError, match="not valid TOML"):
        load_profile(str(broken))


def test_relative_paths_are_those_of_the_profile_s_folder(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "mine.toml"
    (path.parent / "bge" / "base").mkdir(parents=True)
    path.write_text(
        'name = "mine"\n[removal]\ntakedown_requests = "requests.csv"\n[lake]\nroot = "lake"\n'
        '[evaluation]\nfolder = "sets"\n'
        '[evaluation.harness]\ndata = "tasks"\n[training]\nmodel_id = "./model"\n'
        '[annotate]\nclassifier = {model = "unitary/toxic-bert"}\nheads = {encoder = "bge/base"}\n'
        '[[corpus.sources]]\nkind = "folder"\nname = "a"\npath = "../crawl"\n'
        '[[corpus.sources]]\nkind = "folder"\nname = "b"\npath = "s3://bucket/prefix"\n'
    )
    profile = load_profile(str(path))
    assert profile.removal.takedown_requests == path.parent / "requests.csv"
    assert profile.lake.root == str(path.parent / "lake")
    assert profile.evaluation.folder == path.parent / "sets"
    assert profile.evaluation.harness.data == path.parent / "tasks"
    assert profile.training.model_id == str(path.parent / "model")
    assert profile.annotate.classifier.model == "unitary/toxic-bert"  # a hub id, where there is no such folder
    assert profile.annotate.heads.encoder == str(path.parent / "bge/base")
    sources = [source.path for source in profile.corpus.sources if source.kind == "folder"]
    assert sources == [str(path.parent / "../crawl"), "s3://bucket/prefix"]


def test_what_is_removed_must_be_looked_for() -> None:
    raw = {
        "name": "x",
        "removal": {"semantic_duplicates": True, "rules": ["gopher"]},
        "corpus": {"sources": [{"kind": "package", "name": "a", "dataset": "bold"}]},
    }
    with pytest.raises(ConfigError, match="no quality rule or family gopher; allowed: c4, "):
        validate_profile(raw, "test")
    raw["removal"] = {"semantic_duplicates": True}
    with pytest.raises(ConfigError, match=r"needs annotate\.duplicates\.semantic = true"):
        validate_profile(raw, "test")


def test_no_pasted_key_or_password_is_repeated() -> None:
    key = "sk-proj-4f9aB77c0123456789"
    raw = {
        "name": "mine",
        "api_key": "hunter2",
        "seed": "many",
        "loop": {"token_budget": key},
        "lake": {"root": f"s3://AKIA:{key}@bucket/prefix"},
        "corpus": {
            "sources": [
                {**SOURCE, "endpoint_url": f"https://user:{key}@host"},
                {**SOURCE, "name": "b", "path": f"s3://AKIA:{key}@bucket"},
                {**SOURCE, "name": key + "!"},
                {**SOURCE, "name": "c", "path": "/data/crawl-2026-01-01/v2", "limit": "/data/crawl-2026-01-01"},
            ]
        },
    }
    with pytest.raises(ConfigError) as caught:
        validate_profile(raw, "mine.toml")
    message = str(caught.value)
    assert "hunter2" not in message
    assert message.count(key) == 1  # as part of a name, which is no secret
    assert "given 'many'" in message
    assert "given '/data/crawl-2026-01-01'" in message
    assert message.count("credentials by the environment") >= 3
