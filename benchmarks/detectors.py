"""Does the ensemble know harm better than each detector by itself, and is it fairer? On human labels held out of all.

    python benchmarks/detectors.py --data FOLDER [--encoder minilm] [--blind DETECTOR ...] [--quick] [--out FILE]

FOLDER holds published sets in their publishers' own files, laid out as ``corpus/edos/edos_labelled_aggregated.csv`` and
so on (`SETS`); they are not part of this project. Impermium comes from its package, whose terms one accepts by running
this. Everything is fitted on role ``fit``, stacked and calibrated on role ``calibrate`` and judged on role ``report``.
Each set is judged by the axis that it labels. Differences are paired bootstraps over texts.

Prints and writes: AUROC and calibration error beside every single detector; false positives by identity term on the
Wikipedia templates; BPSN and calibration error by group; how far a score moves when the group in a text is swapped;
preference accuracy of the alignment head beside length alone and toxicity alone.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from detectors_report import draw, summary

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np
    import polars as pl

    from curation_pipeline.annotate.detectors.protocol import Detector
    from curation_pipeline.datasets.settings import LabelledFile
    from curation_pipeline.reward.composite import RewardModel

ROOT = Path(__file__).parents[1]
SETS = {
    "edos": ("edos", "corpus/edos/edos_labelled_aggregated.csv"),
    "davidson": ("davidson", "corpus/davidson/labeled_data.csv"),
    "paradetox": ("paradetox", "corpus/paradetox/paradetox.tsv"),
    "diasafety": ("diasafety", "corpus/diasafety"),
    "toxigen": ("toxigen", "benchmarks/toxigen_annotated/toxigen.csv"),
    "wiki_talk": ("wiki_talk", "corpus/wiki_toxicity_testsets/toxicity_nonfuzzed_testset.csv"),
    "wiki_templates": ("wiki_templates", "corpus/wiki_toxicity_testsets/bias_madlibs_77k.csv"),
    "hh_rlhf": ("hh_rlhf", "benchmarks/hh_rlhf/test.jsonl.gz"),
}
TEACHERS = ("alt_profanity", "harm_head", "bias_head", "subtle_head")
TEMPLATES = 16_000
SWAPS = 400
SEED = 7


def files(data: Path) -> tuple[LabelledFile, ...]:
    """The labelled files of the folder, as a profile would name them."""
    from curation_pipeline.datasets.settings import LabelledFile

    found = []
    for name, (form, path) in SETS.items():
        if not (data / path).exists():
            raise SystemExit(f"{data / path} is not there: give the folder of the published sets with --data")
        found.append(LabelledFile.model_validate({"name": name, "format": form, "path": str(data / path)}))
    return tuple(found)


def sampled(labels: pl.DataFrame, quick: bool) -> pl.DataFrame:
    """All labels but most of the templates; a tenth of everything for a quick try."""
    import polars as pl

    from curation_pipeline.seeds import unit_hash

    unit = pl.Series("_u", unit_hash(labels["text_id"], SEED), dtype=pl.Float64)
    templates = pl.col("dataset") == "wiki_templates"
    share = min(1.0, TEMPLATES / max(labels.filter(templates).height, 1))
    limit = pl.when(templates).then(share).otherwise(1.0) * (0.1 if quick else 1.0)
    return labels.with_columns(unit).filter(pl.col("_u") < limit).drop("_u")


def detectors(labels: pl.DataFrame, encoder: str | None, blind: Sequence[str]) -> dict[str, Detector]:
    """The teachers as a profile opens them, and two for comparison: alt_profanity as it is, and the judge."""
    import tempfile

    from curation_pipeline.annotate.detectors.head import HeadSettings, fit_head, head_rows
    from curation_pipeline.annotate.detectors.identity_blind import IdentityBlindDetector
    from curation_pipeline.annotate.detectors.registry import Making, find_detector, load_detector
    from curation_pipeline.annotate.detectors.windows import WindowedDetector
    from curation_pipeline.annotate.encoder import load_encoder
    from curation_pipeline.annotate.identity_terms import without_groups
    from curation_pipeline.annotate.settings import AnnotateSettings
    from curation_pipeline.config import cache_folder

    models = Path(tempfile.mkdtemp())
    heads = HeadSettings(encoder=encoder)
    settings = AnnotateSettings(heads=heads)
    for name in ("alt_profanity", "tox_block"):
        find_detector(name).make(None, Making(name, models / name, cache_folder()))
    packaged = {name: load_detector(name, settings, models) for name in ("alt_profanity", "tox_block")}
    frozen = load_encoder(heads, cache_folder()) if encoder else None
    blinded = "alt_profanity" in blind
    found: dict[str, Detector] = {
        "alt_profanity": IdentityBlindDetector(packaged["alt_profanity"]) if blinded else packaged["alt_profanity"],
        "alt_profanity as it is": packaged["alt_profanity"],
        "tox_block as it is": packaged["tox_block"],
    }
    for name in TEACHERS[1:]:
        rows = head_rows(name, labels, heads)
        groups = rows["group"].fill_null("").to_numpy()
        started = time.perf_counter()
        texts = without_groups(rows["text"]) if name in blind else rows["text"]
        head = fit_head(name, texts, rows["label"].to_numpy(), rows["dataset"].to_numpy(), groups, SEED, heads, frozen)
        print(f"fitted {name} on {rows.height} texts in {time.perf_counter() - started:.0f} s", flush=True)
        found[name] = IdentityBlindDetector(head) if name in blind else head
    return {name: WindowedDetector(detector) for name, detector in found.items()}


def scores(every: dict[str, Detector], texts: pl.Series) -> pl.DataFrame:
    """The headline of each detector, a column each."""
    import polars as pl

    rows = texts.to_list()
    return pl.DataFrame({name: detector.score(rows)[detector.heads[0]] for name, detector in every.items()})


def p_of(model: RewardModel, labels: pl.DataFrame, scored: pl.DataFrame, axis: str, vectors: np.ndarray) -> np.ndarray:
    """P(harm) of one axis for labelled texts."""
    from curation_pipeline.reward.safety import as_documents

    return model.safety.p_harm_labelled(as_documents(labels, scored.select(TEACHERS)), axis, vectors)


def beside_single(
    labels: pl.DataFrame, scored: pl.DataFrame, p: np.ndarray, tuned: tuple[pl.DataFrame, pl.DataFrame], resamples: int
) -> dict[str, Any]:
    """The ensemble beside every detector on one set: areas and calibration errors with paired intervals."""
    from curation_pipeline.reward.calibration import fit_calibrator
    from curation_pipeline.reward.metrics import auroc, bootstrap, expected_calibration_error, paired_bootstrap

    y = labels["label"].to_numpy()
    own, error = bootstrap(auroc, p, y, SEED, resamples), bootstrap(expected_calibration_error, p, y, SEED, resamples)
    out: dict[str, Any] = {"n": len(y), "auroc": shown(own), "ece": shown(error), "single": {}}
    for name in scored.columns:
        s = scored[name].to_numpy().astype(float)
        gain = paired_bootstrap(auroc, p, s, y, SEED, resamples)
        saved = paired_bootstrap(expected_calibration_error, p, s, y, SEED, resamples)
        entry = {
            "auroc": round(auroc(s, y), 4),
            "ece": round(expected_calibration_error(s, y), 4),
            "benign_flagged": round(float((s >= 0.5)[y < 0.5].mean()), 4),
            "auroc_gain": shown(gain),
            "ece_difference": shown(saved),
        }
        if tuned[0].height >= 50:
            calibrate = fit_calibrator(tuned[1][name].to_numpy().astype(float), tuned[0]["label"].to_numpy())
            entry["ece_when_calibrated_alike"] = round(expected_calibration_error(calibrate(s), y), 4)
        out["single"][name] = entry
    return out


def shown(found: Any) -> list[float]:
    """Value, low and high of an estimate, rounded."""
    return [round(float(value), 4) for value in (found.value, found.low, found.high)]


def identity(model: RewardModel, labels: pl.DataFrame, scored: pl.DataFrame, vectors: np.ndarray) -> dict[str, Any]:
    """False positives by identity term on the templates: the widest gap of each detector and of the ensemble."""
    import polars as pl

    from curation_pipeline.reward.metrics import auroc

    rows = labels.with_row_index("_i").filter(pl.col("dataset") == "wiki_templates")
    at = rows["_i"].to_numpy()
    y, own = rows["label"].to_numpy(), scored[at]
    columns = {name: own[name].to_numpy() for name in own.columns}
    columns["ensemble"] = p_of(model, rows.drop("_i"), own, "toxicity", vectors[at])
    out: dict[str, Any] = {"n": rows.height, "terms": rows["group"].n_unique()}
    for name, value in columns.items():
        harmless = pl.DataFrame({"term": rows["group"], "flagged": value >= 0.5}).filter(pl.Series(y < 0.5))
        rates = harmless.group_by("term").agg(pl.col("flagged").mean().alias("rate"), pl.len().alias("n"))
        rates = rates.drop_nulls("term").filter(pl.col("n") >= 20).sort(["rate", "term"], descending=[True, False])
        out[name] = {
            "gap": round(rates["rate"][0] - rates["rate"][-1], 4),
            "spread_sd": round(float(rates["rate"].std()), 4),  # type: ignore[arg-type]
            "worst_term": rates["term"][0],
            "auroc": round(auroc(value.astype(float), y), 4),
            "recall": round(float((value >= 0.5)[y >= 0.5].mean()), 4),
        }
    return out


def swaps(model: RewardModel, labels: pl.DataFrame, every: dict[str, Detector], vectoriser: Any) -> dict[str, Any]:
    """Median change of the ensemble's P(harm) and of each score when the group in a text is swapped, by set."""
    import polars as pl

    from curation_pipeline.annotate.redteam.swap import swap_identity
    from curation_pipeline.reward.metrics import bootstrap

    axis_of = {name: axis.name for axis in model.safety.axes for name in axis.datasets}
    out: dict[str, Any] = {}
    for (dataset,), part in labels.filter(pl.col("role") == "report").group_by("dataset", maintain_order=True):
        if dataset not in axis_of:
            continue
        changed = swap_identity(part["text"].to_list(), SEED).head(SWAPS)
        if changed.height < 30:
            continue
        before = part[changed["index"].to_numpy()]
        after = before.with_columns(changed["text"])
        first, second = (scores(every, frame["text"]) for frame in (before, after))
        p = [
            p_of(model, frame, scored, axis_of[str(dataset)], vectoriser.transform(frame["text"]))
            for frame, scored in ((before, first), (after, second))
        ]
        sides = {"ensemble": (p[0], p[1])}
        sides |= {name: (first[name].to_numpy(), second[name].to_numpy()) for name in first.columns}
        out[str(dataset)] = {"n": changed.height} | {
            name: shown(bootstrap(lambda change, _: float(np.median(change)), abs(b - a), a, SEED))
            for name, (a, b) in sides.items()
        }
    return out


