"""A fit written down as a folder, so that any number of processes, on any machine that sees it, can do it."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from curation_pipeline import errors
from curation_pipeline.errors import CurationError, DataError
from curation_pipeline.training.packing import Packed
from curation_pipeline.training.settings import TrainingSettings
from curation_pipeline.training.trainer import TrainingResult

_JOB, _ROWS, _RESULT, _ERROR = "job.json", "rows.safetensors", "result.json", "error.json"
_ARRAYS = ("tokens", "loss_weight", "segment", "position")


@dataclass(frozen=True, slots=True, eq=False)
class Job:
    """The arguments of `fit`; see there."""

    parent_dir: Path
    packed: Packed
    settings: TrainingSettings
    out_dir: Path
    seed: int
    scratch_dir: Path | None
    model_card: str | None


def write_job(job: Job, folder: Path) -> None:
    """Write a job, and forget what came of an earlier one in the same folder."""
    from safetensors.numpy import save_file

    folder.mkdir(parents=True, exist_ok=True)
    for name in (_RESULT, _ERROR):
        (folder / name).unlink(missing_ok=True)
    save_file({name: np.ascontiguousarray(getattr(job.packed, name)) for name in _ARRAYS}, folder / _ROWS)
    raw = {
        "parent_dir": str(job.parent_dir.absolute()),
        "settings": job.settings.model_dump(mode="json"),
        "out_dir": str(job.out_dir.absolute()),
        "seed": job.seed,
        "scratch_dir": None if job.scratch_dir is None else str(job.scratch_dir.absolute()),
        "model_card": job.model_card,
        "n_documents": job.packed.n_documents,
        "n_tokens": job.packed.n_tokens,
    }
    (folder / _JOB).write_text(json.dumps(raw, indent=1), encoding="utf-8")


def read_job(folder: Path) -> Job:
    """The job of a folder.

    Raises:
        DataError: the folder holds none.
    """
    from safetensors.numpy import load_file

    try:
        raw = json.loads((folder / _JOB).read_text(encoding="utf-8"))
    except OSError as error:
        raise DataError(f"{folder} holds no training job ({error}); give the folder that `write_job` made") from error
    arrays = load_file(folder / _ROWS)
    tokens, loss_weight, segment, position = (arrays[name] for name in _ARRAYS)
    packed = Packed(tokens, loss_weight, segment, position, raw["n_documents"], raw["n_tokens"])
    return Job(
        Path(raw["parent_dir"]),
        packed,
        TrainingSettings.model_validate(raw["settings"]),
        Path(raw["out_dir"]),
        raw["seed"],
        None if raw["scratch_dir"] is None else Path(raw["scratch_dir"]),
        raw["model_card"],
    )


def write_result(folder: Path, result: TrainingResult) -> None:
    """Leave what a fit did."""
    (folder / _RESULT).write_text(json.dumps(asdict(result)), encoding="utf-8")


def write_error(folder: Path, error: CurationError) -> None:
    """Leave why a fit ended."""
    raw = {"kind": type(error).__name__, "message": str(error)}
    (folder / _ERROR).write_text(json.dumps(raw), encoding="utf-8")


def read_outcome(folder: Path, log: str) -> TrainingResult:
    """What the processes left: the result, or the error that ended them, raised here.

    Args:
        folder: the job's folder.
        log: the end of what the processes wrote, for an end that left nothing.

    Raises:
        CurationError: the error that one of them raised.
        DataError: they ended without a word.
    """
    if (folder / _RESULT).exists():
        raw: dict[str, Any] = json.loads((folder / _RESULT).read_text(encoding="utf-8"))
        return TrainingResult(**{**raw, "losses": tuple(raw["losses"])})
    if (folder / _ERROR).exists():
        raw = json.loads((folder / _ERROR).read_text(encoding="utf-8"))
        kind: type[CurationError] = getattr(errors, raw["kind"], CurationError)
        raise kind(raw["message"])
    raise DataError(
        f"the training processes of {folder} ended without a result: {log or 'they wrote nothing'}; start again, "
        "training resumes from its last saved state"
    )
