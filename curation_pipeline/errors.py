"""The errors a user of the project can meet: every message names what is wrong, where, and what to do."""

from __future__ import annotations

import errno


class CurationError(Exception):
    """Base of all errors raised on purpose by this project."""


class ConfigError(CurationError):
    """A setting is missing, unknown or out of range."""


class DataError(CurationError):
    """A file or a table does not hold what it should."""


class IntegrityError(CurationError):
    """The content of a file differs from its recorded hash."""


class DownloadError(CurationError):
    """A file could not be had from its index or hub."""


class MissingModelError(CurationError):
    """A model, tokenizer or checkpoint is not where the profile says."""


class TrainingDivergedError(CurationError):
    """Training reached a loss that is not finite."""


class LakeError(CurationError):
    """A manifest, a partition or an artefact is missing from the lake."""


class GateClosedError(CurationError):
    """An iteration may not start: its parent has not been committed, or it would pass the limit of cost."""


class DetectorError(CurationError):
    """A detector could not score a text; no default score is ever put in its place."""


class WorkerLostError(CurationError):
    """A worker process was killed from outside."""


DISK = {
    errno.EACCES: "give it the right to be written, or name another folder",
    errno.EPERM: "give it the right to be written, or name another folder",
    errno.EROFS: "make it writable, or name another folder (`--state` for the state)",
    errno.ENOSPC: "make room and run again, finished work is kept",
    errno.EDQUOT: "make room and run again, finished work is kept",
}
"""What can be wrong with where a file is to be written, and the remedy."""


def disk_problem(error: OSError, folder: object) -> str | None:
    """One clear message for a disk that is full or may not be written; None for any other error.

    Args:
        error: what the system said.
        folder: where the work was going on, for an error that names no file.
    """
    remedy = DISK.get(error.errno or 0)
    return None if remedy is None else f"{error.filename or folder}: {error.strerror}; {remedy}"
