"""Human-labelled data sets in the files that their publishers distribute: what a label of 1 means, and which roles."""

from __future__ import annotations

import ast
import html
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import polars as pl

from curation_pipeline.datasets.settings import Axis
from curation_pipeline.datasets.tables import parse_json, read_columns, read_text, whole_text
from curation_pipeline.errors import ConfigError, DataError

SHARES = {"fit": 0.6, "calibrate": 0.2, "report": 0.2}
"""Of texts that no publisher divided."""

ROWS: dict[str, pl.DataType] = {
    "text": pl.Utf8(),
    "label": pl.Float64(),
    "agreement": pl.Float64(),
    "group": pl.Utf8(),
    "split": pl.Utf8(),
    "unit": pl.Utf8(),
}
"""What a reader gives. split is the publisher's, or null; rows without one get a role by the hash of the text unit."""


@dataclass(frozen=True, slots=True)
class Published:
    """One published format.

    Attributes:
        axis: what a label of 1 is about.
        meaning: what 1 and 0 are, in words.
        read: rows of ``ROWS`` from the path that the profile gives.
        splits: role of each of the publisher's splits; empty where texts are divided by hash.
        shares: of the roles by hash.
    """

    axis: Axis
    meaning: str
    read: Callable[[Path], pl.DataFrame]
    splits: Mapping[str, str] = field(default_factory=dict)
    shares: Mapping[str, float] = field(default_factory=lambda: SHARES)


def values_as_labels(
    frame: pl.DataFrame, path: Path, column: str, values: Mapping[str, float], remedy: str
) -> pl.Series:
    """The label of each value of a column.

    Raises:
        DataError: a value is missing or unknown; names the first row that has one.
    """
    found = frame[column].replace_strict(dict(values), default=None, return_dtype=pl.Float64)
    refuse(frame, path, column, found.is_null(), f"known are {', '.join(map(repr, values))}: {remedy}")
    return found.alias("label")


def refuse(frame: pl.DataFrame, path: Path, column: str, wrong: pl.Series, remedy: str) -> None:
    """Raises the one error for the first row of a table whose value is wrong, and counts the others."""
    places = wrong.arg_true()
    if places.len():
        row = int(places[0])
        value = frame[column][row]
        shown = "missing" if value is None else repr(value[:40])
        raise DataError(f"{path}, row {row + 1} ({places.len()} such rows): {column} is {shown}; {remedy}")


def numbers(frame: pl.DataFrame, path: Path, column: str, low: float, high: float) -> pl.Series:
    """A column as numbers; one that is none, or lies outside of [low, high], is an error."""
    found = frame[column].str.strip_chars().cast(pl.Float64, strict=False)
    wrong = found.is_null() | ~found.is_between(low, high)
    refuse(frame, path, column, wrong.fill_null(True), f"a number from {low:g} to {high:g} is needed: correct the row")
    return found


def _rows(frame: pl.DataFrame, **columns: pl.Series | pl.Expr) -> pl.DataFrame:
    given = frame.with_columns(**columns)
    return given.select(
        (pl.col(name) if name in given.columns else pl.lit(None)).cast(kind).alias(name) for name, kind in ROWS.items()
    )


_CHECK = "correct the row, or the format in the profile"


def _edos(path: Path) -> pl.DataFrame:
    frame = read_columns(path, ["text", "label_sexist", "split"])
    label = values_as_labels(frame, path, "label_sexist", {"sexist": 1.0, "not sexist": 0.0}, _CHECK)
    return _rows(frame, label=label)


def _davidson(path: Path) -> pl.DataFrame:
    votes = ("hate_speech", "offensive_language", "neither")
    frame = read_columns(path, ["tweet", "class", "count", *votes])
    label = values_as_labels(frame, path, "class", {"0": 1.0, "1": 0.0, "2": 0.0}, _CHECK)
    count = numbers(frame, path, "count", 1, 1e6)
    most = pl.DataFrame([numbers(frame, path, vote, 0, 1e6) for vote in votes]).max_horizontal()
    # The file holds tweets as the service sent them, with their HTML escapes.
    text = pl.Series("text", [html.unescape(tweet or "") for tweet in frame["tweet"]], dtype=pl.Utf8)
    return _rows(frame, text=text, label=label, agreement=most / count, unit=text)


def _paradetox(path: Path) -> pl.DataFrame:
    frame = read_columns(path, ["toxic", "neutral1"], optional=["neutral2", "neutral3"])
    # A toxic text and its rewrites have the role of the toxic text: a detector fitted on one half of a pair must not be
    # checked on the other.
    toxic = frame.select(text="toxic", unit="toxic", label=pl.lit(1.0))
    neutral = frame.unpivot(frame.columns[1:], index="toxic", value_name="text").select(
        "text", unit="toxic", label=pl.lit(0.0)
    )
    return _rows(pl.concat([toxic, neutral]).drop_nulls("unit"))


DIALOGUE_SPLITS = ("train", "val", "test")
"""DiaSafety's files, without their ending."""


