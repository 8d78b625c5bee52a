"""What a person sets about the cascade: a cheap model scores all texts, an expensive one those that need it."""

from __future__ import annotations

from pydantic import Field

from curation_pipeline.settings import Settings


class CascadeSettings(Settings):
    """How seldom the cascade may decide otherwise than the expensive detector, and on how many texts it is fitted."""

    expensive: str = Field(default="detoxify", min_length=1, description="detector whose decisions the cascade keeps")
    cheap: str | None = Field(
        default=None, description="detector that scores all texts; a student fitted to the expensive one if absent"
    )
    threshold: float = Field(
        default=0.5, gt=0.0, lt=1.0, description="headline score of the expensive detector from which a text is flagged"
    )
    max_changed: float = Field(
        default=0.01,
        gt=0.0,
        lt=0.5,
        description="largest share of texts whose flag may differ from the expensive detector's (alpha)",
    )
    confidence: float = Field(
        default=0.95,
        gt=0.5,
        lt=1.0,
        description="probability, over the draw of the calibration sample, that the share is held (1 - delta)",
    )
    student_sample: int = Field(
        default=6000,
        ge=100,
        le=1_000_000,
        description="texts scored by the expensive detector for the student to imitate, or, with a cheap detector that "
        "is there already, for reading its scores as chances",
    )
    student_words: int = Field(
        default=64,
        ge=8,
        le=100_000,
        description="the student learns from excerpts of at most so many words: more texts for the same work",
    )
    calibration_sample: int = Field(
        default=2000, ge=1, le=1_000_000, description="further texts, on which the threshold of doubt is set"
    )
    test_sample: int = Field(
        default=1000, ge=0, le=1_000_000, description="further texts, on which the share of changed flags is reported"
    )
    bits: int = Field(
        default=17, ge=10, le=24, description="the student hashes words and word pieces into 2 ** bits buckets each"
    )
    inverse_penalty: tuple[float, ...] = Field(
        default=(1.0, 4.0, 16.0),
        min_length=1,
        description="values of C, the inverse of the student's L2 penalty, of which cross-validation chooses",
    )
    folds: int = Field(default=4, ge=2, le=20, description="folds of the student's cross-validation")
