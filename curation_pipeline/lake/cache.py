"""Local copies of a bucket's immutable files, the least recently used of which go when there are too many."""

from __future__ import annotations

import fcntl
import os
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Literal

from curation_pipeline.lake.lock import is_locked

GRACE_SECONDS = 600.0
"""What was used in the last minutes stays: reports and commands read outside of any work that could be seen."""
LOOK_SHARE = 0.05
"""A process looks for what can go each time that it has brought this share of the limit."""


class Cache:
    """A folder of copies, bounded in size. Many processes may use it at once.

    A copy is in use if it was asked for since the oldest work in progress on this machine began, or in the last ten
    minutes. Such copies stay, even where they alone are more than the limit: a path that was handed out stays valid
    until the work that asked for it ends.
    """

    def __init__(self, work: Path, max_bytes: int) -> None:
        """Keep the settings; nothing is made yet.

        Args:
            work: folder of work in the making, which says what is in progress; the copies are in its ``cache``.
            max_bytes: size that the copies may have.
        """
        self.folder, self.max_bytes = work / "cache", max_bytes
        self._drafts = work / "drafts"
        self._unlooked = max_bytes  # so that the first copy of a process makes it look

    def path(self, name: str, download: Callable[[Path], None]) -> Path:
        """The copy of a file, which ``download`` brings to a path where there is none."""
        target = self.folder / name
        with self._held("shared"), suppress(FileNotFoundError):
            os.utime(target)
            return target
        temporary = self._temporary(target)
        try:
            download(temporary)
            self._take(temporary, target)
        finally:
            temporary.unlink(missing_ok=True)
        return target

    def add(self, name: str, file: Path) -> None:
        """Take over a file that the bucket now has."""
        target = self.folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        self._take(file, target)

    def remove(self, name: str) -> None:
        """Forget a file that the bucket no longer has."""
        (self.folder / name).unlink(missing_ok=True)

    def _temporary(self, target: Path) -> Path:
        target.parent.mkdir(parents=True, exist_ok=True)
        return target.with_name(f".{target.name}.{uuid.uuid4().hex[:8]}")

    def _take(self, file: Path, target: Path) -> None:
        file.touch()
        self._unlooked += file.stat().st_size
        file.replace(target)
        if self._unlooked > LOOK_SHARE * self.max_bytes:
            self._unlooked = 0
            self._evict()

    def _evict(self) -> None:
        """Remove the least recently used copies until the rest is within the limit, but none that is in use."""
        begun = min(self._works(), default=time.time())
        before = min(begun, time.time() - GRACE_SECONDS)
        found = []
        for path in self.folder.rglob("*"):
            with suppress(FileNotFoundError):
                if path.is_file():
                    stat = path.stat()
                    found.append((stat.st_mtime, stat.st_size, path))
        excess = sum(size for _, size, _ in found) - self.max_bytes
        for used, size, path in sorted(found):
            if excess <= 0 or used >= before:
                break
            with self._held("alone"), suppress(FileNotFoundError):
                if path.stat().st_mtime == used:  # nobody has asked for it since
                    path.unlink()
                    excess -= size

    def _works(self) -> Iterator[float]:
        """When each work in progress on this machine began, seconds since 1970."""
        for path in self._drafts.glob("*.lock"):
            with suppress(FileNotFoundError):
                began = path.stat().st_mtime
                if is_locked(path):
                    yield began

    @contextmanager
    def _held(self, how: Literal["shared", "alone"]) -> Iterator[None]:
        """Keep a copy from going between being found and being marked as used."""
        self.folder.mkdir(parents=True, exist_ok=True)
        with self.folder.with_name("cache.lock").open("a") as lock:
            with suppress(OSError):  # a file system without locks; the grace alone protects there
                fcntl.flock(lock, fcntl.LOCK_SH if how == "shared" else fcntl.LOCK_EX)
            yield
