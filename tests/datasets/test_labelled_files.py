"""Labelled sets from files: small files in each published format, and the real ones where they are."""

from __future__ import annotations

import gzip
import hashlib
import json
import time
import tracemalloc
import zlib
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pydantic import ValidationError

from curation_pipeline.datasets.labelled import axis_of, labelled_sets
from curation_pipeline.datasets.labelled_files import declared_splits, file_labels, fingerprints
from curation_pipeline.datasets.preferences import PREFERENCES_SCHEMA, preference_sets
from curation_pipeline.datasets.published_labels import unquote_bytes
from curation_pipeline.datasets.registry import LABELS_SCHEMA, check
from curation_pipeline.datasets.settings import FileFormat, LabelledFile, LabelSettings
from curation_pipeline.errors import ConfigError, DataError
from tests.parquet_by_hand import Column, page, parquet, plain, same_code

DATA = Path(__file__).resolve().parents[3] / "shared/data"
REAL: dict[FileFormat, str] = {
    "edos": "corpus/edos/edos_labelled_aggregated.csv",
    "davidson": "corpus/davidson/labeled_data.csv",
    "paradetox": "corpus/paradetox/paradetox.tsv",
    "diasafety": "corpus/diasafety",
    "toxigen": "benchmarks/toxigen_annotated/toxigen.csv",
    "wiki_talk": "corpus/wiki_toxicity_testsets/toxicity_nonfuzzed_testset.csv",
    "wiki_templates": "corpus/wiki_toxicity_testsets/bias_madlibs_77k.csv",
    "hh_rlhf": "benchmarks/hh_rlhf/test.jsonl.gz",
}


def table(path: Path, text: str, **settings: Any) -> LabelledFile:
    path.write_text(text, encoding="utf-8")
    return LabelledFile(name="own", path=path, axis="toxicity", **settings)


def labelled(frame: pl.DataFrame) -> dict[str, float]:
    return dict(frame.select("text", "label").iter_rows())


@pytest.mark.parametrize(
    ("settings", "values", "wanted"),
    [
        ({}, ["0.25", "1", "true"], [0.25, 1.0, 1.0]),
        ({"positive_labels": [1]}, ["1", "1.0", "2"], [1.0, 1.0, 0.0]),
        ({"positive_labels": ["Rude"], "negative_labels": ["fine"]}, [" rude ", "Fine", "RUDE"], [1.0, 0.0, 1.0]),
        ({"threshold": 3}, ["2.9", "3", "5"], [0.0, 1.0, 1.0]),
    ],
)
@pytest.mark.parametrize("suffix", [".csv", ".tsv.gz", ".jsonl", ".parquet"])
def test_one_table_in_every_format_gives_the_same_labels(
    tmp_path: Path, settings: dict[str, Any], values: list[str], wanted: list[float], suffix: str
) -> None:
    texts = ['It, "they said", is one.', "Two lines\nin one.", "Three naïve ones."]
    frame = pl.DataFrame({"said": texts, "verdict": values, "about": ["x", None, "z"]})
    path = tmp_path / f"labels{suffix}"
    if suffix == ".csv":
        frame.write_csv(path)
    elif suffix == ".tsv.gz":
        path.write_bytes(gzip.compress(frame.write_csv(separator="\t").encode()))
    elif suffix == ".jsonl":
        frame.write_ndjson(path)
    else:
        frame.write_parquet(path)
    columns: dict[str, Any] = {"text_column": "said", "label_column": "verdict", "group_column": "about"}
    found = file_labels(LabelledFile(name="own", path=path, axis="bias", **columns, **settings))
    assert dict(found.schema) == LABELS_SCHEMA
    assert found["group"].to_list() == ["x", None, "z"]
    assert labelled(found) == dict(zip(texts, wanted, strict=True))


def test_a_table_with_splits_has_their_roles_and_no_near_duplicate_in_two(tmp_path: Path) -> None:
    file = table(
        tmp_path / "t.csv",
        "text,label,part\nWhat a fool you are!,1,a\nwhat a fool you are,1,b\nHave a nice day.,0,a\n",
        positive_labels=(1,),
        split_column="part",
        split_roles={"a": "fit", "b": "report"},
    )
    found = file_labels(file)
    assert sorted(found.select("text", "split", "role").rows()) == [
        ("Have a nice day.", "a", "fit"),
        ("what a fool you are", "b", "report"),
    ]
    assert {(entry.split, entry.role) for entry in declared_splits([file])} == {("a", "fit"), ("b", "report")}


