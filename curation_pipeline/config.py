"""Profiles: everything that a person sets, validated before anything runs.

A profile is a TOML file. Every wrong value is reported at once, with its path, what was given and what is allowed.
Shipped profiles are named by their stem (``demo``, ``local``); any other value is a path.
"""

from __future__ import annotations

import os
import re
import tomllib
from pathlib import Path
from typing import Any, Self

from pydantic import Field, ValidationError, field_validator, model_validator

from curation_pipeline.annotate.encoder import MINILM
from curation_pipeline.annotate.quality import rule_names
from curation_pipeline.annotate.settings import AnnotateSettings
from curation_pipeline.corpus.settings import Source
from curation_pipeline.credit.settings import CreditSettings
from curation_pipeline.datasets.settings import LabelSettings
from curation_pipeline.engine.settings import EngineSettings
from curation_pipeline.errors import ConfigError
from curation_pipeline.evaluation.settings import EvaluationSettings
from curation_pipeline.lake.bucket import is_bucket
from curation_pipeline.policy.settings import PolicySettings
from curation_pipeline.reward.curriculum_settings import CurriculumStage, check_stages
from curation_pipeline.reward.settings import RewardSettings
from curation_pipeline.selection.baselines import declared
from curation_pipeline.selection.settings import BaselineSettings
from curation_pipeline.settings import Address, Settings
from curation_pipeline.training.settings import TrainingSettings

PROFILES = Path(__file__).parent / "profiles"
DEFAULT_STATE = Path("state")
_SECRET_NAME = re.compile(r"(?:^|[._])(?:key|token|secret|passw(?:or)?d|credentials?|auth)(?:$|[._])", re.IGNORECASE)
_KEY_LIKE = re.compile(r"(?=.*[0-9])(?=.*[A-Za-z])[A-Za-z0-9_+/=.:-]{16,}")


class LakeSettings(Settings):
    """Where artefacts are kept."""

    root: Address | None = Field(
        default=None, description="a folder, s3://bucket/prefix, gs://... or az://...; <state>/lake if absent"
    )
    endpoint_url: Address | None = Field(
        default=None, pattern=r"^https?://", description="URL of an S3 service other than AWS"
    )
    cache_max_gb: float = Field(
        default=50, gt=0, description="disk of each machine for copies of a bucket's files, in 10^9 bytes"
    )

    @property
    def bucket(self) -> str:
        """The root if it is a bucket, which several machines may share; empty for a folder."""
        return self.root if self.root is not None and is_bucket(self.root) else ""


class CorpusSettings(Settings):
    """The raw corpus and what is held out of it."""

    sources: tuple[Source, ...] = Field(min_length=1, description="where documents come from")
    holdout_share: float = Field(default=0.08, gt=0, lt=0.5, description="share of documents that no pool ever holds")
    heldout_benign_per_source: int = Field(default=48, ge=4, description="held-out clean texts of a source and role")
    heldout_toxic: int = Field(default=160, ge=4, description="held-out toxic documents of each role")
    heldout_judged: int = Field(
        default=3_000, ge=8, description="held-out documents of a source and role that the judge scores at most"
    )
    opt_in_labels: frozenset[str] = Field(default=frozenset(), description="labelled sets with terms of their own")

    @field_validator("sources")
    @classmethod
    def _names_differ(cls, sources: tuple[Source, ...]) -> tuple[Source, ...]:
        names = [source.name for source in sources]
        if repeated := {name for name in names if names.count(name) > 1}:
            raise ValueError(f"two sources are called {', '.join(sorted(repeated))}; source names must differ")
        return sources


class RemovalSettings(Settings):
    """What never enters a candidate pool. It decides over annotations and changes none, so it can be undone."""

    near_duplicates: bool = Field(default=True, description="remove near duplicates of a kept document")
    semantic_duplicates: bool = Field(default=False, description="remove documents of nearly the same sentence vector")
    contamination: bool = Field(default=True, description="remove documents that share a 13-gram with a benchmark")
    rules: tuple[str, ...] = Field(
        default=(), description="quality rules, or families of them, that a document must pass; see `curate profile`"
    )
    languages: tuple[str, ...] = Field(
        default=(), description="ISO 639-1 codes to keep, e.g. en; undetermined text is kept; all languages if empty"
    )
    takedown_requests: Path | None = Field(
        default=None,
        description="CSV or JSONL of what must not be used: doc_id, url or domain, with reason, request_id and date",
    )
    redact_pii: bool = Field(default=True, description="put placeholders for personal data in what the model reads")


