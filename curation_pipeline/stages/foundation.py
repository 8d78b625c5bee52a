"""What a chain keeps for its whole life: vectors, tokenizer, held-out texts and base are those of its cold start.

Once the loop has committed an iteration, a profile that would make another of them is refused: iterations from one base
cannot be compared with, or go on from, iterations from another.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from curation_pipeline.config import Profile
from curation_pipeline.errors import ConfigError
from curation_pipeline.lake.lake import Draft
from curation_pipeline.lake.manifest import Manifest, Recipe
from curation_pipeline.stages.context import Context
from curation_pipeline.stages.state import MAIN, committed

NOT_OF_THE_BASE = {
    "start_from", "learning_rate", "weighting", "normalise_over", "divergence_nats", "micro_batch_size", "processes",
    "threads", "save_every_seconds", "device",
}  # fmt: skip
"""Settings of the training that say how a continuation or the machine works, not what the base is."""


def _embedding(profile: Profile) -> dict[str, Any]:
    settings = profile.annotate
    return {
        "dimensions": settings.vector_dims,
        "terms": settings.vector_max_terms,
        "topics": settings.topics,
        "sample": settings.vector_sample,
        "generation": settings.generation,
    }


def _tokenizer(profile: Profile) -> dict[str, Any]:
    settings = profile.training
    return {
        "model_id": settings.model_id,
        "vocab_size": settings.scratch.vocab_size,
        "generation": profile.annotate.generation,
    }


def _heldout(profile: Profile) -> dict[str, Any]:
    corpus = profile.corpus
    return {
        "holdout_share": corpus.holdout_share,
        "benign_per_source": corpus.heldout_benign_per_source,
        "toxic": corpus.heldout_toxic,
        "judged": corpus.heldout_judged,
        "generation": profile.annotate.generation,
    }


def _base(profile: Profile) -> dict[str, Any]:
    return {
        "training": profile.training.model_dump(mode="json", exclude=NOT_OF_THE_BASE),
        "holdout_share": profile.corpus.holdout_share,
        "redact_pii": profile.removal.redact_pii,
        "generation": profile.annotate.generation,
    }


PARAMETERS: Mapping[str, Callable[[Profile], dict[str, Any]]] = {
    "sentence_embedding": _embedding,
    "tokenizer": _tokenizer,
    "heldout_texts": _heldout,
    "base_checkpoint": _base,
}
"""Table to what its one artefact depends on besides the corpus and the seed."""

SETTINGS = {
    "dimensions": "annotate.vector_dims",
    "terms": "annotate.vector_max_terms",
    "topics": "annotate.topics",
    "sample": "annotate.vector_sample",
    "generation": "annotate.generation",
    "model_id": "training.model_id",
    "vocab_size": "training.scratch.vocab_size",
    "holdout_share": "corpus.holdout_share",
    "benign_per_source": "corpus.heldout_benign_per_source",
    "toxic": "corpus.heldout_toxic",
    "judged": "corpus.heldout_judged",
    "redact_pii": "removal.redact_pii",
}
"""Parameter to the setting of a profile that gives it; the others have the setting's own name."""


def check_foundation(ctx: Context) -> None:
    """Compare the profile with what chain ``main`` keeps.

    Raises:
        ConfigError: the chain has iterations, and the profile asks for another base, tokenizer, embedding or held-out
            set; each setting is named with its two values.
    """
    if committed(ctx.lake, MAIN, 1) is None:
        return
    changed: dict[str, str] = {}
    for table, parameters in PARAMETERS.items():
        made = ctx.lake.head(table)
        if made is not None:
            after = {**parameters(ctx.profile), "seed": ctx.profile.seed}
            for name, old, new in _changes({**made.parameters, "seed": made.seed}, after):
                changed[SETTINGS.get(name, name)] = f"{old!r} -> {new!r}"
    if changed:
        raise ConfigError(
            f"chain {MAIN!r} in {ctx.lake.store.root} has iterations that go on from a base, tokenizer, vectors and "
            f"held-out texts of other settings: {', '.join(f'{name}: {what}' for name, what in changed.items())}. Put "
            "the earlier values back, or start a new chain in a state folder of its own (--state); nothing was changed"
        )


def build_foundation(ctx: Context, recipe: Recipe, make: Callable[[Draft], None], *, resumes: bool = False) -> Manifest:
    """Build an artefact of `PARAMETERS` once; what an iteration has been committed on stays as it is.

    Raises:
        ConfigError: see `check_foundation`.
    """
    check_foundation(ctx)
    made = ctx.lake.head(recipe.table)
    if made is not None and committed(ctx.lake, MAIN, 1) is not None:
        return made
    return ctx.lake.build(recipe, make, pinned=True, resumes=resumes)


def _changes(before: Mapping[str, Any], after: Mapping[str, Any], path: str = "") -> Iterator[tuple[str, Any, Any]]:
    """Settings that both have and that differ; one that only a later version of the project knows changes nothing."""
    for name in before.keys() & after.keys():
        old, new = before[name], after[name]
        if isinstance(old, Mapping) and isinstance(new, Mapping):
            yield from _changes(old, new, f"{path}{name}.")
        elif old != new:
            yield f"{path}{name}", old, new
