"""datatrove's quality filters on given documents: verdict of every rule, or CPU seconds. Runs with datatrove's Python.

    python datatrove_quality.py verdicts DOCUMENTS.jsonl OUT.json
    python datatrove_quality.py time DOCUMENTS.jsonl OUT.json

A stock filter gives the first reason only. So each rule is asked alone: the stock filter is built with every other rule
switched off. All rules keep their default thresholds and the English word tokeniser that they load themselves.
"""

from __future__ import annotations

import json
import sys
import time
import warnings
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

from datatrove.data import Document
from datatrove.pipeline.filters import (
    C4QualityFilter,
    FineWebQualityFilter,
    GopherQualityFilter,
    GopherRepetitionFilter,
)

NEVER = 1e9
QUALITY_RULES = {
    "words": ("min_doc_words", "max_doc_words"),
    "mean_word_length": ("min_avg_word_length", "max_avg_word_length"),
    "hashes_per_word": ("max_symbol_word_ratio",),
    "bullet_lines": ("max_bullet_lines_ratio",),
    "ellipsis_lines": ("max_ellipsis_lines_ratio",),
    "lettered_words": ("max_non_alpha_words_ratio",),
    "stop_words": ("min_stop_words",),
}
REPETITION_RULES = {
    "repeated_lines": "dup_line_frac",
    "repeated_paragraphs": "dup_para_frac",
    "repeated_line_chars": "dup_line_char_frac",
    "repeated_paragraph_chars": "dup_para_char_frac",
}
FINEWEB_RULES = {
    "ended_lines": "line_punct_thr",
    "short_lines": "short_line_thr",
    "repeated_line_chars": "char_duplicates_ratio",
    "line_feeds_per_word": "new_line_ratio",
}
LINE_RULES = {
    "long_word_lines": "line-filter-too_long_word",
    "unended_lines": "line-filter-no_terminal_punc",
    "few_word_lines": "line-filter-too_few_words",
    "javascript_lines": "line-filter-javascript",
    "policy_lines": "line-filter-policy",
}


def single_rules() -> dict[str, Callable[[Document], bool]]:
    """Each rule alone: whether a document passes it."""
    rules: dict[str, Callable[[Document], bool]] = {}
    all_quality = {name: None for names in QUALITY_RULES.values() for name in names}
    for rule, names in QUALITY_RULES.items():
        quality = GopherQualityFilter(**{name: None for name in all_quality if name not in names})
        rules[f"gopher_quality_{rule}"] = lambda doc, step=quality: step.filter(doc) is True
    # One threshold serves two rules; the hash signs are looked at first, so they are taken out for the other.
    symbols = GopherQualityFilter(**{name: None for name in all_quality if name != "max_symbol_word_ratio"})
    rules["gopher_quality_hashes_per_word"] = lambda doc: symbols.filter(doc) != (False, "gopher_too_many_hashes")
    rules["gopher_quality_ellipses_per_word"] = lambda doc: symbols.filter(doc) != (False, "gopher_too_many_ellipsis")

    nothing = {**dict.fromkeys(REPETITION_RULES.values()), "top_n_grams": (), "dup_n_grams": ()}
    defaults = {"dup_line_frac": 0.3, "dup_para_frac": 0.3, "dup_line_char_frac": 0.2, "dup_para_char_frac": 0.2}
    for rule, name in REPETITION_RULES.items():
        step = GopherRepetitionFilter(**{**nothing, name: defaults[name]})
        rules[f"gopher_repetition_{rule}"] = lambda doc, step=step: step.filter(doc) is True
    stock = GopherRepetitionFilter()
    for n, share in stock.top_n_grams:
        step = GopherRepetitionFilter(**{**nothing, "top_n_grams": ((n, share),)})
        rules[f"gopher_repetition_top_{n}_gram"] = lambda doc, step=step: step.filter(doc) is True
    for n, share in stock.dup_n_grams:
        step = GopherRepetitionFilter(**{**nothing, "dup_n_grams": ((n, share),)})
        rules[f"gopher_repetition_repeated_{n}_grams"] = lambda doc, step=step: step.filter(doc) is True

    off = {"line_punct_thr": 0.0, "short_line_thr": NEVER, "char_duplicates_ratio": NEVER, "new_line_ratio": NEVER}
    fineweb = {"line_punct_thr": 0.12, "short_line_thr": 0.67, "char_duplicates_ratio": 0.01, "new_line_ratio": 0.3}
    for rule, name in FINEWEB_RULES.items():
        step = FineWebQualityFilter(**{**off, name: fineweb[name]})
        rules[f"fineweb_{rule}"] = lambda doc, step=step: step.filter(doc) is True

    sentences = C4QualityFilter(filter_lorem_ipsum=False, filter_curly_bracket=False)
    lorem = C4QualityFilter(filter_curly_bracket=False, min_num_sentences=-1)
    curly = C4QualityFilter(filter_lorem_ipsum=False, min_num_sentences=-1)
    for rule, step in (("sentences", sentences), ("lorem_ipsum_lines", lorem), ("curly_bracket_lines", curly)):
        # C4's filter rewrites the text, so it gets a document of its own.
        rules[f"c4_{rule}"] = lambda doc, step=step: step.filter(Document(text=doc.text, id=doc.id)) is True
    return rules


