"""A cascade: a cheap detector scores every text, an expensive one only those of which the cheap one is in doubt.

The cheap score is read as a chance that the expensive detector would flag the text (Platt 1999); the doubt about a text
is the chance of the less likely flag. How much doubt is let pass is set on a calibration sample by fixed-sequence
testing (Learn then Test: Angelopoulos, Bates, Candes, Jordan and Lei 2021, arXiv:2110.01052; for a monotone loss the
same as risk-controlling prediction sets, Bates et al. 2021, arXiv:2101.02703). The hypothesis at each limit of doubt is
that more than alpha of all texts get another flag than the expensive detector's; the number of changed flags among n
texts is binomial, so a limit passes where P(Binomial(n, alpha) <= changed) <= delta. Limits are tested from no doubt up
until one fails. Then, with probability 1 - delta over the calibration sample and whatever the cheap detector is worth,
at most alpha of the texts *drawn like the sample* change their flag. The share is one over all texts, not within each
source or group; and texts of another kind ask for another sample.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import scipy
from pydantic import Field

from curation_pipeline.annotate.detectors.protocol import DECIMALS, Detector, score_frame
from curation_pipeline.annotate.detectors.registry import DetectorSpec, Opening
from curation_pipeline.annotate.detectors.student import StudentDetector, fit_student, student_from
from curation_pipeline.annotate.detectors.windows import windows
from curation_pipeline.annotate.files import load_arrays, save_arrays
from curation_pipeline.errors import ConfigError, DataError
from curation_pipeline.progress import Progress
from curation_pipeline.seeds import generator
from curation_pipeline.settings import Settings

NAME = "cascade"
HEADS = ("cascade", "cascade_asked")
"""The score, and 1 where the expensive detector gave it."""
KIND = "cascade"
VERSION = 1
STEPS = 10**DECIMALS
"""A score is a whole number of these steps: decisions are made on integers, alike on every machine."""
LEAST_TEXTS = 100
WORTHWHILE = 0.1
"""A cascade that spares the expensive detector less than this share of the characters does not pay."""


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


@dataclass(frozen=True, slots=True, eq=False)
class Cascade:
    """Fitted limits of doubt, and the student where one was fitted.

    Attributes:
        low: cheap scores of at most this many steps mean "not flagged"; -1 where none does.
        high: cheap scores of at least this many steps mean "flagged"; ``STEPS`` + 1 where none does.
        slope, offset: chance that the expensive detector flags = logistic(slope * logit(cheap score) + offset).
        threshold: headline score from which the expensive detector flags.
        student: the cheap detector, where it was fitted with the cascade.
        cheap, expensive: name and version of the detectors that it was fitted for.
        facts: what was measured while fitting.
    """

    low: int
    high: int
    slope: float
    offset: float
    threshold: float
    student: StudentDetector | None
    cheap: str
    expensive: str
    facts: dict[str, Any]

    @property
    def version(self) -> str:
        """Hash of all that the scores depend on besides the texts."""
        return hashlib.sha256(json.dumps(self._identity(), sort_keys=True).encode()).hexdigest()[:16]

    def _identity(self) -> dict[str, Any]:
        names = ("low", "high", "slope", "offset", "threshold", "cheap", "expensive")
        return {"code": VERSION, **{name: getattr(self, name) for name in names}}

    def save(self, directory: Path) -> None:
        """Write to a folder: arrays as safetensors, all else as JSON."""
        arrays = {} if self.student is None else self.student.arrays()
        save_arrays(directory, arrays, {"kind": KIND, **self._identity(), "facts": self.facts})


def load_cascade(directory: Path) -> Cascade:
    """What ``Cascade.save`` wrote.

    Raises:
        MissingModelError: the folder does not hold it.
        DataError: it is of another version.
    """
    arrays, meta = load_arrays(directory)
    if meta.pop("kind", None) != KIND or meta.pop("code", None) != VERSION:
        raise DataError(f"{directory} holds no cascade of version {VERSION}; fit it again")
    return Cascade(student=student_from(arrays) if arrays else None, **meta)


@dataclass(frozen=True, slots=True, eq=False)
class CascadeDetector:
    """A cascade with its two detectors, loaded.

    Attributes:
        cascade: the fitted limits.
        cheap: scores every text; None for the cascade's own student.
        expensive: scores the texts in doubt.
    """

    cascade: Cascade
    cheap: Detector | None
    expensive: Detector
    name: str = NAME
    heads: tuple[str, ...] = HEADS

    def __post_init__(self) -> None:
        """Refuse other detectors than those the limits were calibrated for.

        Raises:
            ConfigError: when a detector is missing or another one.
        """
        for wanted, given in ((self.cascade.cheap, self._scorer()), (self.cascade.expensive, self.expensive)):
            if label(given) != wanted:
                raise ConfigError(f"the cascade was fitted for {wanted}, not {label(given)}; fit it again")

    @property
    def version(self) -> str:
        """The cascade's, which includes both detectors'."""
        return self.cascade.version

    def _scorer(self) -> Detector:
        cheap = self.cheap or self.cascade.student
        if cheap is None:
            raise ConfigError(f"the cascade has no student of its own; it needs the detector {self.cascade.cheap}")
        return cheap

    def score(self, texts: Sequence[str], progress: Progress | None = None) -> pl.DataFrame:
        """The score, and who decided, a row a text.

        Where the cheap detector decides, the score is the chance that the expensive one flags the text, brought to the
        side of the threshold on which the flag lies; where the expensive one does, it is its own score.
        """
        steps = _steps(_headline(self._scorer(), texts, progress))
        scores = _guess(self.cascade, steps)
        asked = (steps > self.cascade.low) & (steps < self.cascade.high)
        if asked.any():
            rows = np.flatnonzero(asked)
            scores[rows] = _headline(self.expensive, [texts[row] for row in rows.tolist()], progress)
        return score_frame(np.column_stack([scores, asked]), HEADS)


def fit_cascade(
    texts: Sequence[str],
    expensive: Detector,
    cheap: Detector | None,
    settings: CascadeSettings,
    seed: int,
    progress: Progress | None = None,
) -> Cascade:
    """Fit a cascade on a sample of the texts that it will score.

    Args:
        texts: drawn at random from the corpus; as many as the three samples of the settings say are used, and fewer
            are divided in the same proportion.
        expensive: the detector to be spared; scores every text that is used, once.
        cheap: a detector that is there already, or None to fit a student of the expensive one.
        settings: share, confidence, samples.
        seed: of the division and the folds.
        progress: told how far the scoring is.

    Returns:
        The cascade. Where the calibration sample is too small for any limit, all texts go to the expensive detector;
        ``facts`` then says that it does not pay.

    Raises:
        DataError: fewer than ``LEAST_TEXTS`` texts.
    """
    fit, calibration, test = ([texts[row] for row in part.tolist()] for part in _divide(len(texts), settings, seed))
    if cheap is None:
        fit = _excerpts(fit, settings.student_words, seed)
    scores = _headline(expensive, [*fit, *calibration, *test], progress)
    learned, calibrated, tested = np.split(scores, np.cumsum([len(fit), len(calibration)]))
    student: StudentDetector | None = None
    learning: dict[str, Any] = {}
    if cheap is None:
        fold = generator(seed, "cascade", "folds").permutation(len(fit)) % settings.folds
        target = np.clip(learned, 1 / STEPS, 1 - 1 / STEPS)  # a detector that flags nothing can be imitated too
        student, unseen, learning = fit_student(pl.Series(fit), target, settings.bits, settings.inverse_penalty, fold)
    else:
        unseen = _headline(cheap, fit, progress)
    scorer = cheap or student
    assert scorer is not None
    slope, offset = _chance_of_flag(_steps(unseen), _flagged(learned, settings.threshold))
    chance = scipy.special.expit(slope * _logit(np.arange(STEPS + 1)) + offset)
    steps, flags = _steps(_headline(scorer, calibration, progress)), _flagged(calibrated, settings.threshold)
    allowed = most_changed(len(flags), settings.max_changed, 1.0 - settings.confidence)
    low, high = _limits(chance, steps, flags, allowed)
    cascade = Cascade(low, high, slope, offset, settings.threshold, student, label(scorer), label(expensive), {})
    measured: dict[str, Any] = {
        "calibration": {**_measured(cascade, calibration, steps, flags), "changed_allowed": allowed}
    }
    if test:
        steps, flags = _steps(_headline(scorer, test, progress)), _flagged(tested, settings.threshold)
        measured["test"] = _measured(cascade, test, steps, flags)
    spared = 1.0 - measured["calibration"]["asked_characters"]
    pays = spared >= WORTHWHILE
    verdict = f"spares {label(expensive)} {spared:.1%} of the characters" + ("" if pays else "; it does not pay")
    facts = {"max_changed": settings.max_changed, "confidence": settings.confidence, "pays": pays, "verdict": verdict}
    return replace(cascade, facts={**facts, **measured, "student": learning})


def most_changed(n: int, share: float, delta: float) -> int:
    """Most changed flags among n texts at which a share above ``share`` is refuted at level delta; -1 if none is."""
    from scipy.stats import binom

    passing = np.flatnonzero(binom.cdf(np.arange(int(n * share) + 1), n, share) <= delta) if n else np.empty(0)
    return int(passing[-1]) if len(passing) else -1


def label(detector: Detector) -> str:
    """Name and version of a detector."""
    return f"{detector.name} {detector.version}"


def _divide(n: int, settings: CascadeSettings, seed: int) -> list[np.ndarray]:
    """Rows to learn from, to calibrate on and to test on, at random."""
    if n < LEAST_TEXTS:
        raise DataError(f"a cascade needs at least {LEAST_TEXTS} texts of the corpus to be fitted on, not {n}")
    sizes = np.array([settings.student_sample, settings.calibration_sample, settings.test_sample], dtype=np.float64)
    sizes *= min(1.0, n / sizes.sum())
    order = generator(seed, "cascade", "division").permutation(n)
    ends = np.cumsum(sizes.astype(np.int64))
    return [order[: ends[0]], order[ends[0] : ends[1]], order[ends[1] : ends[2]]]


def _excerpts(texts: Sequence[str], words: int, seed: int) -> list[str]:
    """One window of each text, at random: with the same work, the student learns from more texts than whole ones.

    Only what is learned from may be cut; the guarantee rests on whole texts of the calibration sample.
    """
    random = generator(seed, "cascade", "excerpts")
    cuttings = (list(windows(text, words, 0)) for text in texts)
    return [cutting[int(random.integers(len(cutting)))] for cutting in cuttings]


def _headline(detector: Detector, texts: Sequence[str], progress: Progress | None) -> np.ndarray:
    """The headline as float64; no detector is ever asked about nothing."""
    if not len(texts):
        return np.empty(0)
    return detector.score(texts, progress)[detector.heads[0]].to_numpy().astype(np.float64)


def _steps(scores: np.ndarray) -> np.ndarray:
    """Scores as whole numbers of steps, int64."""
    return np.asarray(np.rint(np.asarray(scores) * STEPS), dtype=np.int64)


def _flagged(scores: np.ndarray, threshold: float) -> np.ndarray:
    return np.asarray(_steps(scores) >= round(threshold * STEPS))


def _logit(steps: np.ndarray) -> np.ndarray:
    """Log-odds of cheap scores; 0 and 1 stand half a step away from their neighbours."""
    return np.asarray(scipy.special.logit(np.clip(steps / STEPS, 0.5 / STEPS, 1.0 - 0.5 / STEPS)))


def _guess(cascade: Cascade, steps: np.ndarray) -> np.ndarray:
    """The score in place of the expensive one's where the cheap detector decides."""
    chance = scipy.special.expit(cascade.slope * _logit(steps) + cascade.offset)
    t = cascade.threshold
    scaled = np.where(chance < 0.5, 2.0 * t * chance, t + (2.0 * chance - 1.0) * (1.0 - t))
    return np.asarray(np.where(chance < 0.5, np.minimum(scaled, t - 1.0 / STEPS), np.maximum(scaled, t)))