class LoopSettings(Settings):
    """How iterations follow one another."""

    token_budget: int = Field(default=300_000, ge=1_000, description="tokens drawn and trained on in an iteration")
    max_iterations: int = Field(default=3, ge=1, description="sensor and schedule stop after so many")
    window_cron: str = Field(default="0 0-5 * * *", description="cron of the iteration windows: several slots a night")
    future_windows: int = Field(default=60, ge=1, le=5_000, description="windows beyond now to chain into")
    nightly_cron: str = Field(default="30 0 * * *", description="when the night's first iteration starts")
    max_performance_drop: float = Field(
        default=0.02,
        ge=-1,
        le=1,
        description="an iteration whose P falls by more than this is rejected",
    )
    max_cost: float | None = Field(
        default=None,
        gt=0,
        description="a run that would cost more, by `prices`, is not started, nor an iteration that would pass it",
    )
    target_safety: float = Field(
        default=0.8, ge=0, le=1, description="S on credit data below which the refinement gives safety more weight"
    )


class PriceSettings(Settings):
    """What machines and services cost, for `curate plan` and ``loop.max_cost``, in a currency of your choice.

    The defaults are round figures of rented machines, not an offer.
    """

    cpu_hour: float = Field(default=0.05, ge=0, description="price of a CPU for an hour, with its memory")
    gpu_hour: float = Field(default=2.5, ge=0, description="price of a GPU for an hour, with its machine")
    api_1000_calls: float = Field(default=0.0, ge=0, description="price of a thousand requests to a hosted detector")


class ExperimentSettings(Settings):
    """Arms that are trained along with the loop at the same token budget."""

    arms: tuple[str, ...] = Field(default=("random", "threshold"), description="names of selectors")
    seeds: tuple[int, ...] = Field(default=(0,), min_length=1, description="seeds of each arm")

    @field_validator("arms")
    @classmethod
    def _known_arms(cls, arms: tuple[str, ...]) -> tuple[str, ...]:
        try:
            for arm in arms:
                declared(arm)
        except ConfigError as error:
            raise ValueError(str(error)) from None
        return arms


class Profile(Settings):
    """A whole configuration; see the fields of each part."""

    name: str = Field(pattern=r"^[a-z0-9_-]+$", description="the profile's name")
    seed: int = Field(default=7, ge=0, description="the seed that every random stream is derived from")
    engine: EngineSettings = EngineSettings()
    lake: LakeSettings = LakeSettings()
    corpus: CorpusSettings
    labels: LabelSettings = LabelSettings()
    annotate: AnnotateSettings = AnnotateSettings()
    removal: RemovalSettings = RemovalSettings()
    reward: RewardSettings = RewardSettings()
    policy: PolicySettings = PolicySettings()
    baselines: BaselineSettings = BaselineSettings()
    training: TrainingSettings = TrainingSettings()
    evaluation: EvaluationSettings = EvaluationSettings()
    credit: CreditSettings = CreditSettings()
    loop: LoopSettings = LoopSettings()
    curriculum: tuple[CurriculumStage, ...] = Field(
        default=(), description="stages from easy to hard: what the pool may hold, and when to move on; none by default"
    )
    experiment: ExperimentSettings = ExperimentSettings()
    prices: PriceSettings = PriceSettings()

    @model_validator(mode="after")
    def _removal_has_its_annotation(self) -> Self:
        """What is to be removed must be looked for."""
        known = rule_names(self.annotate.quality)
        if unknown := [rule for rule in self.removal.rules if rule not in known]:
            raise ValueError(
                f"removal.rules: no quality rule or family {', '.join(unknown)}; allowed: {', '.join(sorted(known))}"
            )
        if self.removal.semantic_duplicates and not self.annotate.duplicates.semantic:
            raise ValueError("removal.semantic_duplicates needs annotate.duplicates.semantic = true")
        check_stages(self.curriculum, frozenset(source.name for source in self.corpus.sources))
        return self

    def source(self, name: str) -> Source:
        """The corpus source called ``name``.

        Raises:
            ConfigError: there is none.
        """
        for source in self.corpus.sources:
            if source.name == name:
                return source
        known = ", ".join(source.name for source in self.corpus.sources)
        raise ConfigError(f"no source {name!r} in profile {self.name!r}; it has: {known}")


