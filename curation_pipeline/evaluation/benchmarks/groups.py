"""How well a model reads what people write about groups, and what they write in a dialect: bits per byte.

A filter that drops text about or by a group leaves a model that reads that group worse (Xu et al., 2021; Welbl et al.,
2021). Held-out text shows it as it is; sentences that differ in the group alone show it without what else differs.
"""

from __future__ import annotations

import math

import numpy as np
import polars as pl

from curation_pipeline.annotate.dialect import VARIETIES, dialect
from curation_pipeline.annotate.identity import NONE, identity_group
from curation_pipeline.annotate.redteam.paraphrase import grammatical
from curation_pipeline.annotate.redteam.sentences import SPOKEN, TEMPLATES, TERMS, article
from curation_pipeline.bootstrap import Bootstrap, ratios
from curation_pipeline.evaluation.benchmark import Benchmark, Run
from curation_pipeline.evaluation.benchmarks.heldout import MIN_TEXTS
from curation_pipeline.evaluation.group_gap import gap_of_groups
from curation_pipeline.evaluation.likelihood import continuation_likelihood, text_likelihood
from curation_pipeline.evaluation.rows import Metric

NAME = "groups"
_MIN_REST = 15


def heldout_group_metrics(heldout: pl.DataFrame, scores: pl.DataFrame, bootstrap: Bootstrap) -> list[Metric]:
    """Bits per byte of benign held-out text that mentions a group or is written in a variety.

    - ``bits_per_byte/<group or dialect>``: over all such texts;
    - ``excess_bits/<...>``: theirs less those of the other texts of the same source, mean over the sources that have at
      least 8 of both; lower is better. Inside sources, since groups are not spoken of in every register alike.

    What has fewer than 8 texts gives no row.

    Args:
        heldout: rows with doc_id and text.
        scores: the frame of ``likelihood.heldout_scores`` for them.
        bootstrap: how intervals are made; texts are resampled.
    """
    texts = heldout.select("doc_id", "text").with_columns(identity_group("text"))
    texts = texts.hstack(dialect(texts["text"]).select(pl.col(pl.Boolean)))
    rows = scores.filter(pl.col("kind") == "benign").join(texts, on="doc_id").sort("doc_id")
    marks = {f"identity_{name}": rows["identity_group"] == name for name in sorted(rows["identity_group"].unique())}
    marks.pop(f"identity_{NONE}", None)
    marks |= {f"dialect_{name}": rows[f"dialect_{name}"] for name in VARIETIES}
    source = rows["source"].to_numpy()
    bits, size = rows["nll"].to_numpy() / math.log(2), rows["n_bytes"].to_numpy().astype(np.float64)
    found: list[Metric] = []
    for name, mark in marks.items():
        inside = mark.to_numpy().astype(bool)
        if inside.sum() < MIN_TEXTS:
            continue
        whole = bootstrap.macro([(bits[inside], size[inside])], NAME, name)
        found.append(Metric(NAME, f"bits_per_byte/{name}", whole, "capability", False))
        values, draws, n = [], [], 0
        rng = bootstrap.rng(NAME, "excess", name)
        for place in sorted(set(source.tolist())):
            sides = [(source == place) & inside, (source == place) & ~inside]
            if min(int(side.sum()) for side in sides) < MIN_TEXTS:
                continue
            values.append(np.subtract(*(bits[side].sum() / size[side].sum() for side in sides)))
            resampled = [ratios(bits[side], size[side], rng, bootstrap.resamples) for side in sides]
            draws.append(resampled[0] - resampled[1])
            n += sum(int(side.sum()) for side in sides)
        if values:
            shown = bootstrap.interval(float(np.mean(values)), np.mean(draws, axis=0), n)
            found.append(Metric(NAME, f"excess_bits/{name}", shown, "bias", False))
    return found


def sentence_metrics(run: Run) -> list[Metric]:
    """Bits per byte of neutral sentences that differ in the group alone, and of one sentence in two dialects.

    - ``after_mention/<category>``: of what follows a mention of the group, over the same templates for every group, so
      neither how rare the group's name is nor what is said makes a difference; lower is better;
    - ``after_mention_gap``: largest minus smallest of these, ``after_mention_gap_chance`` with groups shuffled;
    - ``dialect_excess``: of neutral sentences rewritten in African American English less the same in the standard;
      lower is better. Some of it is spelling that tokenisers know less well.

    Intervals resample terms, and sentences for the dialect.
    """
    bootstrap = run.bootstrap
    mentions = [_mention(template) for template in TEMPLATES]
    used = [(before, after, place) for before, place, after in mentions if len(after) >= _MIN_REST]
    contexts, rests = [], []
    for term in TERMS:
        names = {"one": f"{article(term.one)} {term.one}", "many": term.many}
        for before, after, place in used:
            context = before + names[place]
            contexts.append(context[0].upper() + context[1:])
            rests.append(after)
    found = continuation_likelihood(run.lm, contexts, rests, run.batch_tokens)
    bits = (-found.per_byte / math.log(2)).reshape(len(TERMS), len(used)).mean(axis=1)
    category = np.array([term.category for term in TERMS])
    rows = []
    for name in sorted(set(category.tolist())):
        shown = bootstrap.mean(bits[category == name], NAME, "after_mention", name)
        rows.append(Metric(NAME, f"after_mention/{name}", shown, "bias", False))
    gap, chance = gap_of_groups(bits, category, bootstrap, NAME)
    rows.append(Metric(NAME, "after_mention_gap", gap, "bias", False))
    rows.append(Metric(NAME, "after_mention_gap_chance", chance, "bias", False))
    pairs = grammatical(SPOKEN)
    per_byte = text_likelihood(run.lm, [*pairs.values(), *pairs.keys()], run.batch_tokens).per_byte.reshape(2, -1)
    excess = (per_byte[1] - per_byte[0]) / math.log(2)
    rows.append(Metric(NAME, "dialect_excess", bootstrap.mean(excess, NAME, "dialect"), "bias", False))
    return rows


def _mention(template: str) -> tuple[str, str, str]:
    """The text before a mention, whether of one person or of many, and the text after it."""
    place = "one" if "{one}" in template else "many"
    before, after = template.split(f"{{{place}}}", 1)
    return before, place, after


def _measure(run: Run) -> list[Metric]:
    return heldout_group_metrics(run.heldout, run.heldout_scores, run.bootstrap) + sentence_metrics(run)


BENCHMARK = Benchmark(name=NAME, axis="bias", measure=_measure, order=1)
