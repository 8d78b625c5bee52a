"""Whom the expert is asked about, and what comes back."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from curation_pipeline.annotate.cached_detector import CachedDetector
from curation_pipeline.annotate.detectors.hosted import load_hosted
from curation_pipeline.annotate.expert import ask_expert, choose_for_expert, disagreement, inclusion_probabilities
from curation_pipeline.annotate.expert_people import export_for_people, read_people
from curation_pipeline.annotate.hosted_settings import HostedSettings
from curation_pipeline.annotate.score_cache import ScoreCache
from curation_pipeline.errors import DataError, DetectorError
from tests.hosted_server import KEY, Reply, Server, chat, verdict


def ids(n: int) -> list[str]:
    return [hashlib.md5(str(i).encode()).hexdigest() for i in range(n)]


def pool(n: int, seed: int = 0) -> pl.DataFrame:
    rng = np.random.default_rng(seed)
    scores = {name: rng.beta(0.3, 3.0, n).astype(np.float32) for name in ("one", "two", "three")}
    return pl.DataFrame({"doc_id": ids(n), **scores})


@given(st.lists(st.floats(1e-6, 1e3), min_size=1, max_size=50), st.data())
def test_inclusion_probabilities_sum_to_the_sample_and_stay_below_one(sizes: list[float], data: st.DataObject) -> None:
    n = data.draw(st.integers(1, len(sizes)))
    p = inclusion_probabilities(np.array(sizes), n)
    assert p.sum() == pytest.approx(n)
    assert (p > 0).all()
    assert (p <= 1 + 1e-12).all()
    free = p < 1 - 1e-9
    ratio = p[free] / np.array(sizes)[free]
    assert np.allclose(ratio, ratio[:1])


@settings(max_examples=10)
@given(st.integers(0, 2**32), st.integers(1, 60))
def test_the_sample_has_its_size_and_does_not_depend_on_order_or_parts(seed: int, n: int) -> None:
    scores = pool(6000)
    chosen = choose_for_expert(scores, n=n, seed=seed)
    assert chosen.height == n
    assert chosen["probability"].is_between(0, 1).all()
    parts = [scores.sample(fraction=1.0, shuffle=True, seed=1).slice(start, 700) for start in range(0, 6000, 700)]
    mixed = pl.concat(parts[::-1]).select("doc_id", "three", "one", "two")
    assert choose_for_expert(mixed, n=n, seed=seed).equals(chosen)


def test_documents_are_drawn_as_often_as_their_probability_says() -> None:
    scores, draws = pool(100), 500
    spread = disagreement(scores)
    counts = dict.fromkeys(scores["doc_id"], 0)
    stated: dict[str, float] = {}
    totals = []
    for seed in range(draws):
        chosen = choose_for_expert(scores, max_share=0.05, seed=seed)
        totals.append(float((1.0 / chosen["probability"]).sum()))
        for doc_id, probability in chosen.rows():
            counts[doc_id] += 1
            stated[doc_id] = probability
    assert len(stated) == 100, "every document is drawn some time"
    p = np.array([stated[doc_id] for doc_id in scores["doc_id"]])
    z = (np.array(list(counts.values())) - draws * p) / np.sqrt(draws * p * (1 - p))
    assert np.abs(z).max() < 4.5
    assert sum(totals) / draws == pytest.approx(100, rel=0.05)  # Horvitz and Thompson's count of the pool
    assert np.corrcoef(p, spread)[0, 1] == pytest.approx(1.0)


def test_at_most_the_share_is_chosen_and_calibration_tells_scale_from_disagreement() -> None:
    assert choose_for_expert(pool(5099)).height == 50
    assert choose_for_expert(pool(99)).is_empty()
    assert choose_for_expert(pool(5099), n=1000).height == 50
    same = pl.DataFrame({"doc_id": ids(2), "a": [0.2, 0.8], "b": [0.04, 0.64]})
    assert disagreement(same).min() > 0.1
    assert disagreement(same, {"a": np.square}).max() == pytest.approx(0.0)
    assert disagreement(same.select("doc_id", "a")).tolist() == pytest.approx([0.64, 0.64])
    with pytest.raises(DataError, match="missing or not in"):
        choose_for_expert(same.with_columns(b=pl.Series([None, 0.1])), max_share=1.0)
    with pytest.raises(DataError, match="stands twice"):
        choose_for_expert(pl.concat([same, same]))


def judge(server: Server, folder: Path) -> CachedDetector:
    own = {"base_url": server.url, "requests_per_minute": 1e6, "backoff_seconds": 0.01, "concurrency": 1}
    settings = HostedSettings.model_validate({"openai_chat": own})
    one = load_hosted("openai_chat", settings, environ={"OPENAI_API_KEY": KEY})
    return CachedDetector(one, ScoreCache(folder, one))


def test_the_expert_answers_with_reasons_and_is_not_asked_twice(tmp_path: Path) -> None:
    documents = pl.DataFrame({"doc_id": ["a", "b"], "text": ["harm=0.9 x", "y"], "probability": [0.5, 0.01]})
    with Server(lambda _, body: Reply(verdict(body, principle=0 if "y\n" in str(body) else 1))) as server:
        first = ask_expert(judge(server, tmp_path), documents)
        again = ask_expert(judge(server, tmp_path), documents.reverse())
        assert len(server.seen) == 2
    assert first.columns == ["doc_id", "label", "probability", "labeller", "principle", "rationale"]
    assert first["label"].to_list() == pytest.approx([0.9, 0.0])
    assert first["probability"].to_list() == [0.5, 0.01]
    assert (first["principle"][0] or "").startswith("It demeans")
    assert first["rationale"].to_list() == ["It says so."] * 2
    assert again.sort("doc_id").equals(first)


def test_a_document_that_the_expert_declines_gets_no_label(tmp_path: Path) -> None:
    def answer(_: int, body: Any) -> Reply:
        if "awful" in body["messages"][1]["content"]:
            return Reply(chat("", finish="content_filter"))
        if "banned" in body["messages"][1]["content"]:
            return Reply({"error": {"code": "content_filter", "message": "declined"}}, 400)
        return Reply(verdict(body))

    texts = ["fine", "awful", "banned", "fine too"]
    documents = pl.DataFrame({"doc_id": list("abcd"), "text": texts})
    with Server(answer) as server:
        answers = ask_expert(judge(server, tmp_path), documents, max_declined=0.5)
        assert answers["doc_id"].to_list() == ["a", "d"]
        assert len(server.seen) == 4, "to decline is an answer: it is not asked again"
        with pytest.raises(DetectorError, match=r"declined 1 of 4 documents, more than max_declined \(0\.2\)"):
            ask_expert(judge(server, tmp_path), documents, max_declined=0.2)
        with pytest.raises(DetectorError, match="declined to judge"):
            ask_expert(judge(server, tmp_path), documents)


def test_people_label_a_table_and_raters_are_averaged(tmp_path: Path) -> None:
    texts = ['=HYPERLINK("x")', 'two, "quoted"\nlines; and ü', "three"]
    chosen = pl.DataFrame({"doc_id": ids(3), "text": texts, "probability": [0.1, 0.2, 0.3], "teacher": [0.9, 0.1, 0.5]})
    sheet = tmp_path / "sheet.csv"
    export_for_people(chosen, sheet)
    with pytest.raises(DataError, match="may hold labels"):
        export_for_people(chosen, sheet)
    with pytest.raises(DataError, match="no label in"):
        read_people(sheet)
    table = pl.read_csv(sheet)
    assert table.columns == ["doc_id", "label", "rater", "rationale", "text"]
    assert sorted(table["text"]) == sorted(["'" + texts[0], *texts[1:]])
    first, second, _ = ids(3)
    for rater, labels in {"ann": {first: "1", second: "0"}, "bo": {first: "0.5"}}.items():
        filled = table.with_columns(label=pl.col("doc_id").replace_strict(labels, default=""))
        # A spreadsheet in many countries writes semicolons.
        filled.write_csv(tmp_path / f"{rater}.csv", separator=";", include_bom=True)
    answers = read_people([tmp_path / "ann.csv", tmp_path / "bo.csv"], chosen).sort("probability")
    assert answers.select("doc_id", "label", "probability", "labeller").rows() == [
        (first, 0.75, 0.1, "people:ann+bo"),
        (second, 0.0, 0.2, "people:ann"),
    ]


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("doc_id,harm\na,1\n", "has no column label"),
        ("doc_id,label\na,1\nb,yes\n", "line 3: the label 'yes' is no number"),
        ("doc_id;label\na;0,5\n", "write a point, not a comma"),
        ("doc_id,label\na,2\n", r"the label 2 is not in \[0, 1\]"),
        ("doc_id,label\na,nan\n", "is not in"),
        ("doc_id,label\na,1\na,0\n", "line 3: .* labelled a already"),
        ("doc_id,label\nz,1\n", "none of those that were chosen"),
        ("doc_id,label\n,1\n", "a label without a doc_id"),
        ("", "has no column doc_id and label"),
    ],
)
def test_a_table_that_was_filled_in_wrongly_is_a_clear_error(tmp_path: Path, content: str, says: str) -> None:
    path = tmp_path / "labels.csv"
    path.write_text(content, encoding="utf-8")
    with pytest.raises(DataError, match=says):
        read_people(path, pl.DataFrame({"doc_id": ["a", "b"], "probability": [0.1, 0.1]}))
