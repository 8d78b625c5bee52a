"""The errors a user of the project can meet: every message names what is wrong, where, and what to do."""

from __future__ import annotations


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
    """An iteration may not start: its parent has not been committed."""


class DetectorError(CurationError):
    """A detector could not score a text; no default score is ever put in its place."""
