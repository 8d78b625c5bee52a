"""Whom the expert is asked about, and what comes back."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from curation_pipeline.annotate.cached_detector import CachedDetector
from curation_pipeline.annotate.detectors.openai_chat import ChatSettings, OpenAIChat
from curation_pipeline.annotate.expert import ask_expert
from curation_pipeline.annotate.expert_people import export_for_people, read_people
from curation_pipeline.annotate.score_cache import ScoreCache
from curation_pipeline.errors import DataError, DetectorError
from tests.hosted_server import KEY, Reply, Server, chat, verdict


def ids(n: int) -> list[str]:
    return [hashlib.md5(str(i).encode()).hexdigest() for i in range(n)]


def judge(server: Server, folder: Path) -> CachedDetector:
    own = {"base_url": server.url, "requests_per_minute": 1e6, "backoff_seconds": 0.01, "concurrency": 1}
    one = OpenAIChat(ChatSettings.model_validate(own), {"OPENAI_API_KEY": KEY})
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