def line_shares(text: str) -> dict[str, float]:
    """Share of lines that each of C4's line rules removes, from the filter's own statistics."""
    step = C4QualityFilter(filter_lorem_ipsum=False, filter_curly_bracket=False)
    step.filter(Document(text=text, id=""))
    seen = {name: float(metric.total) for name, metric in step.stats.stats.items()}
    return {
        f"c4_{rule}": seen.get(name, 0.0) / max(seen.get("line-total", 0.0), 1) for rule, name in LINE_RULES.items()
    }


def verdicts(texts: list[str]) -> dict[str, object]:
    """Verdict of each rule on each document, of each whole filter, and shares of lines."""
    rules = single_rules()
    stock = filters()
    passes: dict[str, list[bool]] = {name: [] for name in [*rules, *stock]}
    shares: dict[str, list[float]] = {f"c4_{rule}": [] for rule in LINE_RULES}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for text in texts:
            for name, rule in rules.items():
                passes[name].append(bool(rule(Document(text=text, id=""))))
            for name, step in stock.items():
                passes[name].append(step.filter(Document(text=text, id="")) is True)
            for name, share in line_shares(text).items():
                shares[name].append(share)
    return {"passes": passes, "shares": shares}


def filters() -> dict[str, GopherQualityFilter | GopherRepetitionFilter | C4QualityFilter | FineWebQualityFilter]:
    """The stock filters."""
    return {
        "gopher_quality": GopherQualityFilter(),
        "gopher_repetition": GopherRepetitionFilter(),
        "fineweb": FineWebQualityFilter(),
        "c4": C4QualityFilter(),
    }


def times(texts: list[str]) -> dict[str, float]:
    """CPU seconds of each filter alone, and of all of them document by document (they then share the words)."""
    steps = filters()
    found: dict[str, float] = {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for step in steps.values():
            for text in texts[:20]:
                step.filter(Document(text=text, id=""))
        for name, step in steps.items():
            documents = [Document(text=text, id="") for text in texts]
            start = time.process_time()
            for document in documents:
                step.filter(document)
            found[name] = time.process_time() - start
        documents = [Document(text=text, id="") for text in texts]
        start = time.process_time()
        for document in documents:
            for step in steps.values():
                step.filter(document)
        found["all"] = time.process_time() - start
    return found


def main() -> None:
    """See the module's docstring."""
    task, source, target = sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3])
    texts = [json.loads(line)["text"] for line in source.read_text(encoding="utf-8").splitlines()]
    result = {"version": version("datatrove"), "spacy": version("spacy")}
    result[task] = verdicts(texts) if task == "verdicts" else times(texts)
    target.write_text(json.dumps(result))


if __name__ == "__main__":
    main()
