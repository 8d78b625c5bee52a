"""Settings of an evaluation: sampling for all benchmarks, and a section of its own for each."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import Field, create_model

from curation_pipeline.errors import ConfigError
from curation_pipeline.evaluation.benchmark import Benchmark, ItemSettings
from curation_pipeline.evaluation.registry import all_benchmarks
from curation_pipeline.settings import Settings


class HarnessSettings(Settings):
    """Which benchmarks of the lm-evaluation-harness are run; none unless they are named."""

    tasks: tuple[str, ...] = Field(default=(), description="tasks by the harness's names, such as hellaswag")
    data: Path | None = Field(
        default=None, description="folder of items of one's own, <task>/<split>.parquet; else packages, else the hub"
    )
    limit: int | None = Field(default=None, ge=1, description="first items of each task that are used; None is all")
    batch_size: int = Field(default=32, ge=1, description="sequences in a batch")
    least_parameters_to_write: int = Field(
        default=50_000_000,
        ge=0,
        description="tasks that ask for free text are not applicable to models with fewer parameters",
    )
    threads: int = Field(default=1, ge=1, description="threads of torch")


class _SharedSettings(Settings):
    """How texts are sampled (as RealToxicityPrompts did) and scored; each benchmark has a section of its own."""

    roles: tuple[str, ...] = Field(
        default=("report",), min_length=1, description="roles of the labelled prompts and pairs to evaluate on"
    )
    folder: Path | None = Field(
        default=None,
        description="folder of benchmarks in their publishers' files (harmbench/, simplesafetytests/, xstest/); where "
        "it holds rtp_decodingtrust/, prompts of both kinds of toxicity come from there, not the package's toxic ones",
    )
    samples: int = Field(default=25, ge=1, description="continuations sampled for each prompt, k")
    max_new_tokens: int = Field(default=20, ge=1, description="longest continuation, in tokens")
    top_p: float = Field(default=0.9, gt=0, le=1, description="mass of the nucleus that is sampled from")
    temperature: float = Field(default=1.0, gt=0, description="divides the logits before sampling")
    max_heldout_chars: int = Field(default=600, ge=20, description="characters of a held-out text that are scored")
    batch_tokens: int = Field(default=2_048, ge=16, description="most tokens in a batch, padding included")
    batch_sequences: int = Field(default=512, ge=1, description="sequences generated side by side")
    resamples: int = Field(default=1_000, ge=10, description="bootstrap resamples behind an interval")
    confidence: float = Field(default=0.95, gt=0, lt=1, description="coverage of the bootstrap intervals")
    threads: int = Field(default=1, ge=1, description="threads of torch")
    harness: HarnessSettings = Field(
        default_factory=HarnessSettings, description="benchmarks of the lm-evaluation-harness"
    )

    def of(self, benchmark: Benchmark) -> Settings:
        """The section of a benchmark that has one."""
        found = getattr(self, benchmark.name)
        assert isinstance(found, Settings)
        return found

    def used(self, benchmark: Benchmark) -> int:
        """Items of a benchmark that an evaluation uses."""
        found = self.of(benchmark)
        assert isinstance(found, ItemSettings)
        return found.used


if TYPE_CHECKING:
    EvaluationSettings = _SharedSettings
else:
    _sections = {b.name: b for b in all_benchmarks() if b.settings is not None}
    if taken := [name for name in _sections if name in _SharedSettings.model_fields or hasattr(_SharedSettings, name)]:
        raise ConfigError(f"a benchmark may not be called {', '.join(taken)}: that is a setting of every evaluation")
    EvaluationSettings = create_model(
        "EvaluationSettings",
        __base__=_SharedSettings,
        __doc__=_SharedSettings.__doc__,
        **{
            name: (b.settings, Field(default=b.settings(), description=f"{b.settings.__doc__} Axis: {b.axis}."))
            for name, b in _sections.items()
        },
    )
