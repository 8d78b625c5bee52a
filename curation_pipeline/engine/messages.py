"""What a worker tells the process that gave it work: progress, and what it warns of."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

Hear = Callable[[Any], None]
"""Called, in a thread of its own, with what a worker says."""

_tell: Callable[[object], None] | None = None
"""Where this process puts what it has to say; None where it is no worker."""


def in_worker() -> bool:
    """Whether this process is a worker."""
    return _tell is not None


def say(message: object) -> None:
    """Tell the process that started this worker something picklable, other than None; `run_graph` hears it."""
    if _tell is not None:
        _tell(message)


def be_worker(tell: Callable[[object], None]) -> None:
    """Make this process a worker, or give it another way of telling."""
    global _tell
    if _tell is None:
        logging.getLogger("curation_pipeline").addHandler(_Said(logging.WARNING))
    _tell = tell


def heard(message: Any, hear: Hear | None) -> None:
    """Take a message of a worker: what it warns of is logged here, the rest goes to ``hear``."""
    match message:
        case (str(name), int(level), str(text)):
            logging.getLogger(name).log(level, "%s", text)
        case _ if hear is not None:
            hear(message)


class _Said(logging.Handler):
    """Hands what a worker warns of to the process that started it, which knows where it is to be written."""

    def emit(self, record: logging.LogRecord) -> None:
        """See `logging.Handler.emit`."""
        say((record.name, record.levelno, record.getMessage()))
