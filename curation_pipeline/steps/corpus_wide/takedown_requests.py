"""Requests that texts be used no more."""

from __future__ import annotations

from typing import Any

import polars as pl

from curation_pipeline.errors import DataError
from curation_pipeline.lake.lake import Draft
from curation_pipeline.lake.store import file_sha256
from curation_pipeline.stages.takedown import SCHEMA, read_takedown_requests
from curation_pipeline.steps.step import Step, Work, no_seed


def compute(work: Work, draft: Draft) -> None:
    """Requests that a document, a page or a site be used no more, from the file that the profile names.

    The next iteration's pool leaves them out.

    Raises:
        DataError: the file is not there or cannot be understood.
    """
    path = work.profile.removal.takedown_requests
    frame = read_takedown_requests(path) if path else pl.DataFrame(schema=SCHEMA)
    draft.frame(frame)
    draft.summary["requests"] = frame.height


def _parameters(work: Work) -> dict[str, Any]:
    path = work.profile.removal.takedown_requests
    if path is not None and not path.is_file():
        raise DataError(f"removal.takedown_requests: there is no file {path}")
    return {"sha256": file_sha256(path) if path else None}


STEP = Step(
    module=__name__,
    table="takedown_requests",
    version="2",
    compute=compute,
    parameters=_parameters,
    seed=no_seed,
)