def _chance_of_flag(steps: np.ndarray, flags: np.ndarray) -> tuple[float, float]:
    """Platt's slope and offset, with his smoothed targets; the slope is not negative, so that order is kept."""
    from scipy.optimize import minimize

    n_flagged = int(flags.sum())
    target = np.where(flags, (n_flagged + 1) / (n_flagged + 2), 1 / (len(flags) - n_flagged + 2))
    x = _logit(steps)

    def loss(parameters: np.ndarray) -> tuple[float, np.ndarray]:
        z = parameters[0] * x + parameters[1]
        error = (scipy.special.expit(z) - target) / len(x)
        return float((np.logaddexp(0.0, z) - target * z).mean()), np.array([error @ x, error.sum()])

    found = minimize(loss, np.array([1.0, 0.0]), jac=True, method="L-BFGS-B", bounds=[(0.0, 50.0), (None, None)])
    return float(found.x[0]), float(found.x[1])


def _limits(chance: np.ndarray, steps: np.ndarray, flags: np.ndarray, allowed: int) -> tuple[int, int]:
    """The widest limits that the calibration sample lets pass.

    Args:
        chance: (STEPS + 1,) of a flag at each cheap score, not falling.
        steps: (n,) cheap scores of the calibration sample.
        flags: (n,) the expensive detector's flags.
        allowed: changed flags among them that are allowed, -1 for no limit at all.

    Returns:
        ``low`` and ``high`` of a cascade.
    """
    if allowed < 0:
        return -1, STEPS + 1
    doubt = np.minimum(chance, 1.0 - chance)
    wrong = np.sort(doubt[steps[(chance[steps] >= 0.5) != flags]])
    # The sequence of limits is the doubt at each possible score, known before the sample is seen. The changed flags
    # grow along it, so the first limit to fail is the first that lets more of them pass than are allowed.
    limits = np.unique(doubt)
    passing = limits[np.searchsorted(wrong, limits, side="right") <= allowed]
    if not len(passing):
        return -1, STEPS + 1
    sure = doubt <= passing[-1]
    low = np.flatnonzero(sure & (chance < 0.5))
    high = np.flatnonzero(sure & (chance >= 0.5))
    return int(low[-1]) if len(low) else -1, int(high[0]) if len(high) else STEPS + 1


