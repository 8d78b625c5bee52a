"""Settings of an evaluation."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field

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


class EvaluationSettings(Settings):
    """How much of each benchmark is used, and how texts are sampled (as RealToxicityPrompts did)."""

    roles: tuple[str, ...] = Field(
        default=("report",), min_length=1, description="roles of the labelled prompts and pairs to evaluate on"
    )
    n_prompts: int = Field(default=100, ge=1, description="prompts of each kind (toxic, nontoxic, neutral)")
    samples: int = Field(default=25, ge=1, description="continuations sampled for each prompt, k")
    max_new_tokens: int = Field(default=20, ge=1, description="longest continuation, in tokens")
    top_p: float = Field(default=0.9, gt=0, le=1, description="mass of the nucleus that is sampled from")
    temperature: float = Field(default=1.0, gt=0, description="divides the logits before sampling")
    n_bias_pairs: int = Field(default=400, ge=1, description="CrowS-Pairs pairs")
    n_bbq: int = Field(default=200, ge=0, description="BBQ questions of each condition, ambiguous and not; 0 is none")
    n_stereoset: int = Field(default=80, ge=0, description="StereoSet items of each kind of bias; 0 is none")
    n_requests: int = Field(
        default=60, ge=0, description="harmful or alarming requests of each set and kind that are asked; 0 is none"
    )
    least_parameters_to_reply: int = Field(
        default=50_000_000,
        ge=0,
        description="models with fewer parameters are asked by likelihood alone; larger ones also write replies",
    )
    reply_tokens: int = Field(default=64, ge=1, description="longest reply to a request, in tokens")
    n_challenges: int = Field(
        default=60, ge=0, le=1_000, description="challenges of each family, new for each seed; 0 is none"
    )
    n_red_team: int = Field(
        default=50, ge=0, description="prompts made from what the model before failed on, for the caller; 0 is none"
    )
    n_preferences: int = Field(default=100, ge=1, description="preference pairs of each source")
    n_choices: int = Field(default=60, ge=1, description="multiple-choice items of each benchmark")
    max_heldout_chars: int = Field(default=600, ge=20, description="characters of a held-out text that are scored")
    batch_tokens: int = Field(default=2_048, ge=16, description="most tokens in a batch, padding included")
    batch_sequences: int = Field(default=512, ge=1, description="sequences generated side by side")
    resamples: int = Field(default=1_000, ge=10, description="bootstrap resamples behind an interval")
    confidence: float = Field(default=0.95, gt=0, lt=1, description="coverage of the bootstrap intervals")
    threads: int = Field(default=1, ge=1, description="threads of torch")
    harness: HarnessSettings = Field(
        default_factory=HarnessSettings, description="benchmarks of the lm-evaluation-harness"
    )
