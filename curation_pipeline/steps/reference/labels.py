"""Human-labelled sets, the data that detectors and the reward are fitted on and judged by."""

from __future__ import annotations

from typing import Any

from curation_pipeline.datasets.labelled import axis_of, labelled_sets
from curation_pipeline.datasets.labelled_files import declared_splits, fingerprints
from curation_pipeline.datasets.preferences import preference_sets
from curation_pipeline.datasets.registry import check
from curation_pipeline.lake.lake import Draft
from curation_pipeline.steps.step import Step, Work, no_seed


def compute(work: Work, draft: Draft) -> None:
    """Human-labelled sets and preference pairs, out of package archives and of the profile's own files.

    Each split has exactly one role (fit, calibrate, credit, report or final), and leaks between roles are refused. No
    labelled text ever enters the pool.

    Raises:
        ConfigError: a labelled file of the profile is not there, or is not what the profile says.
        DataError: a file's content is wrong, or one text has two roles.
    """
    files = work.profile.labels.files
    frame = labelled_sets(work.ctx.cache, work.profile.corpus.opt_in_labels, files)
    check(frame)
    draft.frame(frame)
    draft.frame(preference_sets(files, frame), "preferences")
    counts = frame.group_by("dataset", "role").len().sort("dataset", "role")
    draft.summary["rows_by_dataset_and_role"] = {f"{d}/{r}": n for d, r, n in counts.iter_rows()}
    meanings = {f"{split.dataset}/{split.split}": split.meaning for split in declared_splits(files)}
    if meanings:
        draft.summary["meaning_of_a_label_of_one"] = meanings
    draft.summary["axes"] = {name: axis_of(name, files) for name in frame["dataset"].unique().sort()}


def _parameters(work: Work) -> dict[str, Any]:
    files = work.profile.labels.files
    parameters: dict[str, Any] = {"opt_in": sorted(work.profile.corpus.opt_in_labels)}
    if files:
        parameters["files"] = [file.model_dump(mode="json", exclude={"path"}) for file in files]
        parameters["content"] = fingerprints(files)
    return parameters


STEP = Step(
    module=__name__,
    table="labels",
    version="3",
    compute=compute,
    parameters=_parameters,
    seed=no_seed,
    kinds=frozenset({"polars", "parquet"}),
)
