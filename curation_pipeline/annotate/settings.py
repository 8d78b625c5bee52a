"""What a person sets about annotation."""

from __future__ import annotations

from pathlib import Path
from typing import Literal, Self

from pydantic import Field, model_validator

from curation_pipeline.annotate.annotator_settings import (
    DialectSettings,
    LanguageSettings,
    ParitySettings,
    PiiSettings,
    QualityClassifierSettings,
    RegisterSettings,
)
from curation_pipeline.annotate.cascade_settings import CascadeSettings
from curation_pipeline.annotate.duplicates_settings import DuplicatesSettings
from curation_pipeline.annotate.head_settings import HeadSettings
from curation_pipeline.annotate.hosted_settings import HostedSettings
from curation_pipeline.annotate.quality.settings import QualitySettings
from curation_pipeline.errors import ConfigError
from curation_pipeline.settings import Settings

HostedName = Literal["openai_moderation", "openai_chat", "perspective"]
DetectorName = Literal[
    "alt_profanity",
    "tox_block",
    "harm_head",
    "bias_head",
    "subtle_head",
    "detoxify",
    "classifier",
    "cascade",
    "openai_moderation",
    "openai_chat",
    "perspective",
]


class DetoxifySettings(Settings):
    """Where the weights of Detoxify lie, or which published ones to download; without either it is not available."""

    variant: Literal["original", "unbiased", "multilingual"] | None = Field(
        default=None, description="published weights to download once, as the package does; or give local files below"
    )
    checkpoint: Path | None = Field(
        default=None, description="a checkpoint in Detoxify's own format (`config` and `state_dict`)"
    )
    huggingface_config_path: Path | None = Field(
        default=None, description="folder with the model's config.json and tokenizer files"
    )
    device: str = Field(default="cpu", description="torch device, such as cpu or cuda:0")
    batch_size: int = Field(default=32, ge=1, le=4096, description="texts of 128 tokens scored at once")

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        """Weights come from one place.

        Raises:
            ConfigError: both a published variant and local files are named.
        """
        if self.variant is not None and (self.checkpoint or self.huggingface_config_path):
            raise ConfigError("annotate.detoxify names a variant to download and local files; give one of the two")
        return self


class ClassifierSettings(Settings):
    """Which transformers model is the detector ``classifier``, and what of it means harm."""

    model: str | None = Field(default=None, description="local folder or hub id of a sequence classifier")
    revision: str | None = Field(default=None, description="commit, tag or branch on the hub; name one to stay with it")
    harmful_labels: tuple[str, ...] = Field(
        default=("toxic",), min_length=1, description="labels of the model that mean harm, in any case of letters"
    )
    window: int | None = Field(default=None, ge=8, description="tokens scored at once; the model's length if absent")
    stride: int = Field(default=64, ge=0, description="tokens that neighbouring windows of a long text share")
    device: str = Field(default="cpu", description="torch device, such as cpu or cuda:0")
    batch_size: int = Field(default=32, ge=1, le=4096, description="windows of 128 tokens scored at once")