def dialogues(folder: Path) -> pl.DataFrame:
    """DiaSafety: Utf8 columns context, response, category, label ("Safe" or "Unsafe"), split (train, val, test).

    Raises:
        ConfigError: a file is not there.
        DataError: a file does not hold what it should; names the entry.
    """
    names = ("context", "response", "category", "label")
    parts = []
    for split in DIALOGUE_SPLITS:
        path = folder / f"{split}.json"
        if not path.is_file():
            raise ConfigError(
                f"{path} is no file; give as path the folder of DiaSafety's train.json, val.json, test.json"
            )
        items = parse_json(read_text(path), str(path))
        for number, item in enumerate(items if isinstance(items, list) else [items], start=1):
            if not isinstance(item, dict) or not all(isinstance(item.get(name), str) for name in names):
                raise DataError(
                    f"{path}, row {number}: an object with the texts {', '.join(names)} is needed; {_CHECK}"
                )
            for name in names:
                whole_text(item[name], f"{path}, row {number}: {name}")
        frame = pl.DataFrame(items, schema=dict.fromkeys(names, pl.Utf8)).with_columns(split=pl.lit(split))
        values_as_labels(frame, path, "label", _SAFETY, _CHECK)
        parts.append(frame)
    return pl.concat(parts)


_SAFETY = {"Unsafe": 1.0, "Safe": 0.0}


def _diasafety(path: Path) -> pl.DataFrame:
    frame = dialogues(path)
    label = pl.col("label").replace_strict(_SAFETY, return_dtype=pl.Float64)
    return _rows(frame, text=pl.col("response"), label=label, group=pl.col("category").str.to_lowercase())


def _toxigen(path: Path) -> pl.DataFrame:
    frame = read_columns(path, ["text", "target_group", "toxicity_ai", "toxicity_human"])
    scores = [numbers(frame, path, column, 1, 5) for column in ("toxicity_ai", "toxicity_human")]
    text = pl.Series("text", [unquote_bytes(path, row, raw) for row, raw in enumerate(frame["text"], 1)], pl.Utf8)
    label = (scores[0] + scores[1] > 5.5).cast(pl.Float64)
    return _rows(frame, text=text, label=label, group=pl.col("target_group"), unit=text)


_BYTES = re.compile(r"b'(?:[^'\\]|\\.)*'|b\"(?:[^\"\\]|\\.)*\"", re.DOTALL)


def unquote_bytes(path: Path, row: int, raw: str | None) -> str | None:
    """The text of a Python bytes literal (``b'...'``), read as a literal and never run; another text as it is."""
    if raw is None or not raw.startswith(("b'", 'b"')):
        return raw
    try:
        if _BYTES.fullmatch(raw) is None:
            raise ValueError("its quotes do not close")
        value = ast.literal_eval(raw)
        return str(value.decode("utf-8"))
    except (ValueError, SyntaxError) as error:  # UnicodeDecodeError is a ValueError
        raise DataError(f"{path}, row {row}: text is no whole bytes literal ({error}); get the file again") from error


def _wiki_talk(path: Path) -> pl.DataFrame:
    frame = read_columns(path, ["comment", "toxic"])
    label = values_as_labels(frame, path, "toxic", {"True": 1.0, "False": 0.0}, _CHECK)
    return _rows(frame, text=pl.col("comment"), label=label, unit=pl.col("comment"))


def _wiki_templates(path: Path) -> pl.DataFrame:
    frame = read_columns(path, ["Text", "Label", "Template"])
    label = values_as_labels(frame, path, "Label", {"BAD": 1.0, "NOT_BAD": 0.0}, _CHECK)
    # "NAME is a ADJECTIVE TERM" is most of the file, and tells which words are terms in the rest of it.
    named = frame.filter(pl.col("Template") == "name_adj")["Text"]
    terms = sorted(
        set(named.str.splitn(" ", 5).struct.field("field_4").drop_nulls().to_list()), key=lambda t: (-len(t), t)
    )
    if not terms:
        raise DataError(f"{path} has no row of the template name_adj, which names the identity terms; {_CHECK}")
    pattern = rf"\b({'|'.join(map(re.escape, terms))})\b"
    return _rows(
        frame, text=pl.col("Text"), label=label, group=pl.col("Text").str.extract(pattern), split=pl.lit("all")
    )


PUBLISHED: dict[str, Published] = {
    "edos": Published(
        "bias",
        "1 = experts called the post sexist; 0 = not sexist, which is not: not toxic",
        _edos,
        splits={"train": "fit", "dev": "calibrate", "test": "report"},
    ),
    "davidson": Published(
        "toxicity",
        "1 = most raters called the tweet hate speech; 0 = offensive (mostly profanity) or neither, both as 'not hate'",
        _davidson,
    ),
    "paradetox": Published(
        "toxicity", "1 = a sentence chosen as toxic; 0 = its neutral rewrite by a person, same content", _paradetox
    ),
    "diasafety": Published(
        "subtle",
        "1 = raters called the reply unsafe in its dialogue; the text is the reply alone, group is the kind of context",
        _diasafety,
        splits={"train": "fit", "val": "calibrate", "test": "report"},
    ),
    "toxigen": Published(
        "subtle",
        "1 = raters' two harm scores (as if by an AI, as if by a person; each 1 to 5) sum to more than 5.5, which is "
        "the publishers' own rule; the texts are machine-written statements about a group",
        _toxigen,
    ),
    "wiki_talk": Published(
        "toxicity",
        "1 = most raters called the talk page comment toxic",
        _wiki_talk,
        shares={"calibrate": 0.5, "report": 0.5},
    ),
    "wiki_templates": Published(
        "toxicity",
        "1 = the template says something bad about an identity term, 0 = something good; group is the term",
        _wiki_templates,
        splits={"all": "report"},
    ),
}
"""The published formats by name."""
