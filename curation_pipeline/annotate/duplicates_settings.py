"""What a person sets about duplicates and benchmark contamination."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, model_validator

from curation_pipeline.errors import ConfigError
from curation_pipeline.settings import Settings


class DuplicatesSettings(Settings):
    """When two texts count as one, and which of them stays.

    ``n_hashes``, ``shingle_words``, ``fold_digits`` and ``seed`` make the signatures: changing one costs a pass over
    all text. The rest acts on signatures and vectors that exist. Bands of r equal minima each bring a pair of Jaccard
    similarity s to the verification with probability 1 - (1 - s**r)**b, which rises steeply about
    s = (1 / b)**(1 / r). FineWeb takes what 14 bands of 8 bring, without verification. As what is brought here is
    verified, the bands may bring more: of the settings tried on planted duplicates, 16 x 7 verified at .68 lost the
    fewest pairs without dropping more distinct texts (``benchmarks/near_duplicates.py``).
    """

    n_hashes: int = Field(default=112, ge=8, le=4096, description="minima in a MinHash signature")
    shingle_words: int = Field(default=5, ge=1, le=50, description="words in a shingle; a shorter text is one shingle")
    fold_digits: bool = Field(
        default=False,
        description="take every number for the same, so that texts which differ in numbers or signs alone are near "
        "duplicates; otherwise a text is none of another that has other figures between the same words",
    )
    seed: int = Field(default=1, ge=0, le=2**63 - 1, description="chooses the hash functions of the signatures")
    bands: int = Field(default=16, ge=1, le=1024, description="bands that a signature is cut into")
    rows: int = Field(default=7, ge=1, le=64, description="minima in a band")
    threshold: float = Field(
        default=0.68,
        ge=0.0,
        le=1.0,
        description="estimated Jaccard similarity from which two texts are near duplicates",
    )
    prefer: Literal["longest", "earliest"] = Field(
        default="longest",
        description="which text of a cluster stays: the longest, then that of the earliest partition; or the other way "
        "round, so that a later snapshot of a source never displaces a document of an earlier one. Partitions are in "
        "order of source and snapshot, so that it does not matter which was delivered first",
    )
    semantic: bool = Field(default=False, description="look for semantic duplicates among sentence vectors at all")
    semantic_threshold: float = Field(
        default=0.995, gt=0.0, le=1.0, description="cosine from which two texts of a topic are semantic duplicates"
    )
    semantic_min_words: int = Field(
        default=50,
        ge=0,
        le=100_000,
        description="texts with fewer words are no semantic duplicates: their vectors say too little",
    )

    def signature_parameters(self) -> dict[str, int]:
        """The settings that a signature depends on."""
        return self.model_dump(include={"n_hashes", "shingle_words", "fold_digits", "seed"})

    @model_validator(mode="after")
    def _bands_fit(self) -> Self:
        """Bands are cut out of the signature.

        Raises:
            ConfigError: when they are larger than it.
        """
        self.check(self.n_hashes)
        return self

    def check(self, n_hashes: int) -> None:
        """See that the bands fit into signatures of ``n_hashes`` minima.

        Raises:
            ConfigError: when they do not.
        """
        if self.bands * self.rows > n_hashes:
            raise ConfigError(
                f"duplicates: bands x rows is {self.bands} x {self.rows} = {self.bands * self.rows}, but a signature "
                f"has {n_hashes} minima; lower one or raise n_hashes"
            )
