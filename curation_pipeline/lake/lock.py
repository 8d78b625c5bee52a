"""Locks between processes. The kernel holds them, so a lock ends with the process that took it, however that ends."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

POLL_SECONDS = 0.1
NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP)
"""What a file system answers that knows no locks; there the lake's commits alone keep writers apart."""


@dataclass(frozen=True, slots=True)
class Holder:
    """Who holds a lock, as it wrote it down.

    Attributes:
        pid: the process; 0 where it has not written yet.
        host: its machine.
        what: what it does, in words.
    """

    pid: int = 0
    host: str = ""
    what: str = "another process"

    def __str__(self) -> str:
        return f"{self.what} (process {self.pid} on {self.host})" if self.pid else self.what

    @property
    def gone(self) -> bool:
        """Whether the process is known to have ended; what it started may still hold its lock for a moment."""
        if self.host != socket.gethostname():
            return not self.pid
        try:
            os.kill(self.pid, 0)
        except ProcessLookupError:
            return True
        except PermissionError:
            return False
        return False


@contextmanager
def lock(path: Path, what: str, taken: Callable[[Holder, float], None]) -> Iterator[int]:
    """Hold the lock that a file stands for; the file goes with the lock.

    Args:
        path: of the file.
        what: what the lock is held for, in words, told to who wants it next.
        taken: called again and again while somebody else has it, with who that is and the seconds waited. What it
            raises ends the waiting.

    Yields:
        The file's descriptor. A process that inherits it holds the lock too.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    begun = time.monotonic()
    while (descriptor := _try(path)) is None:
        taken(_holder(path), time.monotonic() - begun)
        time.sleep(POLL_SECONDS)
    try:
        me = {"pid": os.getpid(), "host": socket.gethostname(), "what": what}
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, json.dumps(me).encode(), 0)
        yield descriptor
    finally:
        path.unlink(missing_ok=True)
        os.close(descriptor)


def is_locked(path: Path) -> bool:
    """Whether a living process holds the lock of this file."""
    if not path.exists():
        return False
    descriptor = _try(path)
    if descriptor is not None:
        os.close(descriptor)
    return descriptor is None


def _try(path: Path) -> int | None:
    """The descriptor of the file, locked; None while another one has it."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in NO_LOCKS:
            return descriptor
        os.close(descriptor)
        if error.errno in (errno.EAGAIN, errno.EACCES):
            return None
        raise
    # Who had it may have removed the file after it was opened here: a lock on a file without a name keeps nobody out.
    with suppress(FileNotFoundError):
        if os.path.samestat(os.fstat(descriptor), path.stat()):
            return descriptor
    os.close(descriptor)
    return _try(path)


def _holder(path: Path) -> Holder:
    try:
        return Holder(**json.loads(path.read_text()))
    except (OSError, ValueError, TypeError):  # it has the lock and has not written yet, or has just given it back
        return Holder()