def profile_path(name: str) -> Path:
    """The file of a shipped profile's name, or of a path.

    Raises:
        ConfigError: neither exists.
    """
    shipped = PROFILES / f"{name}.toml"
    path = shipped if shipped.is_file() else Path(name).expanduser()
    if not path.is_file():
        known = ", ".join(sorted(file.stem for file in PROFILES.glob("*.toml")))
        raise ConfigError(f"profile {name!r} is neither a shipped profile ({known}) nor a file")
    return path


def load_profile(name: str) -> Profile:
    """Read and validate a profile.

    Args:
        name: a shipped profile's name or a path to a TOML file.

    Raises:
        ConfigError: the file is missing or is no TOML, or values are wrong; all of them are named.
    """
    path = profile_path(name)
    try:
        raw = tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} is not valid TOML: {error}") from error
    _anchor(raw, path.absolute().parent)
    return validate_profile(raw, str(path))


def _anchor(raw: dict[str, Any], folder: Path) -> None:
    """Make relative paths in a profile relative to its own folder: commands and the web server run in others."""

    def anchor(section: Any, *names: str) -> None:
        for name in names if isinstance(section, dict) else ():
            value = section.get(name)
            if isinstance(value, str) and value and "://" not in value:
                section[name] = str(folder / Path(value).expanduser())

    def anchor_model(section: Any, name: str) -> None:
        """A model is named by a folder or by a hub id: by a folder where there is one."""
        value = section.get(name) if isinstance(section, dict) else None
        if isinstance(value, str) and value != MINILM and (value.startswith((".", "~")) or (folder / value).is_dir()):
            anchor(section, name)

    # What is no table or list is reported by the validation that follows.
    parts = (raw.get(name) for name in ("corpus", "annotate", "labels", "reward", "evaluation"))
    corpus, annotate, labels, reward, evaluation = (part if isinstance(part, dict) else {} for part in parts)
    sources = corpus.get("sources")
    for source in sources if isinstance(sources, list) else ():
        anchor(source, "path")
    anchor(annotate.get("detoxify"), "checkpoint", "huggingface_config_path")
    anchor_model(annotate.get("classifier"), "model")
    anchor_model(annotate.get("heads"), "encoder")
    anchor_model(raw.get("training"), "model_id")
    files = labels.get("files")
    for file in files if isinstance(files, list) else ():
        anchor(file, "path")
    anchor(reward.get("audit"), "labels")
    anchor(raw.get("removal"), "takedown_requests")
    anchor(raw.get("lake"), "root")
    anchor(evaluation, "folder")
    anchor(evaluation.get("harness"), "data")


def validate_profile(raw: dict[str, Any], where: str) -> Profile:
    """Validate a profile's content; see `load_profile`."""
    try:
        return Profile.model_validate(raw)
    except ValidationError as error:
        lines = []
        for problem in error.errors():
            path = ".".join(str(part) for part in problem["loc"]) or "(whole file)"
            lines.append(f"  {path}: {problem['msg']}{_given(path, problem['type'], problem['input'])}")
        raise ConfigError(f"{where} has {len(lines)} wrong value(s):\n" + "\n".join(lines)) from error


def _given(path: str, problem: str, value: object) -> str:
    """What was given, for a message; nothing of a text that may be a pasted key."""
    if not isinstance(value, str | int | float | bool | None):
        return ""
    if isinstance(value, str):
        secret = problem == "extra_forbidden" or _SECRET_NAME.search(path) or "@" in value
        if secret or (_KEY_LIKE.fullmatch(value) and not value.startswith(("/", ".", "~"))):
            return f", given a text of {len(value)} characters"
    return f", given {value!r}"


def state_folder() -> Path:
    """The folder of all local state: ``$CURATION_STATE``, or ``state`` in the working directory."""
    return Path(os.environ.get("CURATION_STATE", DEFAULT_STATE)).expanduser().absolute()


def cache_folder() -> Path:
    """The folder of downloads, shared by checkouts: ``$CURATION_CACHE``, or the user's cache folder."""
    default = Path(os.environ.get("XDG_CACHE_HOME", "~/.cache")) / "curation-pipeline"
    return Path(os.environ.get("CURATION_CACHE", default)).expanduser().absolute()


def active_profile() -> str:
    """The name of the profile in use: ``$CURATION_PROFILE``, or ``demo``."""
    return os.environ.get("CURATION_PROFILE", "demo")
