"""How a document is written."""

from __future__ import annotations

from pathlib import Path

from curation_pipeline.annotate import register
from curation_pipeline.annotate.quality_classifier import load_quality
from curation_pipeline.steps.annotator import Annotate, annotator
from curation_pipeline.steps.reference.register_model import STEP as REGISTER_MODEL
from curation_pipeline.steps.step import Work


def load_registers(folder: Path) -> register.RegisterModel | None:
    """The classifier of the artefact ``register_model``; None where the corpus declares one register only."""
    return register.load_register(folder / "register") if (folder / "register").is_dir() else None


def prepare(work: Work) -> Annotate:
    """Indicators of register, the register that they and the words suggest, and how little the text looks damaged."""
    folder = work.lake.folder(work[REGISTER_MODEL])
    registers, undamaged = load_registers(folder), load_quality(folder / "quality")
    return lambda documents: register.register(documents, registers, undamaged)


STEP = annotator(
    __name__,
    prepare,
    version=register.VERSION,
    references=(REGISTER_MODEL,),
    kinds=frozenset({"scikitlearn", "parquet"}),
    counts="register",
)
