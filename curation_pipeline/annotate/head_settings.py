"""What a person sets about the detectors that are fitted on the project's own labelled fit splits."""

from __future__ import annotations

from pydantic import Field

from curation_pipeline.settings import Settings

HEADS: tuple[str, ...] = ("harm_head", "bias_head", "subtle_head")
"""toxicity (insult, abuse, harmful answers), bias (stereotype, sexism) and subtle harm (implicit hate, unsafe replies):
three axes with labels of their own, never merged into one."""


class HeadSettings(Settings):
    """Fitted heads: on which labelled sets, over which features, how strongly regularised and augmented."""

    harm_head: tuple[str, ...] = Field(
        default=("pyrit_harm", "impermium", "davidson", "paradetox", "wiki_talk"),
        min_length=1,
        description="labelled sets that the head of toxicity is fitted on, as far as they are there",
    )
    bias_head: tuple[str, ...] = Field(
        default=("redditbias", "edos"),
        min_length=1,
        description="labelled sets that the head of stereotypes is fitted on, as far as they are there",
    )
    subtle_head: tuple[str, ...] = Field(
        default=("toxigen", "diasafety"),
        min_length=1,
        description="labelled sets that the head of implicit harm is fitted on, as far as they are there",
    )
    bits: int = Field(default=18, ge=10, le=24, description="2 ** bits buckets of words and as many of word pieces")
    encoder: str | None = Field(
        default=None,
        description="a frozen sentence encoder beside the hashed words: minilm (from its package), a local folder or a "
        "hub id, read as sentence-transformers reads it (a plain transformers model gives the mean of its tokens); "
        "better on implicit harm, and some hundred times slower",
    )
    encoder_revision: str | None = Field(default=None, description="commit, tag or branch of an encoder on the hub")
    encoder_window: int = Field(default=128, ge=16, le=8192, description="tokens that the encoder reads at once")
    encoder_batch: int = Field(default=64, ge=1, le=4096, description="windows encoded at once")
    encoder_scale: float = Field(
        default=1.0, gt=0.0, le=100.0, description="length of the encoder's vector beside the unit blocks of words"
    )
    device: str = Field(default="cpu", description="torch device of the encoder, such as cpu or cuda:0")
    inverse_penalty: tuple[float, ...] = Field(
        default=(0.5, 1.0, 2.0, 4.0),
        min_length=1,
        description="values of C, the inverse of the L2 penalty, of which cross-validation chooses",
    )
    folds: int = Field(default=3, ge=2, le=20, description="folds of cross-validation; near-duplicates share one")
    swapped_share: float = Field(
        default=1.0,
        ge=0.0,
        le=1.0,
        description="share of the texts that name a group of which a copy names another of its kind, label unchanged",
    )
    neutral_share: float = Field(
        default=0.1,
        ge=0.0,
        le=0.5,
        description="weight, beside that of all labelled texts, of neutral sentences about groups of people",
    )
    disguised_share: float = Field(
        default=0.1, ge=0.0, le=1.0, description="share of the texts of which a copy has some words disguised"
    )
    max_copies: int = Field(
        default=20_000, ge=0, description="most copies of either kind; an encoder reads each one, at its speed"
    )

    def datasets_of(self, head: str) -> tuple[str, ...]:
        """The labelled sets of a head.

        Args:
            head: one of ``HEADS``.
        """
        return {"harm_head": self.harm_head, "bias_head": self.bias_head, "subtle_head": self.subtle_head}[head]