@pytest.mark.parametrize(
    ("content", "settings", "error", "said"),
    [
        ("text,label\nfine,0\nbad,maybe\n", {"positive_labels": ("1",), "negative_labels": ("0",)}, DataError, "row 2"),
        ("text,label\nfine,0\nbad,\n", {"positive_labels": ("1",)}, DataError, r"row 2 .* missing"),
        ("text,label\nfine,1.5\n", {}, DataError, r"row 1 .*'1\.5'.*\[0, 1\]"),
        ("text,label\nfine,0\n", {"positive_labels": ("yes",)}, DataError, "no row of label"),
        ("words,label\nfine,0\n", {}, ConfigError, r"t\.csv has no column 'text'; its columns are 'words', 'label'"),
        ("text,label,s\nfine,0,dev\n", {"split_column": "s", "split_roles": {"x": "fit"}}, DataError, "'dev'"),
        ("text,label\n,0\n", {}, DataError, "no labelled text"),
    ],
)
def test_what_is_wrong_with_a_table_is_said(
    tmp_path: Path, content: str, settings: dict[str, Any], error: type[Exception], said: str
) -> None:
    with pytest.raises(error, match=said):
        file_labels(table(tmp_path / "t.csv", content, **settings))


def test_files_that_cannot_be_read_are_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"absent\.csv is no file"):
        file_labels(LabelledFile(name="own", path=tmp_path / "absent.csv", axis="bias"))
    (tmp_path / "train.json").write_text("[]")
    with pytest.raises(ConfigError, match=r"val\.json is no file"):
        file_labels(LabelledFile(name="dia", path=tmp_path, format="diasafety"))
    (tmp_path / "latin.csv").write_bytes("text,label\nplain,0\ncaf\xe9,1\n".encode("latin-1"))
    with pytest.raises(DataError, match=r"latin\.csv, line 3: not UTF-8 \(byte 0xe9\)"):
        file_labels(LabelledFile(name="own", path=tmp_path / "latin.csv", axis="bias"))
    (tmp_path / "cut.csv.gz").write_bytes(gzip.compress(b"text,label\n" * 99)[:30])
    with pytest.raises(DataError, match="gzip"):
        file_labels(LabelledFile(name="own", path=tmp_path / "cut.csv.gz", axis="bias"))


def test_another_content_is_another_fingerprint(tmp_path: Path) -> None:
    file = table(tmp_path / "t.csv", "text,label\nfine,0\n")
    folder = LabelledFile(name="dia", path=tmp_path, format="diasafety")
    with pytest.raises(ConfigError, match=r"train\.json is no file"):
        fingerprints([file, folder])
    for split in ("train", "val", "test"):
        (tmp_path / f"{split}.json").write_text("[]")
    before = fingerprints([file, folder])
    assert before["own"] == hashlib.sha256(b"text,label\nfine,0\n").hexdigest()
    (tmp_path / "val.json").write_text("[ ]")
    assert {name for name, value in fingerprints([file, folder]).items() if value != before[name]} == {"dia"}


def test_a_line_that_holds_no_plain_values_is_named(tmp_path: Path) -> None:
    for line, said in (('["fine", 0]', "an object is needed"), ('{"text": ["a"], "label": 0}', "text is a list")):
        (tmp_path / "t.jsonl").write_text('{"text": "fine", "label": false}\n' + line)
        with pytest.raises(DataError, match=rf"t\.jsonl, line 2: .*{said}"):
            file_labels(LabelledFile(name="own", path=tmp_path / "t.jsonl", axis="bias"))


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (r'{"text": "half \ud83d of a pair", "label": 0}', r"line 2: text has half of a surrogate pair at character 5"),
        ('{"text": ' + "[" * 100_000 + "}", "line 2: not JSON that can be read"),
        ('{"text": "fine", "label": ' + "1" * 5_000 + "}", "line 2: not JSON that can be read"),
    ],
)
def test_a_value_that_cannot_be_held_is_named(tmp_path: Path, line: str, said: str) -> None:
    (tmp_path / "t.jsonl").write_text('{"text": "fine", "label": 0}\n' + line)
    with pytest.raises(DataError, match=rf"t\.jsonl, {said}"):
        file_labels(LabelledFile(name="own", path=tmp_path / "t.jsonl", axis="bias"))
    pair = line.replace("text", "chosen").replace("label", "rejected")
    (tmp_path / "t.jsonl").write_text(pair.replace(": 0}", ': "x"}'))
    with pytest.raises(DataError, match=r"t\.jsonl, row 1"):
        preference_sets([LabelledFile(name="own", path=tmp_path / "t.jsonl", format="hh_rlhf")])


