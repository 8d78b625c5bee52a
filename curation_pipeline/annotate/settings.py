"""What a person sets about annotation."""

from __future__ import annotations

from typing import Annotated, Any, Self

from pydantic import AfterValidator, Field, SerializeAsAny, ValidationError, field_validator, model_validator

from curation_pipeline.annotate.annotator_settings import (
    DialectSettings,
    LanguageSettings,
    ParitySettings,
    PiiSettings,
    QualityClassifierSettings,
    RegisterSettings,
)
from curation_pipeline.annotate.detectors.cascade import CascadeSettings
from curation_pipeline.annotate.detectors.classifier import ClassifierSettings
from curation_pipeline.annotate.detectors.detoxify import DetoxifySettings
from curation_pipeline.annotate.detectors.head import HeadSettings
from curation_pipeline.annotate.detectors.openai_chat import ChatSettings
from curation_pipeline.annotate.detectors.openai_moderation import ModerationSettings
from curation_pipeline.annotate.detectors.registry import find_detector
from curation_pipeline.annotate.duplicates_settings import DuplicatesSettings
from curation_pipeline.annotate.quality.settings import QualitySettings
from curation_pipeline.errors import ConfigError
from curation_pipeline.settings import Settings


def _known(name: str) -> str:
    return find_detector(name).name


DetectorName = Annotated[str, AfterValidator(_known)]


class HostedSettings(Settings):
    """Detectors of this package that are services over HTTP, by the name that a profile gives them."""

    openai_moderation: ModerationSettings = Field(default=ModerationSettings(), description="a moderation endpoint")
    openai_chat: ChatSettings = Field(default=ChatSettings(), description="a chat model as expert judge")


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
    expert: DetectorName | None = Field(
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

    detector_options: dict[str, SerializeAsAny[Settings]] = Field(
        default_factory=dict, description="settings of detectors of other packages: detector -> what it declares"
    )

    annotator_options: dict[str, dict[str, Any]] = Field(
        default_factory=dict, description="settings of annotators of other packages: annotator -> what it declares"
    )

    @field_validator("detector_options", mode="before")
    @classmethod
    def _declared(cls, given: Any) -> Any:
        """Each table becomes the settings class that its detector declares.

        Raises:
            ConfigError: there is no such detector, it has its settings elsewhere, or a value is wrong.
        """
        found: dict[str, Any] = {}
        for name, options in given.items() if isinstance(given, dict) else ():
            where, spec = f"annotate.detector_options.{name}", find_detector(name)
            if spec.settings is None or spec.section is not None:
                there = f"they are in annotate.{spec.section}" if spec.section else "it has none"
                raise ConfigError(f"{where}: the detector {name} takes no settings here; {there}")
            try:
                found[name] = spec.settings.model_validate(options)
            except ValidationError as error:
                problems = (f"{where}.{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors())
                raise ConfigError("; ".join(problems)) from None
        return found if isinstance(given, dict) else given

    @model_validator(mode="after")
    def _judge_does_not_teach(self) -> Self:
        """A model judged by the detector that chose its data would be graded on its own homework.

        Raises:
            ConfigError: a teacher is the judge, is named twice or may not teach; or the expert is no hosted service.
        """
        for name in self.teachers:
            if why := find_detector(name).not_a_teacher:
                raise ConfigError(f"annotate.teachers names {name}, which may not teach: {why}")
        if self.judge in self.teachers:
            raise ConfigError(
                f"annotate.judge is {self.judge}, which is also one of annotate.teachers "
                f"({', '.join(self.teachers)}); the judge must be another detector"
            )
        if self.expert is not None and not find_detector(self.expert).hosted:
            raise ConfigError(f"annotate.expert is {self.expert}, which is no hosted service, such as openai_chat")
        if self.expert is not None and self.expert == self.judge:
            raise ConfigError(
                f"annotate.expert and annotate.judge are both {self.expert}; what labels for the reward may not judge"
            )
        if "classifier" in (*self.teachers, self.judge) and self.classifier.model is None:
            raise ConfigError(
                "annotate names the detector classifier, but annotate.classifier.model is not set; give a local folder "
                "or a hub id"
            )
        for name in (*self.teachers, self.judge):
            spec = find_detector(name)
            for part in spec.components(spec.options(self)):
                if part in (name, self.judge) or find_detector(part).not_a_teacher:
                    raise ConfigError(
                        f"annotate.{name} runs {part}, which may not teach: it is the judge, an expert or itself"
                    )
        if len(set(self.teachers)) != len(self.teachers):
            raise ConfigError(f"annotate.teachers names a detector twice: {', '.join(self.teachers)}")
        return self
