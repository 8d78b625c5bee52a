# ruff: noqa: RUF001 - letters and signs of other scripts look like Latin ones, and are meant
from __future__ import annotations

import time

import polars as pl
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from curation_pipeline.annotate.annotator_settings import PiiSettings
from curation_pipeline.annotate.pii import SCHEMA, SPANS, pii, redact
from curation_pipeline.annotate.pii_patterns import PLACEHOLDERS, luhn
from curation_pipeline.errors import DataError


def _pii(*texts: str, settings: PiiSettings | None = None) -> pl.DataFrame:
    columns = {"doc_id": [str(i) for i in range(len(texts))], "text": list(texts)}
    return pii(pl.DataFrame(columns, schema={"doc_id": pl.Utf8, "text": pl.Utf8}), settings)


def _found(text: str, settings: PiiSettings | None = None) -> list[tuple[str, str]]:
    spans = _pii(text, settings=settings)["spans"][0].to_list()
    return [(text[span["start"] : span["end"]], span["kind"]) for span in spans]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Write to jo.bloggs+list@mail.example.co.uk.", [("jo.bloggs+list@mail.example.co.uk", "email")]),
        ("<mailto:jo@example.org>, (ann_b@example.com)", [("jo@example.org", "email"), ("ann_b@example.com", "email")]),
        ("(212) 555-0187 or 212.555.0188", [("(212) 555-0187", "phone"), ("212.555.0188", "phone")]),
        ("Work 713-555-0142; home 1-713-555-0143.", [("713-555-0142", "phone"), ("1-713-555-0143", "phone")]),
        ("from abroad +1 (555) 123-4567 ext 4", [("+1 (555) 123-4567", "phone")]),
        ("London +44 20 7946 0958 today", [("+44 20 7946 0958", "phone")]),
        ("Berlin +49 (0)30 901820", [("+49 (0)30 901820", "phone")]),
        ("London 020 7946 0958, Leeds 0113 496 0000", [("020 7946 0958", "phone"), ("0113 496 0000", "phone")]),
        ("Tel: 5551234567", [("5551234567", "phone")]),
        ("phone 555-1234 after six", [("555-1234", "phone")]),
        ("the host 81.2.69.142:8080 answered", [("81.2.69.142", "ip")]),
        ("from 2a00:1450:4009:81f::200e at noon", [("2a00:1450:4009:81f::200e", "ip")]),
        ("card 4111 1111 1111 1111, exp 09/27", [("4111 1111 1111 1111", "card")]),
        ("5500-0000-0000-0004 and 378282246310005", [("5500-0000-0000-0004", "card"), ("378282246310005", "card")]),
        ("212-555-0187@example.com", [("212-555-0187@example.com", "email")]),
    ],
)  # fmt: skip
def test_personal_data_is_found(text: str, expected: list[tuple[str, str]]) -> None:
    assert _found(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        "The war of 1914-1918 and the years 2001\u20132005, 1939-1945.",
        "ISBN 978-3-16-148410-0; ISBN 0-306-40615-2; ISSN 2049-3630; PMID: 12345678.",
        "Section 12.4.1.10 of the code, clause 10.20.30.40, see 3.2.1.4.",
        "version 10.15.7.2, Firefox v115.0.20.30, build 114.0.5735.199",
        "p = 0.0001 (95% CI 1.28-33.03), 0.49 (0.35-0.79), 3.14159265358979",
        "Between 01/02/2003 12:00 and 2019-10-12 10:11:12, on 31.12.1999.",
        "About 1,234,567,890 people; 100 200 3000 4000; $4,500,000.00; 12 345 678 km.",
        "Case No. 312-555-0199; Docket 06-1234 (2010), 2014 WL 7338846, 42 U.S.C. §§ 12181-12189",
        "https://example.com/212-555-0187?id=4111111111111111",
        "std::vector<a::b>, 12:30:45, ::1, fe80::1",
        "127.0.0.1, 10.0.0.12, 192.168.1.17 and 203.0.113.9",
        "icon@2x.png, user@localhost, @handle, a@b, lodash@4.17.21",
        "4111 1111 1111 1112 fails its check digit; 9111 1111 1111 1111 is of no issuer",
        "rs11741808, GSE0012345678, 31.220.10 and 154-111-37-18",
        "call 2008-2009 a good season",
    ],
)
def test_other_numbers_are_left_alone(text: str) -> None:
    assert _found(text) == []


ITEMS = {
    "jo@example.org": "email",
    "93.184.216.34": "ip",
    "2a00:1450:4009:81f::200e": "ip",
    "4111111111111111": "card",
    "010-62345678": "phone",
    "+86 138 1234 5678": "phone",
    "(212) 555-0187": "phone",
}
BEFORE = ("请联系", "サーバー", "이메일", "ติดต่อที่", "на", "שלום", "مرحبا", "कार्ड", "προς", "“", "：")
AFTER = ("已过期", "まで", "입니다", "ได้", "сегодня", "היום", "اليوم", "पर", "σήμερα", "”", "。", "，", "。2020年")


