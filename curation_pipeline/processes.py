"""Processes of ours: how one ended, and that it ends when the one that started it does."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
import time

GRACE_SECONDS = 10.0
"""What a process has to wind up after its parent died. What it loses then, a killed process loses too: nothing."""


def how_it_ended(code: int) -> str:
    """A process's exit code in words."""
    if code >= 0:
        return f"the process ended with code {code}"
    try:
        name = signal.Signals(-code).name
    except ValueError:
        name = "unknown"
    why = " (where nobody sent it, the machine ran out of memory)" if -code == signal.SIGKILL else ""
    return f"the process was ended by signal {-code}, {name}{why}"


def end_with_parent() -> None:
    """End this process when its parent does, by whatever cause.

    The parent holds the other end of standard input and never writes: where the stream ends, the parent is gone.
    """

    def watch() -> None:
        while os.read(0, 1):
            pass
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(GRACE_SECONDS)
        os._exit(128 + signal.SIGTERM)

    threading.Thread(target=watch, daemon=True).start()


def end_with_spawner() -> None:
    """The same for a worker of `multiprocessing`, which would otherwise wait for tasks for ever."""
    parent = multiprocessing.parent_process()

    def watch() -> None:
        if parent is not None:
            parent.join()
            os._exit(128 + signal.SIGTERM)

    threading.Thread(target=watch, daemon=True).start()