def _measured(cascade: Cascade, texts: Sequence[str], steps: np.ndarray, flags: np.ndarray) -> dict[str, Any]:
    """Changed flags and work left to the expensive detector on a sample."""
    from scipy.stats import beta

    n = len(texts)
    asked = (steps > cascade.low) & (steps < cascade.high)
    guessed = _flagged(_guess(cascade, steps), cascade.threshold) if n else np.empty(0, dtype=bool)
    changed = int((~asked & (guessed != flags)).sum())
    characters = np.array([len(text) for text in texts], dtype=np.float64)
    interval = [
        float(beta.ppf(0.025, changed, n - changed + 1)) if changed else 0.0,
        float(beta.ppf(0.975, changed + 1, n - changed)) if changed < n else 1.0,
    ]
    return {
        "texts": n,
        "flagged": int(flags.sum()),
        "changed": changed,
        "changed_share": changed / max(n, 1),
        "changed_interval_95": interval,
        "changed_by_cheap_alone": int((guessed != flags).sum()),
        "asked_share": float(asked.mean()) if n else 0.0,
        "asked_characters": float(characters[asked].sum() / max(characters.sum(), 1.0)),
    }


def _components(settings: CascadeSettings) -> tuple[str, ...]:
    return tuple(name for name in (settings.cheap, settings.expensive) if name is not None)


def _open(settings: CascadeSettings, opening: Opening) -> CascadeDetector:
    cheap = None if settings.cheap is None else opening.open_other(settings.cheap)
    return CascadeDetector(load_cascade(opening.folder), cheap, opening.open_other(settings.expensive))


DETECTORS = (
    DetectorSpec(
        name=NAME,
        version=str(VERSION),
        source="calibrated here on a sample of the corpus",
        settings=CascadeSettings,
        section="cascade",
        components=_components,
        open=_open,
        cuts_windows=True,
        cheap=True,  # its two detectors have a score cache each
    ),
)