@given(st.sampled_from(list(ITEMS)), st.sampled_from(BEFORE), st.sampled_from(AFTER), st.sampled_from(["", "😀é "]))
def test_letters_of_other_scripts_part_an_item_from_text(item: str, before: str, after: str, first: str) -> None:
    assert _found(first + before + item + after) == [(item, ITEMS[item])]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("jürgen.straße@müller.de!", "jürgen.straße@müller.de"),
        ("um u\u0308mit@example.org", "u\u0308mit@example.org"),
        ("почта: коля@пример.рф, иван.petrov@example.ru", "коля@пример.рф|иван.petrov@example.ru"),
        ("अजय@डाटा.भारत या χρήστης@παράδειγμα.ελ", "अजय@डाटा.भारत|χρήστης@παράδειγμα.ελ"),
        ("راسل@مثال.مصر ", "راسل@مثال.مصر"),
        ("用户@例子.公司谢谢 二ノ宮@黒川.日本", "用户@例子.公司|二ノ宮@黒川.日本"),
        ("사람@회사.한국입니다", "사람@회사.한국"),
        ("jo@xn--e1afmkfd.xn--p1ai now", "jo@xn--e1afmkfd.xn--p1ai"),
        ('"john smith"@example.org and jo@[93.184.216.34]', '"john smith"@example.org|jo@[93.184.216.34]'),
        ("请联系jo@example.org或访问example.com", "jo@example.org"),
        ("jo＠example.org, ｊｏ＠ｅｘａｍｐｌｅ．ｏｒｇ", "jo＠example.org|ｊｏ＠ｅｘａｍｐｌｅ．ｏｒｇ"),
        ("jo@example。org jo@example．org", "jo@example。org|jo@example．org"),
        ("jo\u200b@exam\u00adple.org\u200b谢谢", "jo\u200b@exam\u00adple.org"),
        ("see...jo@example.org, *_jo@example.org_* jo@example.com¹", "jo@example.org|_jo@example.org|jo@example.com"),
        ("jo@example.org.Привет", "jo@example.org"),
    ],
)
def test_addresses_of_every_script(text: str, expected: str) -> None:
    assert [item for item, _ in _found(text)] == expected.split("|")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("电话０１０－６２３４５６７８。", "０１０－６２３４５６７８"),
        ("手机号码：13812345678，（010）62345678", "13812345678|（010）62345678"),
        ("٠١٠-٦٢٣٤٥٦٧٨ هنا", "٠١٠-٦٢٣٤٥٦٧٨"),
        ("03ー1234ー5678へ", "03ー1234ー5678"),
        ("212\u2011555\u20110187", "212\u2011555\u20110187"),
        ("4111\u200b1111\u200b1111\ufeff1111 ok", "4111\u200b1111\u200b1111\ufeff1111"),
        ("4111\u00a01111\u20071111\u202f1111", "4111\u00a01111\u20071111\u202f1111"),
        ("9\ufe0f\u20e33.184.216.34", "9\ufe0f\u20e33.184.216.34"),
        ("93。184。216。34 ９３．１８４．２１６．３４", "93。184。216。34|９３．１８４．２１６．３４"),
        ("2223 0031 2200 3222", "2223 0031 2200 3222"),
        ("010-62345678\u200babc 4111111111111111\u200b1", "010-62345678|4111111111111111"),
    ],
)
def test_numbers_in_any_characters_are_redacted_where_they_stand(text: str, expected: str) -> None:
    assert [item for item, _ in _found("😀\u200b" + text)] == expected.split("|")


@pytest.mark.parametrize(
    "text",
    [
        "版本10.15.7.2，版本号：10.15.7.2，v10.15.7.2版，バージョン10.15.7.2，버전10.15.7.2",
        "第12.4.1.10条、図12.4.1.10、见12.4.1.10、12.3.4.15节",
        "2019年10月12日，1914－1918年，会议1939\u20111945，电话2008-2009",
        "价格￥4,500,000.00元，価格は¥212-555-0187，共1234567890人，一共123 456 789元",
        "ISBN978-7-111-21382-6，书号ISBN 0-306-40615-2。编号010-62345678，型号GSE0012345678",
        "感谢@小明。加油！谢谢@小红 加油；icon@2x.png图，lodash@4.17.21版，@user@mastodon.social",
        "π≈3.14159265358979，12:30:45分，127.0.0.1本机，卡号4111111111111112。",
    ],
)
def test_other_numbers_next_to_letters_of_other_scripts_are_left_alone(text: str) -> None:
    assert _found(text) == []


def test_settings() -> None:
    text = "jo@example.org at 192.168.1.17"
    assert _found(text, PiiSettings(kinds=("ip",), private_ips=True)) == [("192.168.1.17", "ip")]
    assert _found(text, PiiSettings(private_ips=True))[0] == ("jo@example.org", "email")


@pytest.mark.parametrize(
    ("digits", "valid"), [("79927398713", True), ("79927398710", False), ("0", True), ("18", True)]
)
def test_luhn(digits: str, valid: bool) -> None:
    assert luhn(digits) is valid