def test_tables_that_unpack_to_too_much_are_refused(tmp_path: Path) -> None:
    rows = 100_000
    (tmp_path / "runs.parquet").write_bytes(
        parquet(
            [
                Column([page(plain(b"w" * 2**20), 1, dictionary=True), same_code(rows)]),
                Column([page(plain(b"1"), 1, dictionary=True), same_code(rows)], b"label"),
            ],
            rows,
        )
    )
    machine = zlib.compressobj(wbits=31)
    packed = [machine.compress(b"text,label\n"), *(machine.compress(bytes(2**20)) for _ in range(100))]
    (tmp_path / "zeros.csv.gz").write_bytes(b"".join(packed) + machine.flush())
    for name in ("runs.parquet", "zeros.csv.gz"):
        tracemalloc.start()
        with pytest.raises(DataError, match=rf"{name} is n.*a decompression bomb"):
            file_labels(LabelledFile(name="own", path=tmp_path / name, axis="bias"))
        assert tracemalloc.get_traced_memory()[1] < 100e6
        tracemalloc.stop()


def test_columns_of_a_parquet_file(tmp_path: Path) -> None:
    far = pa.array([0, 2**60], pa.int64()).cast(pa.timestamp("ms"))
    text = pa.array(["one text", "another text"]).dictionary_encode()
    pq.write_table(pa.table({"text": text, "label": [0, 1], "when": far, "list": [[1], []]}), tmp_path / "t.parquet")
    own: dict[str, Any] = {"name": "own", "path": tmp_path / "t.parquet", "axis": "bias"}
    assert file_labels(LabelledFile(**own))["label"].to_list() == [0, 1]
    for column in ("when", "list"):
        with pytest.raises(DataError, match=rf"t\.parquet: column {column} does not hold plain values, but"):
            file_labels(LabelledFile(**own, text_column=column))


