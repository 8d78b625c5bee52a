"""Profiles whose sources are folders that a test writes, so that what is declared is what lies there."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from curation_pipeline.config import Profile, load_profile
from curation_pipeline.corpus.settings import FolderSource


def deliver(root: Path, source: str, snapshot: str, texts: Sequence[str] = ("a text",)) -> Path:
    """Write one delivery of a source as JSONL; its folder."""
    folder = root / source / snapshot
    folder.mkdir(parents=True, exist_ok=True)
    rows = [{"text": text, "url": f"https://{source}.example/{snapshot}/{place}"} for place, text in enumerate(texts)]
    (folder / "part.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


def declaring(root: Path, *sources: str, profile: str | Profile = "demo") -> Profile:
    """A profile whose sources are folders below ``root``."""
    found = load_profile(profile) if isinstance(profile, str) else profile
    folders = tuple(FolderSource(name=name, path=root / name, url_column="url") for name in sources)
    return found.model_copy(update={"corpus": found.corpus.model_copy(update={"sources": folders})})