_PIECES = st.sampled_from(
    ["jo@example.org", "212-555-0187", "+44 20 7946 0958", "81.2.69.142", "4111 1111 1111 1111", "4111111111111111",
     "(212) 555-0187", "020 7946 0958", "tel ", "call ", "No. ", "phone", "version ", " ", "-", ".", ",", "@", "+",
     "1", "0", "555", "::", "2a00:1450:4009:81f::200e", "<", ">", "\u00a0", "é", "🙂", "\n", "x",
     "用户@例子.公司", '"jo b"@example.org', "电话", "版本", "上", "ー", "。", "＠", "．", "０", "\u200b", "\u0301",
     "и", "ไ่"]
)  # fmt: skip


@given(
    st.lists(_PIECES, max_size=14).map("".join)
    | st.text(st.sampled_from('0123456789 -.+()@:/afx<>é🙂"上ー。＠．０\u200bи'), max_size=80)
)
@example("tel 4111 1111 1111 1111212-555-0187")
def test_redacted_text_holds_no_spans(text: str) -> None:
    found = _pii(text)
    row = found.row(0, named=True)
    ends = [0]
    for span in row["spans"]:
        assert ends[-1] <= span["start"] < span["end"] <= len(text)
        ends.append(span["end"])
    for kind in PLACEHOLDERS:
        assert row[f"n_{kind}"] == sum(span["kind"] == kind for span in row["spans"])
    clean = redact(pl.Series("text", [text]), found["spans"])
    assert _pii(clean.item())["spans"][0].to_list() == []
    # Everything outside of the spans stands as it was.
    outside = [text[a:b] for a, b in zip(ends, [*(s["start"] for s in row["spans"]), len(text)], strict=True)]
    place = 0
    for part in outside:
        assert clean.item().find(part, place) >= 0
        place = clean.item().find(part, place) + len(part)


@given(st.text(st.characters(exclude_categories=["Cs", "N", "L", "P", "S"]), max_size=20), st.text(max_size=20))
def test_offsets_are_characters(before: str, after: str) -> None:
    text = f"🙂é{before} ({'jo@example.org'}) {after}"
    assert ("jo@example.org", "email") in _found(text)


@given(st.lists(st.text(max_size=60), max_size=6))
def test_any_text(texts: list[str]) -> None:
    found = _pii(*texts)
    assert dict(found.schema) == SCHEMA
    assert found["doc_id"].to_list() == [str(i) for i in range(len(texts))]
    assert found.null_count().sum_horizontal().item() == 0
    assert len(redact(pl.Series("t", texts, dtype=pl.Utf8), found["spans"])) == len(texts)


def test_redact_merges_overlaps_and_checks_its_input() -> None:
    def spans(*values: tuple[int, int, str]) -> pl.Series:
        return pl.Series([[dict(zip(("start", "end", "kind"), value, strict=True)) for value in values]], dtype=SPANS)

    texts = pl.Series("body", ["0123456789"])
    out = redact(texts, spans((4, 7, "ip"), (2, 5, "phone"), (2, 4, "card"), (8, 9, "email")))
    assert out.to_list() == ["01<PHONE>7<EMAIL>9"]
    assert out.name == "body"
    with pytest.raises(DataError, match="10 characters"):
        redact(texts, spans((4, 11, "ip")))
    with pytest.raises(DataError, match="one list"):
        redact(texts, pl.Series([], dtype=SPANS))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("地址:2606:4700:4700::1111的 IP:2606:4700:4700::1112", "2606:4700:4700::1111|2606:4700:4700::1112"),
        ("电话+86 138 1234 5678 2024年", "+86 138 1234 5678"),
        ("房间 5 +8613812345678/+8613912345678", "+8613812345678|+8613912345678"),
        ("card 4111 1111 1111 1111 12/26 or 4111111111111111 123", "4111 1111 1111 1111|4111111111111111"),
        ("ivan@mail.md, user@company.py", "ivan@mail.md|user@company.py"),
        ("+7 916 123\u201245\u201267", "+7 916 123\u201245\u201267"),
        ("415-555-2671 " * 10, "|".join(["415-555-2671"] * 10)),
        ("טלפון 03-5551234", "03-5551234"),
    ],
)
def test_what_is_next_to_an_item_does_not_hide_it(text: str, expected: str) -> None:
    assert [item for item, _ in _found(text)] == expected.split("|")


@pytest.mark.parametrize(
    "piece",
    [
        "0",
        "1 ",
        "+1 ",
        "+86 138 1234 5678 ",
        "a@",
        "@a.",
        "1.1.",
        "1:",
        "4111 1111 1111 1111 ",
        "(212) 555-0187 ",
        "tel 1-",
        "a@b.com ",
    ],
)
def test_long_text_takes_linear_time(piece: str) -> None:
    text = piece * (1_000_000 // len(piece))
    started = time.process_time()
    found = _pii(text)
    redact(pl.Series([text]), found["spans"])
    assert time.process_time() - started < 8.0  # quadratic time would be minutes
