"""Fixtures that every part's tests share."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import settings

from curation_pipeline.config import cache_folder
from curation_pipeline.lake.lake import Lake

# Shared machines pause at will: a property is judged by what it finds, not by how long an example took.
settings.register_profile("project", deadline=None, max_examples=60)
settings.load_profile("project")
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")


@pytest.fixture(scope="session")
def package_cache() -> Path:
    """The folder of downloaded package archives, shared with the demo."""
    folder = cache_folder()
    folder.mkdir(parents=True, exist_ok=True)
    return folder


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    """An empty lake in a folder of its own."""
    return Lake.open(tmp_path / "lake")
