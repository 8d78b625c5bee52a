"""An extra that is not installed is one message with the command that installs it."""

from __future__ import annotations

import re
import sys
import tomllib

import pytest

from curation_pipeline.annotate.detectors.head import HeadSettings
from curation_pipeline.annotate.encoder import load_encoder
from curation_pipeline.corpus.payload import binary_kind
from curation_pipeline.errors import ConfigError
from curation_pipeline.installation import PROJECT_ROOT


def test_a_missing_extra_names_its_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "resiliparse.parse.encoding", None)
    with pytest.raises(ConfigError, match=re.escape("reading web pages needs a package that is not installed")) as seen:
        binary_kind(b"<html>")
    assert "pip install 'curation-pipeline[web]'" in str(seen.value)


def test_a_missing_encoder_is_no_damaged_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sentence_transformers", None)
    with pytest.raises(ConfigError, match=re.escape("pip install 'curation-pipeline[encoders]'")):
        load_encoder(HeadSettings(encoder="minilm"), PROJECT_ROOT)


def test_every_extra_that_the_code_names_exists_and_belongs_to_the_tests() -> None:
    extras = tomllib.loads((PROJECT_ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    sources = (path.read_text() for path in (PROJECT_ROOT / "curation_pipeline").rglob("*.py"))
    named = {name for text in sources for name in re.findall(r'with extra\("(\w+)"', text)}
    assert named <= extras.keys()
    tested = set(re.split(r"[\[\],]", extras["test"][0])[1:-1])
    assert tested == extras.keys() - {"test", "datatrove"}  # datatrove pins other versions of what we need
