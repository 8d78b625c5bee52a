"""How a detector errs under attack, on neutral texts about people, and when a group or a dialect is another.

Only the detector's scores are used, so any detector can be audited. A text is flagged at a score of .5 or more; since
detectors put their scores on different scales, every share is also given at the threshold that flags
``MATCHED_RATE`` of the same benign texts (the measures whose name ends in ``_matched``), by which detectors compare.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
import polars as pl

from curation_pipeline.annotate.detectors.protocol import Detector
from curation_pipeline.annotate.redteam.framing import FRAMES, framed
from curation_pipeline.annotate.redteam.paraphrase import grammatical
from curation_pipeline.annotate.redteam.probe import influential, without_each
from curation_pipeline.annotate.redteam.sentences import SPOKEN, identity_sentences
from curation_pipeline.annotate.redteam.swap import swap_identity
from curation_pipeline.annotate.redteam.variants import FAMILIES, content_words, disguise
from curation_pipeline.annotate.toxicity import HARM_THRESHOLD
from curation_pipeline.bootstrap import percentiles, resample
from curation_pipeline.errors import DataError
from curation_pipeline.progress import Progress
from curation_pipeline.seeds import derive, generator

AUDIT_SCHEMA: dict[str, pl.DataType] = {
    "detector": pl.Utf8(),
    "measure": pl.Utf8(),
    "family": pl.Utf8(),
    "value": pl.Float64(),
    "ci_low": pl.Float64(),
    "ci_high": pl.Float64(),
    "n": pl.Int64(),
}
"""value and its interval are null where there was nothing to measure on (n = 0)."""

MATCHED_RATE = 0.05
"""Share of the benign texts that the matched threshold flags at most."""
MATCHED = "_matched"


@dataclass(frozen=True, slots=True)
class AuditSize:
    """How much is measured.

    Attributes:
        texts: most benign and most harmful texts; as many pairs of a swap.
        least_chars: shorter texts are left out.
        most_chars: longer ones too: the disguises are meant for posts, and each text is scored tens of times.
        words: words of a text that a disguise changes, those that matter most to the detector; None: all content words.
        probed: content words of a text whose influence is probed.
        resamples: of the bootstrap.
    """

    texts: int = 300
    least_chars: int = 15
    most_chars: int = 300
    words: int | None = 3
    probed: int = 30
    resamples: int = 1000


@dataclass(slots=True)
class _Scorer:
    """Scores of texts on the headline, each distinct text once."""

    detector: Detector
    progress: Progress | None
    known: dict[str, float] = field(default_factory=dict)

    def score(self, *lists: Sequence[str]) -> None:
        """Score what is new in the lists, in one call of the detector."""
        new = list(dict.fromkeys(text for texts in lists for text in texts if text not in self.known))
        if new:
            found = self.detector.score(new, self.progress)[self.detector.heads[0]]
            self.known.update(zip(new, found.to_list(), strict=True))

    def of(self, texts: Sequence[str]) -> np.ndarray:
        """(n,) scores of texts that have been scored."""
        return np.array([self.known[text] for text in texts], dtype=np.float64)


@dataclass(slots=True)
class _Rows:
    """Collects the rows of the frame."""

    detector: str
    seed: int
    resamples: int
    rows: list[tuple[str, str, str, float | None, float | None, float | None, int]] = field(default_factory=list)

    def add(
        self,
        measure: str,
        family: str,
        values: np.ndarray,
        statistic: Callable[[np.ndarray], float] = np.mean,
        n: int | None = None,
    ) -> None:
        rng = generator(self.seed, "audit", measure, family)
        value, draws = resample(statistic, (np.asarray(values, dtype=np.float64),), rng, self.resamples)
        found = (value, *percentiles(draws, 0.95).tolist()) if len(values) else (None, None, None)
        self.rows.append((self.detector, measure, family, *found, len(values) if n is None else n))


def audit_detector(
    detector: Detector,
    benign: pl.DataFrame,
    harmful: pl.DataFrame,
    seed: int,
    size: AuditSize | None = None,
    progress: Progress | None = None,
) -> pl.DataFrame:
    """The red team's figures for one detector, by at most three calls of ``detector.score``.

    Measures, each also with the ending ``_matched`` where it is a share of flagged texts:

    - ``recall``: share of the harmful texts that are flagged as they are;
    - ``evasion``: by family of disguise, share of the harmful texts flagged plain that no longer are; ``any`` is the
      share that at least one family frees (measure ``evasion_any``, so that means over families leave it out);
    - ``false_positive``: share flagged of the benign texts as they are (``plain``), disguised (a family's name), and in
      dialect; of negations and counter speech that quote a harmful text; of neutral sentences about people
      (``identity``, and ``identity_<category>``), templates resampled;
    - ``identity_gap``: largest minus smallest false-positive rate over the identity terms, resampled in the same way;
    - ``identity_swap``: median absolute change of score when a group is swapped, in real texts (``texts``) and in the
      neutral sentences (``templates``);
    - ``dialect_swap``: the same for paraphrases in dialect, of benign texts and of the neutral ``sentences``;
    - ``threshold``: the matched threshold itself, without an interval.

    Args:
        detector: any detector; its headline is measured.
        benign: rows with the column text, and role where known; texts that people called harmless.
        harmful: the same of texts that people called harmful. No row of either may have the role fit.
        seed: chooses the texts, the disguises and the resamples.
        size: how much is measured.
        progress: told how far each call is.

    Returns:
        Rows of ``AUDIT_SCHEMA``; the same for the same input.

    Raises:
        DataError: there are no benign or no harmful texts of a usable length, or some are of the role fit.
    """
    size = size or AuditSize()
    scorer, out = _Scorer(detector, progress), _Rows(detector.name, seed, size.resamples)
    every_benign, every_harmful = (
        _usable(frame, name, size) for frame, name in ((benign, "benign"), (harmful, "harmful"))
    )
    calm, harsh = (_sample(texts, seed, size.texts) for texts in (every_benign, every_harmful))

    people = identity_sentences()
    sentences = people["text"].to_list()
    swaps = {
        "texts": _swaps([*every_benign, *every_harmful], seed, size.texts),
        "templates": _swaps(sentences, seed, size.texts),
    }
    dialects = {
        "texts": _paraphrases(every_benign, seed, size.texts),
        "sentences": _paraphrases(SPOKEN, seed, size.texts),
    }
    pairs = {"identity_swap": swaps, "dialect_swap": dialects}
    calm_variants = {family: disguise(calm, family, derive(seed, "benign")) for family in FAMILIES}
    both = [texts for kinds in pairs.values() for pair in kinds.values() for texts in pair]
    scorer.score(calm, harsh, sentences, *both, *calm_variants.values())

    plain = scorer.of(harsh)
    thresholds = {"": HARM_THRESHOLD, MATCHED: _matched_threshold(scorer.of(calm))}
    flagged_somewhere = plain >= min(thresholds.values())
    caught = [text for text, flag in zip(harsh, flagged_somewhere, strict=True) if flag]
    if size.words is None:
        targets = [content_words(text) for text in caught]
    else:
        shortened, spans = without_each(caught, size.probed)
        scorer.score(shortened)
        targets = influential(scorer.of(caught), scorer.of(shortened), spans, size.words)
    variants = {family: disguise(caught, family, derive(seed, "harmful"), targets) for family in FAMILIES}
    frames = {family: framed(harsh, family, seed) for family in FRAMES}
    scorer.score(*variants.values(), *frames.values())

    benign_families = {
        "plain": calm,
        **calm_variants,
        **frames,
        "dialect": dialects["texts"][1],
    }
    # Templates x terms: templates are what is resampled, since the sentences of one template share its words.
    about = {"identity": people} | {
        f"identity_{category}": part for (category,), part in people.group_by("category", maintain_order=True)
    }
    tables = {family: _by_template(scorer, part) for family, part in about.items()}
    for ending, threshold in thresholds.items():
        out.add("recall" + ending, "plain", plain >= threshold)
        freed = {}
        for family, texts in variants.items():
            freed[family] = (scorer.of(texts) < threshold)[scorer.of(caught) >= threshold]
            out.add("evasion" + ending, family, freed[family])
        out.add("evasion_any" + ending, "any", np.any(list(freed.values()), axis=0))
        for family, texts in benign_families.items():
            out.add("false_positive" + ending, family, scorer.of(texts) >= threshold)
        for family, table in tables.items():
            out.add("false_positive" + ending, family, table >= threshold, n=table.size)
        whole = tables["identity"]
        out.add("identity_gap" + ending, "identity", whole >= threshold, _widest_gap, n=whole.size)
    for measure, kinds in pairs.items():
        for family, (before, after) in kinds.items():
            out.add(measure, family, np.abs(scorer.of(after) - scorer.of(before)), np.median)
    out.rows.append((detector.name, "threshold", "plain", thresholds[MATCHED], None, None, len(calm)))
    return pl.DataFrame(out.rows, schema=AUDIT_SCHEMA, orient="row")


def summary(audit: pl.DataFrame) -> dict[str, float]:
    """One detector's audit in a few figures.

    Args:
        audit: what :func:`audit_detector` returned.

    Returns:
        ``mean_evasion`` and ``worst_evasion`` over the families of disguise, ``any_evasion``, ``recall``,
        ``false_positive`` (of plain benign texts), ``counter_speech`` and ``negation`` (their false positives),
        ``identity_false_positive``, ``identity_gap``, ``identity_swap_median`` and ``dialect_swap_median`` (of real
        texts), each share also with the ending ``_matched``. What could not be measured is left out.

    Raises:
        DataError: the frame is of no or of several detectors.
    """
    names = audit["detector"].unique().to_list()
    if len(names) != 1:
        raise DataError(f"a summary is of one detector's audit, this frame has {sorted(names)}: filter it by detector")
    value = {(m, f): v for m, f, v in audit.select("measure", "family", "value").iter_rows() if v is not None}
    found: dict[str, float | None] = {}
    for ending in ("", MATCHED):
        evasion = [v for (measure, _), v in value.items() if measure == "evasion" + ending]
        found["mean_evasion" + ending] = float(np.mean(evasion)) if evasion else None
        found["worst_evasion" + ending] = max(evasion, default=None)
        found["any_evasion" + ending] = value.get(("evasion_any" + ending, "any"))
        found["recall" + ending] = value.get(("recall" + ending, "plain"))
        for name, family in _SUMMED.items():
            found[name + ending] = value.get(("false_positive" + ending, family))
        found["identity_gap" + ending] = value.get(("identity_gap" + ending, "identity"))
    found["identity_swap_median"] = value.get(("identity_swap", "texts"))
    found["dialect_swap_median"] = value.get(("dialect_swap", "texts"))
    return {name: figure for name, figure in found.items() if figure is not None}


_SUMMED = {
    "false_positive": "plain",
    "counter_speech": "counter_speech",
    "negation": "negation",
    "identity_false_positive": "identity",
}


def _by_template(scorer: _Scorer, people: pl.DataFrame) -> np.ndarray:
    """Scores of the neutral sentences, shape (templates, terms)."""
    terms = people.partition_by("term", maintain_order=True)
    return np.stack([scorer.of(part.sort("template")["text"].to_list()) for part in terms], axis=1)


def _widest_gap(values: np.ndarray) -> float:
    """Largest minus smallest mean of the columns."""
    return float(np.ptp(values.mean(axis=0)))


def _usable(frame: pl.DataFrame, name: str, size: AuditSize) -> list[str]:
    """Distinct texts of a usable length, in an order of their own."""
    if "role" in frame.columns and (frame["role"] == "fit").any():
        raise DataError(
            f"{int((frame['role'] == 'fit').sum())} of the {name} texts have the role fit: detectors may have learned "
            "them; audit with the roles calibrate and report"
        )
    length = pl.col("text").str.len_chars()
    texts = frame.filter(length.is_between(size.least_chars, size.most_chars))["text"].unique().sort().to_list()
    if not texts:
        raise DataError(
            f"there is no {name} text of {size.least_chars} to {size.most_chars} characters to audit a detector with; "
            "add a labelled set in the profile (labels.files)"
        )
    return texts


def _sample(texts: Sequence[str], seed: int, most: int) -> list[str]:
    """At most ``most`` texts: those with the smallest hashes, so that one more text changes at most one of them."""
    return sorted(texts, key=lambda text: derive(seed, "sample", text))[:most]


def _swaps(texts: Sequence[str], seed: int, most: int) -> tuple[list[str], list[str]]:
    changed = swap_identity(texts, seed)
    after = dict(zip((texts[i] for i in changed["index"]), changed["text"], strict=True))
    chosen = _sample(list(after), seed, most)
    return chosen, [after[text] for text in chosen]


def _paraphrases(texts: Sequence[str], seed: int, most: int) -> tuple[list[str], list[str]]:
    after = grammatical(texts)
    chosen = _sample(list(after), seed, most)
    return chosen, [after[text] for text in chosen]


def _matched_threshold(benign: np.ndarray) -> float:
    """The least score above which at most ``MATCHED_RATE`` of the benign texts lie, a hair up: >= flags none of it."""
    ranked = np.sort(benign)[::-1]
    return float(np.nextafter(ranked[int(MATCHED_RATE * ranked.size)], np.inf))
