"""What a person sets about language identification, personal data, register, quality and removal parity."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from curation_pipeline.settings import Settings

PiiKind = Literal["email", "phone", "ip", "card"]


class LanguageSettings(Settings):
    """How much of a text the language identifier reads, and when it gives up."""

    max_chars: int = Field(
        default=300, ge=20, le=100_000, description="characters read from the start of a text; the cost grows with it"
    )
    min_confidence: float = Field(
        default=0.3, ge=0.0, le=1.0, description='texts below this confidence get the language "und"'
    )


class PiiSettings(Settings):
    """Which personal data is looked for."""

    kinds: tuple[PiiKind, ...] = Field(
        default=("email", "phone", "ip", "card"), min_length=1, description="kinds of personal data to look for"
    )
    private_ips: bool = Field(
        default=False,
        description="count addresses that no host on the internet has (private, loopback, documentation) as personal",
    )


class RegisterSettings(Settings):
    """How the register classifier is fitted."""

    buckets_log2: int = Field(default=15, ge=8, le=22, description="words are hashed into 2 to this power buckets")
    max_documents: int = Field(default=14_000, ge=100, le=10_000_000, description="documents fitted on, drawn by seed")
    words_min: int = Field(default=20, ge=1, le=10_000, description="shortest excerpt that a document is cut to")
    words_max: int = Field(default=300, ge=1, le=100_000, description="longest excerpt; longer text is cut to it")
    regularisation: float = Field(default=0.1, gt=0.0, le=1e6, description="C of the logistic regression")
    min_confidence: float = Field(
        default=0.5, ge=0.0, le=1.0, description='a document below this confidence gets the register "other"'
    )


class QualityClassifierSettings(Settings):
    """How the quality classifier is fitted."""

    buckets_log2: int = Field(default=17, ge=8, le=22, description="words and word pairs share 2 to this power buckets")
    max_documents: int = Field(default=14_000, ge=100, le=10_000_000, description="clean and degraded documents in all")
    words_max: int = Field(default=400, ge=20, le=100_000, description="longest excerpt used in fitting")
    regularisation: float = Field(default=0.5, gt=0.0, le=1e6, description="C of the logistic regression")


class DialectSettings(Settings):
    """When a text counts as written in a dialect."""

    min_weight: float = Field(default=1.0, gt=0.0, le=100.0, description="weight of markers that a text needs")
    min_rate: float = Field(
        default=0.004,
        ge=0.0,
        le=1.0,
        description="weight of markers per word that a text needs: long text hits by chance",
    )


class ParitySettings(Settings):
    """When a rule counts as removing a group too often."""

    max_ratio: float = Field(
        default=1.25, gt=1.0, le=10.0, description="ratio of a group's removal rate to the average that is tolerated"
    )
    confidence: float = Field(default=0.95, gt=0.5, lt=1.0, description="of the interval around the ratio")
    min_texts: int = Field(default=50, ge=1, le=1_000_000, description="groups with fewer texts are never flagged")
    min_removed: int = Field(
        default=5, ge=1, le=1_000_000, description="groups that lose fewer texts than this are never flagged"
    )
    simultaneous: bool = Field(
        default=False,
        description="widen the intervals so that all of a table's cover at once (Bonferroni); fewer chance findings, "
        "and less power to find real ones",
    )
