"""Scores kept by content and detector version, so that nothing is scored twice, by any process, in any order.

One SQLite file for each detector fingerprint, in write-ahead mode: readers never wait, writers wait for each other. A
text is known by 16 bytes of its BLAKE2b hash; its scores are float32, exactly as the detector rounded them. The file
holds no text, but a judge's notes may quote some: it is as confidential as the corpus. The folder should be on a local
disk, since write-ahead mode needs shared memory.
"""

from __future__ import annotations

import hashlib
import os
import sqlite3
import threading
import time
import warnings
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TypeVar

import numpy as np

from curation_pipeline.annotate.detectors.protocol import Detector
from curation_pipeline.errors import DataError

T = TypeVar("T")

KEY_BYTES = 16
BUSY_SECONDS = 60.0
"""How long a writer waits for another process's commit."""
_MANY = 2000
"""Keys of one lookup; SQLite takes 32,766 parameters."""
_DAMAGED = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)
_TABLES = """
CREATE TABLE IF NOT EXISTS about (name TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS scores (key BLOB PRIMARY KEY, heads BLOB NOT NULL, note TEXT) WITHOUT ROWID;
"""


def text_key(text: str) -> bytes:
    """The 16 bytes by which a text is known; lone surrogates keep their identity."""
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=KEY_BYTES).digest()


def detector_fingerprint(detector: Detector) -> str:
    """Sixteen hexadecimal digits of a detector's name, version and heads."""
    whole = "\x1f".join((detector.name, detector.version, *detector.heads))
    return hashlib.sha256(whole.encode()).hexdigest()[:16]


class ScoreCache:
    """The scores of one detector version; safe for threads, forks and several processes at once.

    Args:
        folder: made if absent; several detectors share it, each with its own file.
        detector: whose name, version and heads make the file's name.
    """

    def __init__(self, folder: Path, detector: Detector) -> None:
        self.path = folder / f"{detector.name}-{detector_fingerprint(detector)}.sqlite"
        self.n_heads = len(detector.heads)
        self._about = {"detector": detector.name, "version": detector.version, "heads": " ".join(detector.heads)}
        self._lock = threading.Lock()
        self._open: tuple[int, int, sqlite3.Connection] | None = None
        self._inherited: list[sqlite3.Connection] = []
        folder.mkdir(parents=True, exist_ok=True)

    def __repr__(self) -> str:
        return f"ScoreCache({self.path})"

    def get(self, keys: Sequence[bytes]) -> tuple[list[bytes], np.ndarray, list[str | None]]:
        """The known ones among the keys, in any order: keys, scores float32 (known, heads), and notes.

        A row of another length, or with a value outside [0, 1], counts as unknown and is replaced.
        """

        def read(connection: sqlite3.Connection) -> list[tuple[bytes, bytes, str | None]]:
            rows: list[tuple[bytes, bytes, str | None]] = []
            for start in range(0, len(keys), _MANY):
                part = keys[start : start + _MANY]
                marks = ",".join("?" * len(part))
                rows += connection.execute(f"SELECT key, heads, note FROM scores WHERE key IN ({marks})", part)
            return rows

        rows = [row for row in self._run(read) if len(row[1]) == 4 * self.n_heads]
        values = np.frombuffer(b"".join([heads for _, heads, _ in rows]), dtype="<f4").reshape(-1, self.n_heads)
        sound = np.asarray(np.logical_and(values >= 0.0, values <= 1.0).all(axis=1))  # false for NaN, too
        if not sound.all():
            rows, values = [row for row, good in zip(rows, sound, strict=True) if good], values[sound]
        return [key for key, _, _ in rows], values, [note for _, _, note in rows]

    def put(self, keys: Sequence[bytes], scores: np.ndarray, notes: Sequence[str | None] | None = None) -> None:
        """Keep scores, (n, heads); they are on disk for every process when this returns.

        Raises:
            DataError: a score is not in [0, 1], or the shapes do not fit.
        """
        values = np.ascontiguousarray(scores, dtype="<f4")
        if values.shape != (len(keys), self.n_heads):
            raise DataError(f"{self.path}: scores of shape {values.shape} for {len(keys)} texts, {self.n_heads} heads")
        if not ((values >= 0.0) & (values <= 1.0)).all():
            raise DataError(f"{self.path}: a score is not in [0, 1]; nothing of this batch was kept")
        raw, step = values.tobytes(), 4 * self.n_heads
        blobs: Iterable[bytes] = (raw[i : i + step] for i in range(0, len(raw), step))
        rows = sorted(zip(keys, blobs, notes or [None] * len(keys), strict=True), key=lambda row: row[0])

        def write(connection: sqlite3.Connection) -> None:
            with connection:
                connection.execute("BEGIN IMMEDIATE")
                connection.executemany("INSERT OR REPLACE INTO scores VALUES (?, ?, ?)", rows)

        self._run(write)

    def __len__(self) -> int:
        return int(self._run(lambda connection: connection.execute("SELECT count(*) FROM scores").fetchone()[0]))

    def close(self) -> None:
        """Close this process's connection; the next use opens it again."""
        with self._lock:
            if self._open is not None and self._open[0] == os.getpid():
                self._open[2].close()
            self._open = None

    def _run(self, work: Callable[[sqlite3.Connection], T]) -> T:
        with self._lock:
            try:
                return work(self._connection())
            except sqlite3.DatabaseError as error:
                if not _is_damage(error):
                    raise DataError(f"the score cache {self.path} cannot be used: {error}") from error
                self._set_aside(error)
            try:
                return work(self._connection())
            except sqlite3.DatabaseError as error:
                raise DataError(f"the score cache {self.path} cannot be used: {error}") from error

    def _connection(self) -> sqlite3.Connection:
        if self._open is not None and self._open[0] == os.getpid():
            return self._open[2]
        if self._open is not None:
            # A connection must not be used, nor even closed, on the other side of a fork.
            self._inherited.append(self._open[2])
        connection = sqlite3.connect(self.path, timeout=BUSY_SECONDS, check_same_thread=False, isolation_level=None)
        self._open = (os.getpid(), os.stat(self.path).st_ino, connection)
        connection.execute("PRAGMA journal_mode=WAL")
        # A killed process loses nothing that was committed; a power cut may lose the last commits, never the file.
        connection.execute("PRAGMA synchronous=NORMAL")
        connection.executescript(_TABLES)
        connection.executemany("INSERT OR IGNORE INTO about VALUES (?, ?)", list(self._about.items()))
        return connection

    def _set_aside(self, error: sqlite3.DatabaseError) -> None:
        """Rename the damaged file, unless another process has done so since it was opened here."""
        from filelock import FileLock

        inode = None
        if self._open is not None:
            inode = self._open[1]
            self._open[2].close()
            self._open = None
        with FileLock(f"{self.path}.lock"):
            if not self.path.exists() or (inode is not None and self.path.stat().st_ino != inode):
                return
            aside = self.path.with_name(f"{self.path.name}.damaged-{time.time_ns()}")
            for suffix in ("-wal", "-shm"):
                self.path.with_name(self.path.name + suffix).unlink(missing_ok=True)
            os.replace(self.path, aside)
        warnings.warn(
            f"the score cache {self.path} is damaged ({error}); it was set aside as {aside.name} and a new one begun, "
            "so its texts are scored again",
            stacklevel=4,
        )


def _is_damage(error: sqlite3.DatabaseError) -> bool:
    return (getattr(error, "sqlite_errorcode", 0) & 0xFF) in _DAMAGED