def test_settings_refuse_what_contradicts_itself(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    for settings in (
        {},
        {"axis": "bias", "threshold": 1.0, "positive_labels": ("1",)},
        {"axis": "bias", "split_column": "s"},
        {"format": "edos", "text_column": "t"},
    ):
        with pytest.raises(ValidationError):
            LabelledFile(name="own", path=path, **settings)
    file = LabelledFile(name="own", path=path, format="edos")
    with pytest.raises(ValidationError, match="share the name"):
        LabelSettings(files=(file, file))
    with pytest.raises(ConfigError, match="redditbias"):
        labelled_sets(tmp_path, files=[file.model_copy(update={"name": "redditbias"})])


def test_axes_of_packaged_and_own_sets(tmp_path: Path) -> None:
    edos = LabelledFile(name="sexism", path=tmp_path, format="edos")
    assert (axis_of("impermium"), axis_of("redditbias"), axis_of("pyrit_refusal")) == ("toxicity", "bias", "refusal")
    assert axis_of("sexism", [edos]) == "bias"
    assert axis_of("sexism", [edos.model_copy(update={"axis": "toxicity"})]) == "toxicity"
    with pytest.raises(ConfigError, match="no labelled set 'sexism'"):
        axis_of("sexism")


def published(folder: Path, format: FileFormat, name: str, content: str) -> pl.DataFrame:
    (folder / name).write_text(content, encoding="utf-8")
    return file_labels(LabelledFile(name=format, path=folder / name, format=format))


def test_published_formats(tmp_path: Path) -> None:
    edos = published(
        tmp_path,
        "edos",
        "edos.csv",
        "rewire_id,text,label_sexist,label_category,label_vector,split\n"
        "a,What a stupid woman.,sexist,x,y,train\nb,I parked my car.,not sexist,none,none,dev\n"
        "c,The car is red.,not sexist,none,none,test\n",
    )
    assert edos.select("label", "split", "role").rows() == [
        (1.0, "train", "fit"),
        (0.0, "dev", "calibrate"),
        (0.0, "test", "report"),
    ]
    davidson = published(
        tmp_path,
        "davidson",
        "davidson.csv",
        ",count,hate_speech,offensive_language,neither,class,tweet\n0,3,2,1,0,0,You lot &amp; yours are idiots\n"
        "1,3,0,3,0,1,you idiot\n2,4,0,0,4,2,good morning\n",
    )
    assert labelled(davidson) == {"You lot & yours are idiots": 1.0, "you idiot": 0.0, "good morning": 0.0}
    assert davidson["agreement"].to_list() == pytest.approx([2 / 3, 1.0, 1.0])
    talk = published(tmp_path, "wiki_talk", "talk.csv", "rev_id,comment,toxic\n1,stupid edit,True\n2,good edit,False\n")
    assert labelled(talk) == {"stupid edit": 1.0, "good edit": 0.0}
    assert set(talk["role"]) <= {"calibrate", "report"}
    toxigen = published(
        tmp_path,
        "toxigen",
        "toxigen.csv",
        "text,target_group,toxicity_ai,toxicity_human\n"
        "b'no caf\\xc3\\xa9 for them',women,3,3\n"
        "b'all are welcome',women,1,1\nb'they might be odd',women,2.5,3\n",
    )
    assert labelled(toxigen) == {"no café for them": 1.0, "all are welcome": 0.0, "they might be odd": 0.0}
    templates = published(
        tmp_path,
        "wiki_templates",
        "templates.csv",
        "Text,Label,Template\nAnna is a kind deaf,NOT_BAD,name_adj\nAnna is a vile middle aged,BAD,name_adj\n"
        "being middle aged is fine,NOT_BAD,being_adj\nyou are a good baker,NOT_BAD,you_occupation\n",
    )
    assert templates["group"].to_list() == ["deaf", "middle aged", "middle aged", None]
    assert set(templates["role"]) == {"report"}


def test_a_bytes_literal_is_read_and_never_run(tmp_path: Path) -> None:
    assert unquote_bytes(tmp_path, 1, r"b'it\'s \xc3\xa9'") == "it's é"
    assert unquote_bytes(tmp_path, 1, "plain") == "plain"
    for raw in ("b'a' + print(1)", "b'cut", r"b'\xff'", "b''.join([])"):
        with pytest.raises(DataError, match="row 7"):
            unquote_bytes(tmp_path, 7, raw)


def test_paradetox_pairs_never_part(tmp_path: Path) -> None:
    lines = [f"you are {i} silly idiots\twe number {i}\tthere are {i} of us\t" for i in range(300)]
    found = published(tmp_path, "paradetox", "p.tsv", "\n".join(["toxic\tneutral1\tneutral2\tneutral3", *lines]))
    number = found["text"].str.extract(r"(\d+)").alias("number")
    groups = found.group_by(number).agg(pl.col("role").n_unique(), pl.col("label").mean(), pl.len())
    assert set(groups["role"]) == {1}
    assert set(groups["len"]) == {3}
    assert groups["label"].to_list() == pytest.approx([1 / 3] * 300)
    assert found["role"].n_unique() == 3


def test_preferences_of_conversations(tmp_path: Path) -> None:
    start = "\n\nHuman: How are you?\n\nAssistant: Well.\n\nHuman: Say more.\n\nAssistant:"
    pairs = [
        (start + " Gladly.", start + " No."),
        (start + " Same.", start + " Same."),
        ("\n\nHuman: Hi\n\nAssistant: Hello.", "\n\nHuman: Hi\n\nAssistant: Go away.\n\nHuman: Why?\n\nAssistant: So."),
    ]
    path = tmp_path / "pairs.jsonl.gz"
    text = "\n".join(json.dumps({"chosen": a, "rejected": b}) for a, b in pairs)
    path.write_bytes(gzip.compress(text.encode()))
    found = preference_sets([LabelledFile(name="hh", path=path, format="hh_rlhf")])
    assert dict(found.schema) == PREFERENCES_SCHEMA
    assert found.select("context", "preferred", "dispreferred", "source").rows() == [
        (start.strip(), "Gladly.", "No.", "hh")
    ]
    path.write_bytes(gzip.compress(b'{"chosen": "x", "rejected": 1}'))
    with pytest.raises(DataError, match="row 1: the texts chosen and rejected"):
        preference_sets([LabelledFile(name="hh", path=path, format="hh_rlhf")])


def test_preferences_of_dialogues_tell_nothing_by_length(tmp_path: Path) -> None:
    replies = [("Please see a doctor about it soon", "Safe"), ("Just take twice as many of those", "Unsafe")]
    for split, n in (("train", 40), ("val", 8), ("test", 8)):
        items = [
            {
                "context": f"{split} question {i}",
                "response": f"{reply}{'!' * (i * len(reply) % 5)} {split} {i}",
                "category": "Risk",
                "label": label,
            }
            for i in range(n)
            for reply, label in replies
        ]
        (tmp_path / f"{split}.json").write_text(json.dumps(items))
    found = preference_sets([LabelledFile(name="dia", path=tmp_path, format="diasafety")])
    assert set(found["role"]) == {"fit", "calibrate", "report"}
    assert found["preferred"].str.starts_with("Please").all()
    assert found["dispreferred"].str.starts_with("Just").all()
    gap = found["preferred"].str.len_chars().cast(pl.Int64) - found["dispreferred"].str.len_chars().cast(pl.Int64)
    for role in ("fit", "calibrate", "report"):
        assert gap.filter(found["role"] == role).sign().sum() == 0


@pytest.fixture(scope="module")
def real_files() -> list[LabelledFile]:
    missing = [path for path in REAL.values() if not (DATA / path).exists()]
    if missing:
        pytest.skip(f"the real data sets are not beside the project ({missing[0]})")
    return [LabelledFile(name=name, path=DATA / path, format=name) for name, path in REAL.items()]


@pytest.mark.network
def test_real_files_have_the_published_sizes_and_no_text_in_two_roles(
    real_files: list[LabelledFile], package_cache: Path
) -> None:
    began = time.process_time()
    labels = labelled_sets(package_cache, files=real_files)
    check(labels)
    assert time.process_time() - began < 15
    sizes = dict(labels.group_by("dataset").len().iter_rows())
    # The publishers' counts (24,783 tweets; 31,677 sides of pairs; 11,209 dialogues; ...) less repeated texts.
    for name, low, high in (
        ("edos", 19_900, 20_000),
        ("davidson", 24_700, 24_783),
        ("paradetox", 30_000, 31_677),
        ("diasafety", 10_800, 11_209),
        ("toxigen", 8_900, 8_960),
        ("wiki_talk", 1_480, 1_492),
        ("wiki_templates", 76_564, 76_564),
    ):
        assert low <= sizes[name] <= high, name
    assert labels.select("dataset", "text_id").is_unique().all()
    means = dict(labels.group_by("dataset").agg(pl.col("label").mean()).iter_rows())
    assert means["edos"] == pytest.approx(0.243, abs=0.005)  # Kirk et al. (2023): 4,854 of 20,000
    assert means["davidson"] == pytest.approx(1430 / 24783, abs=0.001)
    assert means["wiki_templates"] == 0.5
    assert not labels.filter(pl.col("dataset") == "toxigen")["text"].str.starts_with("b'").any()
    declared = {(entry.dataset, entry.split): entry.role for entry in declared_splits(real_files)}
    own = labels.filter(pl.col("dataset").is_in(list(REAL))).select("dataset", "split", "role").unique()
    assert {(d, s): r for d, s, r in own.iter_rows()} == declared


def test_real_preferences(real_files: list[LabelledFile]) -> None:
    pairs = preference_sets(real_files)
    assert pairs["pair_id"].is_unique().all()
    counts = dict(pairs.group_by("source").len().iter_rows())
    assert 2_230 <= counts["hh_rlhf"] <= 2_312
    assert counts["diasafety"] > 3_000
    chats = pairs.filter(pl.col("source") == "hh_rlhf")
    assert chats["context"].str.ends_with("Assistant:").all()
    dialogues = file_labels(next(file for file in real_files if file.name == "diasafety"))
    held = preference_sets(real_files, dialogues)
    assert 0.95 * pairs.height < held.height < pairs.height
    sides = held.unpivot(["context", "preferred", "dispreferred"], index=["pair_id", "source", "role"], value_name="t")
    rows = sides.select(text_id="pair_id", dataset=pl.lit("pairs"), split="role", text="t", role="role")
    check(pl.concat([rows.filter(pl.col("text") != ""), dialogues.select(rows.columns)]))
