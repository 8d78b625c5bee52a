"""What crashed or losing writers left behind: files that no manifest lists, and drafts that nobody writes."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

from curation_pipeline.lake.lake import Lake, lock_of
from curation_pipeline.lake.lock import is_locked


@dataclass(frozen=True, slots=True)
class Garbage:
    """What can go.

    Attributes:
        paths: files under the lake's root.
        lease_seconds: files younger than this were left alone, since their writer may still be running.
        folders: drafts, and the state of interrupted work that was not taken up again, in the local work folder.
    """

    paths: tuple[str, ...]
    lease_seconds: float
    folders: tuple[Path, ...] = ()


def find_garbage(lake: Lake, lease_seconds: float = 86_400.0) -> Garbage:
    """List what no committed manifest reaches, no living process makes, and is older than a writer's lease."""
    # Files are listed before manifests are read: a commit in between only makes the list shorter.
    files = [path for path, modified in lake.store.list("data") if _old(modified, lease_seconds)]
    reached = {entry.path for manifest in lake.manifests() for entry in manifest.files}
    records = chain(lake.store.list("manifests"), lake.store.list("heads"))
    temporary = [path for path, modified in records if not path.endswith(".json") and _old(modified, lease_seconds)]
    folders = find_abandoned(lake, lease_seconds).folders
    return Garbage((*(path for path in files if path not in reached), *temporary), lease_seconds, folders)


def find_abandoned(lake: Lake, lease_seconds: float) -> Garbage:
    """List the folders of this machine alone: drafts, and the state of work that was interrupted long ago."""
    free = (folder for folder in _in_the_making(lake) if not is_locked(lock_of(folder)))
    return Garbage((), lease_seconds, tuple(folder for folder in free if _old(_touched(folder), lease_seconds)))


def _old(modified: float, lease_seconds: float) -> bool:
    # A time that lies far ahead was written by a clock that went wrong; one just ahead by another machine's clock.
    return abs(time.time() - modified) > lease_seconds


def collect(lake: Lake, garbage: Garbage) -> int:
    """Remove what `find_garbage` listed and return how many files and folders went."""
    for path in garbage.paths:
        lake.store.delete(path)
    folders = [folder for folder in garbage.folders if not is_locked(lock_of(folder))]  # some may be in use again
    for folder in folders:
        shutil.rmtree(folder, ignore_errors=True)
        lock_of(folder).unlink(missing_ok=True)
    return len(garbage.paths) + len(folders)


def _in_the_making(lake: Lake) -> Iterator[Path]:
    for kind in ("drafts", "scratch"):
        yield from sorted(path for path in (lake.work / kind).glob("*") if path.is_dir())


def _touched(folder: Path) -> float:
    """When anything in a folder last changed."""
    return max(path.lstat().st_mtime for path in (folder, *folder.rglob("*")))