class AnnotateSettings(Settings):
    """Annotators: which detectors teach and which one judges, and the size of vectors and topics."""

    vector_dims: int = Field(default=64, ge=2, le=64, description="informative dimensions of a sentence vector, of 64")
    vector_max_terms: int = Field(default=30_000, ge=100, le=1_000_000, description="terms that vectors know")
    vector_sample: int = Field(default=30_000, ge=10, le=5_000_000, description="documents that vectors are fitted on")
    generation: int = Field(
        default=0,
        ge=0,
        description="vectors, topics, tokenizer and base are fitted once and stay when the corpus grows; another "
        "number fits them again, which is refused once the loop has committed an iteration on them",
    )
    topics: int = Field(default=24, ge=1, le=1000, description="number of topics")
    teachers: tuple[DetectorName, ...] = Field(
        default=("alt_profanity",), min_length=1, description="detectors that make the safety reward"
    )
    judge: DetectorName = Field(
        default="tox_block", description="detector that judges the trained model; never one of the teachers"
    )
    identity_blind: tuple[DetectorName, ...] = Field(
        default=("alt_profanity", "tox_block", "harm_head", "bias_head"),
        description="detectors that read texts with the names of groups replaced by person or people",
    )
    window_words: int = Field(
        default=200, ge=10, le=100_000, description="longer texts are scored in windows of so many words"
    )
    window_overlap: int = Field(default=50, ge=0, description="words that neighbouring windows share")
    expert: HostedName | None = Field(
        default=None, description="hosted service that labels a small audit batch of each iteration; people if absent"
    )
    judge_rescale: bool = Field(
        default=True, description="bring tox-block's heads to their range over its training texts, as the package does"
    )
    judge_max_false_positives: float = Field(
        default=0.01, ge=0.0, le=1.0, description="share of clean encyclopaedic text that a usable judge may flag"
    )
    quality: QualitySettings = Field(default=QualitySettings(), description="thresholds of the quality rules")
    language: LanguageSettings = Field(default=LanguageSettings(), description="language identification")
    pii: PiiSettings = Field(default=PiiSettings(), description="personal data")
    duplicates: DuplicatesSettings = Field(default=DuplicatesSettings(), description="near and semantic duplicates")
    registers: RegisterSettings = Field(default=RegisterSettings(), description="the register classifier")
    quality_classifier: QualityClassifierSettings = Field(
        default=QualityClassifierSettings(), description="the classifier of damaged text"
    )
    dialect: DialectSettings = Field(default=DialectSettings(), description="the dialect proxy")
    parity: ParitySettings = Field(default=ParitySettings(), description="when removal counts as unequal")
    detoxify: DetoxifySettings = Field(default=DetoxifySettings(), description="Detoxify's weights")
    classifier: ClassifierSettings = Field(default=ClassifierSettings(), description="a transformers classifier")
    heads: HeadSettings = Field(default=HeadSettings(), description="detectors fitted on our own labelled fit splits")
    cascade: CascadeSettings = Field(
        default=CascadeSettings(), description="the detector cascade: a cheap one before an expensive one"
    )
    hosted: HostedSettings = Field(default=HostedSettings(), description="detectors that are services over HTTP")

    @model_validator(mode="after")
    def _judge_does_not_teach(self) -> Self:
        """A model judged by the detector that chose its data would be graded on its own homework.

        Raises:
            ConfigError: when the judge is a teacher, when tox-block teaches, or when a teacher is named twice.
        """
        if "tox_block" in self.teachers:
            raise ConfigError(
                "annotate.teachers names tox_block, which is reserved for judging the trained model; use alt_profanity "
                "or detoxify as teachers"
            )
        if self.judge in self.teachers:
            raise ConfigError(
                f"annotate.judge is {self.judge}, which is also one of annotate.teachers "
                f"({', '.join(self.teachers)}); the judge must be another detector"
            )
        if "openai_chat" in self.teachers:
            raise ConfigError(
                "annotate.teachers names openai_chat, which would ask a chat model about every document; it is an "
                "expert for at most 1% of the pool: set annotate.expert"
            )
        if self.expert is not None and self.expert == self.judge:
            raise ConfigError(
                f"annotate.expert and annotate.judge are both {self.expert}; what labels for the reward may not judge"
            )
        if "classifier" in (*self.teachers, self.judge) and self.classifier.model is None:
            raise ConfigError(
                "annotate names the detector classifier, but annotate.classifier.model is not set; give a local folder "
                "or a hub id"
            )
        if "cascade" in (*self.teachers, self.judge):
            for part in (self.cascade.expensive, self.cascade.cheap):
                if part == "cascade" or part in (self.judge, "openai_chat"):
                    raise ConfigError(
                        f"annotate.cascade runs {part}, which may not teach: it is the judge, an expert or itself"
                    )
        if len(set(self.teachers)) != len(self.teachers):
            raise ConfigError(f"annotate.teachers names a detector twice: {', '.join(self.teachers)}")
        return self
