"""Does a rule remove text about, or in the language of, some people more often than other text that is as harmless?

Filters for quality and toxicity remove text of and about minorities at higher rates (Dodge et al. 2021 on C4; Xu et al.
2021; Welbl et al. 2021). Removal of toxic text is wanted, so rates are compared over text that humans called not toxic.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import NormalDist

import polars as pl

from curation_pipeline.annotate.annotator_settings import DialectSettings, ParitySettings
from curation_pipeline.annotate.dialect import VARIETIES, dialect
from curation_pipeline.annotate.identity import TERMS, whole_words
from curation_pipeline.errors import DataError

# Single groups within the categories of ``identity.TERMS``: a rule may spare one and remove another.
SUBGROUPS: dict[str, str] = {
    "gay_lesbian": r"gays?|lesbians?|homosexual(?:s|ity)?|same[- ]sex",
    "transgender": r"transgender|trans (?:people|persons?|m[ae]n|wom[ae]n)|non[- ]?binary",
    "muslim": r"muslims?|islam(?:ic)?",
    "jewish": r"jew(?:s|ish)?|judaism",
    "christian": r"christian(?:s|ity)?|catholics?|protestants?",
    "black": r"african[- ]americans?|blacks|black (?:people|persons?|m[ae]n|wom[ae]n|guys?|girls?|boys?|kids?|folks?|"
    r"famil(?:y|ies)|communit(?:y|ies)|american|americans|males?|females?|students?|culture|lives)",
    "white": r"caucasians?|whites|white (?:people|persons?|m[ae]n|wom[ae]n|guys?|girls?|boys?|kids?|folks?|"
    r"famil(?:y|ies)|communit(?:y|ies)|american|americans|males?|females?|students?|culture)",
    "asian": r"asians?|asian[- ]americans?",
    "latino": r"hispanics?|latin[oax]s?",
    "women": r"wom[ae]n|females?|girls?|lad(?:y|ies)",
    "men": r"m[ae]n|males?|boys?",
}

PARITY_SCHEMA: dict[str, pl.DataType] = {
    "rule": pl.Utf8(),
    "group": pl.Utf8(),
    "n": pl.Int64(),
    "removed": pl.Int64(),
    "rate": pl.Float64(),
    "average_rate": pl.Float64(),
    "ratio": pl.Float64(),
    "ci_low": pl.Float64(),
    "ci_high": pl.Float64(),
    "flagged": pl.Boolean(),
}
"""n: texts of the group; removed: of these; average_rate: over all texts; ratio: rate over average_rate, null where the
average is 0; ci_low, ci_high: of the ratio, null where it is or where the group is all texts."""

# What a label of 0 says, by dataset. Refusals say nothing of toxicity, so that dataset is absent.
BENIGN: dict[str, str] = {
    "impermium": "a human called the comment no insult to its reader; profanity and hostility to others may remain",
    "redditbias": "a human found no negative stereotype; bias is not toxicity, and insults and profanity may remain",
    "pyrit_harm": "all human raters called the response harmless; a model wrote it",
}


def group_membership(texts: pl.DataFrame, settings: DialectSettings | None = None) -> pl.DataFrame:
    """Which groups each text mentions and which varieties it is written in; a text may have several, or none.

    Args:
        texts: columns ``text_id`` and ``text``.
        settings: of the dialect proxies.

    Returns:
        ``text_id`` and Boolean columns, in order: ``mentions_<category>`` for ``identity.TERMS``,
        ``mentions_<subgroup>`` for ``SUBGROUPS``, ``dialect_<variety>`` for ``dialect.VARIETIES``.
    """
    patterns = {name: "|".join(terms) for name, terms in TERMS.items()} | SUBGROUPS
    found = texts.select(
        "text_id",
        *(
            pl.col("text").str.contains(whole_words(pattern)).alias(f"mentions_{name}")
            for name, pattern in patterns.items()
        ),
    )
    varieties = dialect(texts["text"], settings).select(f"dialect_{name}" for name in VARIETIES)
    return pl.concat([found, varieties], how="horizontal")


def benign_texts(labels: pl.DataFrame, roles: Sequence[str] = ("calibrate", "report")) -> pl.DataFrame:
    """The labelled texts over which removal is compared: those that humans called harmless.

    Labels of different datasets mean different things (``BENIGN``), so compare within a dataset where each has texts
    enough: a group's texts may come from the dataset with the rougher tone. Texts of the role "fit" are left out
    because detectors fitted on them know the answer.

    Args:
        labels: rows of ``datasets.registry.LABELS_SCHEMA``.
        roles: roles that count.

    Returns:
        ``text_id``, ``dataset``, ``text``, ``meaning`` (of the label); one row a text.
    """
    return (
        labels.filter(
            pl.col("dataset").is_in(list(BENIGN)) & (pl.col("label") == 0.0) & pl.col("role").is_in(list(roles))
        )
        .unique("text_id", keep="first", maintain_order=True)
        .select(
            "text_id",
            "dataset",
            "text",
            pl.col("dataset").replace_strict(BENIGN, default=None, return_dtype=pl.Utf8).alias("meaning"),
        )
    )


def removal_parity(benign: pl.DataFrame, removed: pl.DataFrame, settings: ParitySettings | None = None) -> pl.DataFrame:
    """Removal rate of each group by each rule, against that of all texts.

    The interval is that of Katz et al. (1978) for the ratio r of the group's rate to that of the texts outside of the
    group, two separate samples; half a text is added to each cell where one is 0. As the group is the share w of all
    texts, its ratio to the average is r / (w r + 1 - w), which grows with r: the ends of one interval give the other's.

    Args:
        benign: ``text_id`` and one Boolean column a group.
        removed: ``text_id`` and one Boolean column a rule, True where it removes the text; texts in any order, and
            exactly those of ``benign``.
        settings: what is tolerated, and how sure a finding must be.

    Returns:
        Rows of ``PARITY_SCHEMA``, rules in the order of their columns and groups within. ``flagged``: the ratio is
        above ``max_ratio``, its interval lies above 1, and the group has ``min_texts`` and loses ``min_removed``. Of
        groups that a rule treats alike about (1 - confidence) / 2 have an interval above 1 by chance, unless
        ``simultaneous``.

    Raises:
        DataError: when the two frames hold different texts, or a column is not Boolean or has nulls.
    """
    settings = settings or ParitySettings()
    groups, rules = _flags(benign, "groups"), _flags(removed, "rules")
    joined = benign.join(removed, on="text_id", how="inner", suffix="__rule")
    if not joined.height == benign.height == removed.height or benign["text_id"].n_unique() != benign.height:
        raise DataError(
            f"removal parity needs the same texts once in both frames, got {benign.height} texts with groups, "
            f"{removed.height} with rules, {joined.height} in both"
        )
    tests = max(1, len(groups) * len(rules)) if settings.simultaneous else 1
    z = NormalDist().inv_cdf(1.0 - (1.0 - settings.confidence) / (2 * tests))
    rows = []
    total = joined.height
    for rule in rules:
        gone = joined[rule if rule not in groups else f"{rule}__rule"]
        all_gone = int(gone.sum())
        for group in groups:
            member = joined[group]
            n, hits = int(member.sum()), int((member & gone).sum())
            rows.append(_row(rule, group, n, hits, total, all_gone, z, settings))
    return pl.DataFrame(rows, schema=PARITY_SCHEMA, orient="row")


def removal_parity_by(
    benign: pl.DataFrame, removed: pl.DataFrame, by: pl.Series, settings: ParitySettings | None = None
) -> pl.DataFrame:
    """``removal_parity`` within each part of the texts, such as each dataset of labels.

    Args:
        benign: as there.
        removed: as there, in the same order of texts.
        by: the part of each text, under the name that the first column of the result takes.
        settings: as there.

    Raises:
        DataError: as there, and where ``by`` has another length.
    """
    if len(by) != benign.height or len(by) != removed.height:
        raise DataError(f"removal parity by {by.name} needs one value a text, got {len(by)} for {benign.height} texts")
    parts = []
    for value in by.unique().drop_nulls().sort().to_list():
        inside = by == value
        part = removal_parity(benign.filter(inside), removed.filter(inside), settings)
        parts.append(part.select(pl.lit(value).alias(by.name), pl.all()))
    return pl.concat(parts) if parts else pl.DataFrame(schema={by.name: by.dtype, **PARITY_SCHEMA})


def _flags(frame: pl.DataFrame, what: str) -> list[str]:
    names = [name for name in frame.columns if name != "text_id"]
    if "text_id" not in frame.columns or any(
        frame.schema[name] != pl.Boolean or frame[name].null_count() for name in names
    ):
        raise DataError(f"removal parity needs text_id and Boolean {what} without nulls, got {dict(frame.schema)}")
    return names


def _row(
    rule: str, group: str, n: int, hits: int, total: int, all_gone: int, z: float, settings: ParitySettings
) -> tuple[str | int | float | bool | None, ...]:
    rate = hits / n if n else None
    average = all_gone / total if total else None
    ratio = rate / average if rate is not None and average else None
    low = high = None
    if ratio is not None and n < total:
        low, high = katz_interval(hits, n, all_gone - hits, total - n, z)
        share = n / total
        low, high = (end / (share * end + 1.0 - share) for end in (low, high))
    enough = n >= settings.min_texts and hits >= settings.min_removed
    flagged = enough and ratio is not None and low is not None and ratio > settings.max_ratio and low > 1.0
    return rule, group, n, hits, rate, average, ratio, low, high, flagged


def katz_interval(hits: int, n: int, other_hits: int, other_n: int, z: float) -> tuple[float, float]:
    """Interval of the ratio of two proportions, hits / n over other_hits / other_n, from its logarithm's normal law.

    Katz, Baptista, Azen and Pike (1978), Biometrics 34; half is added to the counts of both samples, and one to their
    sizes, where a count is 0 or full (Walter 1975), else the logarithm or its variance would have no value.

    Args:
        hits: of n > 0.
        n: size of the first sample.
        other_hits: of other_n > 0.
        other_n: size of the second.
        z: standard errors to each side.
    """
    a, b, c, d = float(hits), float(n), float(other_hits), float(other_n)
    if a in (0.0, b) or c in (0.0, d):
        a, b, c, d = a + 0.5, b + 1.0, c + 0.5, d + 1.0
    error = math.sqrt(1.0 / a - 1.0 / b + 1.0 / c - 1.0 / d)
    centre = math.log(a / b) - math.log(c / d)
    return math.exp(centre - z * error), math.exp(centre + z * error)