def measure(data: Path, encoder: str | None, blind: Sequence[str], quick: bool) -> dict[str, Any]:
    """All figures."""
    import numpy as np
    import polars as pl

    from curation_pipeline.annotate.redteam.measure import audit_detector
    from curation_pipeline.annotate.redteam.texts import audit_texts
    from curation_pipeline.annotate.toxicity import axis_of_detector
    from curation_pipeline.annotate.vectors import fit_vectors
    from curation_pipeline.config import cache_folder
    from curation_pipeline.datasets.labelled import axis_of, labelled_sets
    from curation_pipeline.datasets.preferences import preference_sets
    from curation_pipeline.reward.fitting import fit_reward, preference_pairs
    from curation_pipeline.reward.quality import reward_quality
    from curation_pipeline.reward.settings import RewardSettings

    resamples = 50 if quick else 400
    given = files(data)
    labels = sampled(labelled_sets(cache_folder(), frozenset({"impermium"}), given), quick)
    axes = {name: str(axis_of(name, given)) for name in labels["dataset"].unique().sort()}
    every = detectors(labels, encoder, blind)
    scored = scores(every, labels["text"])
    vectoriser = fit_vectors(labels.filter(pl.col("role") == "fit")["text"], SEED)
    vectors = vectoriser.transform(labels["text"])
    print("scored", flush=True)
    audits = []
    known = set(axes)
    for name in TEACHERS:
        own = sorted(key for key, axis in axes.items() if axis == axis_of_detector(name) and key != "wiki_templates")
        calm = ["impermium", "wiki_talk", "paradetox"] if axis_of_detector(name) == "toxicity" else own
        benign, harmful = audit_texts(labels, own, sorted(set(calm) & known), SEED)
        audits.append(audit_detector(every[name], benign, harmful, SEED))
    audit = pl.concat(audits)
    pairs_frame = preference_sets(given, labels)
    sides = [pairs_frame[side].alias("text") for side in ("preferred", "dispreferred")]
    side_scores = [scores({name: every[name] for name in TEACHERS}, side) for side in sides]
    side_vectors = [vectoriser.transform(side) for side in sides]
    pairs = preference_pairs(pairs_frame, (side_vectors[0], side_vectors[1]), (side_scores[0], side_scores[1]))
    lengths = tuple(side.str.len_chars().to_numpy() for side in sides)
    settings = RewardSettings(
        axes=("toxicity", "bias", "subtle"),
        alignment_datasets=("redditbias", "pyrit_harm", "diasafety"),
        alignment_features=("vectors", "bias_head", "subtle_head"),
    )
    heads = {name: [key for key, axis in axes.items() if axis == axis_of_detector(name)] for name in TEACHERS[1:]}
    # The templates are judged and never stacked on: they are all of role report.
    model = fit_reward(
        labels, scored.select(TEACHERS), vectors, settings, SEED, audit=audit, preferences=pairs,
        trained_on=heads, dataset_axes=axes,
    )  # fmt: skip
    print("fitted the reward", flush=True)
    found: dict[str, Any] = {"sets": {}}
    fitted = {name: axis.name for axis in model.safety.axes for name in axis.datasets}
    for name, axis in sorted(fitted.items()):
        at = np.flatnonzero(((labels["dataset"] == name) & (labels["role"] == "report")).to_numpy())
        tune = np.flatnonzero(((labels["dataset"] == name) & (labels["role"] == "calibrate")).to_numpy())
        p = p_of(model, labels[at], scored[at], axis, vectors[at])
        found["sets"][name] = {"axis": axis} | beside_single(
            labels[at], scored[at], p, (labels[tune], scored[tune]), resamples
        )
    found["identity_templates"] = identity(model, labels, scored, vectors)
    found["identity_swaps"] = swaps(model, labels, every, vectoriser)
    quality = reward_quality(
        model, labels.filter(pl.col("dataset") != "wiki_templates"), *_without_templates(labels, scored, vectors),
        settings, SEED, preferences=pairs, preference_lengths=(lengths[0], lengths[1]), dataset_axes=axes,
    )  # fmt: skip
    found["groups"] = [
        row for row in quality.filter(pl.col("metric").is_in(["bpsn_auc", "ece"]) & (pl.col("group") != "")).to_dicts()
    ]
    found["preferences"] = quality.filter(pl.col("part") == "preference").to_dicts()
    found["red_team"] = {
        name: {
            measure: round(float(part["value"].mean()), 4)  # type: ignore[arg-type]
            for (measure,), part in audit.filter(pl.col("detector") == name)
            .drop_nulls("value")
            .group_by("measure", maintain_order=True)
        }
        for name in TEACHERS
    }
    return found


def _without_templates(labels: pl.DataFrame, scored: pl.DataFrame, vectors: np.ndarray) -> tuple[pl.DataFrame, Any]:
    keep = (labels["dataset"] != "wiki_templates").to_numpy()
    return scored.select(TEACHERS).filter(keep), vectors[keep]


def main() -> None:
    """See the module's docstring."""
    from curation_pipeline.annotate.settings import AnnotateSettings

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--data", type=Path, default=ROOT / "../shared/data")
    parser.add_argument("--encoder", default=None, help="minilm, a folder or a hub id; none by default")
    parser.add_argument(
        "--blind", nargs="*", default=list(AnnotateSettings().identity_blind), help="detectors that cannot see groups"
    )
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks/detectors.json")
    options = parser.parse_args()
    started = time.perf_counter()
    found = measure(options.data, options.encoder, options.blind, options.quick)
    found |= {
        "runs": 1,
        "encoder": options.encoder,
        "identity_blind": options.blind,
        "seconds": round(time.perf_counter() - started),
        "python": platform.python_version(),
    }
    options.out.write_text(json.dumps(found, indent=1, allow_nan=True) + "\n", encoding="utf-8")
    draw(found, options.out.with_suffix(".png"))
    print("\n".join(summary(found)))


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    main()
