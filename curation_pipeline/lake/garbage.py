"""Files that no manifest lists: what crashed or losing writers left behind."""

from __future__ import annotations

import time
from dataclasses import dataclass

from curation_pipeline.lake.lake import Lake


@dataclass(frozen=True, slots=True)
class Garbage:
    """Paths that can go.

    Attributes:
        paths: files under the lake's root.
        lease_seconds: files younger than this were left alone, since their writer may still be running.
    """

    paths: tuple[str, ...]
    lease_seconds: float


def find_garbage(lake: Lake, lease_seconds: float = 86_400.0) -> Garbage:
    """List data files that no committed manifest reaches and that are older than a writer's lease."""
    now = time.time()
    # Files are listed before manifests are read: a commit in between only makes the list shorter.
    files = [path for path, modified in lake.store.list("data") if now - modified > lease_seconds]
    reached = {entry.path for manifest in lake.manifests() for entry in manifest.files}
    return Garbage(tuple(path for path in files if path not in reached), lease_seconds)


def collect(lake: Lake, garbage: Garbage) -> int:
    """Remove what `find_garbage` listed and return how many files went."""
    for path in garbage.paths:
        lake.store.delete(path)
    return len(garbage.paths)
