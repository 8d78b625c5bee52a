"""Text by the web's encodings: labels as browsers mean them, declarations believed where the bytes bear them out."""

# ruff: noqa: RUF001 - characters that look alike are what encodings confuse.

from __future__ import annotations

import codecs

import pytest

from curation_pipeline.corpus.charsets import UnreadableError, decode_page
from tests.corpus.formats import read, settings

PAGE = "<html><head>{}</head><body><p>{}</p></body></html>"

# Label, the codec that made the bytes, and text that shows whether Python's codec of the label's name was taken.
LABELS = [
    ("iso-8859-1", "cp1252", "“Smart” – it’s 5 €"),
    ("US-ASCII", "cp1252", "“Smart” – it’s 5 €"),
    ("iso-8859-9", "cp1254", "“İyi günler” ışık €"),
    ("tis-620", "cp874", "“ไทย” €"),
    ("ks_c_5601-1987", "cp949", "똠방각하 펲시콜라"),
    ("shift_jis", "cp932", "①㈱髙橋 表示"),
    ("gb2312", "gb18030", "朱镕基 €"),
    ("big5", "big5hkscs", "喬治 嘅啲"),
    ("euc-jp", "euc_jp", "日本語のページ"),
    ("iso-2022-jp", "iso2022_jp", "日本語のページ"),
    ("iso-8859-8-i", "iso8859_8", "שלום עולם"),
    ("koi8-r", "koi8_r", "Привет, мир"),
    (" Windows-1251 ", "cp1251", "Привет, мир"),
    ("utf-16", "utf-16-le", "Grüße“"),
]


@pytest.mark.parametrize(("label", "codec", "text"), LABELS)
def test_a_label_means_what_browsers_mean_by_it(label: str, codec: str, text: str) -> None:
    page = PAGE.format("", text)
    assert decode_page(page.encode(codec), label, "html") == page
    if label != "utf-16":  # a page in which ASCII can read the label is in another encoding
        for meta in (
            f"<meta charset='{label}'>",
            f'<META content="text/html; charset={label}" HTTP-EQUIV=Content-Type>',
        ):
            page = PAGE.format(meta, text)
            assert decode_page(page.encode(codec), None, "html") == page


@pytest.mark.parametrize(
    ("label", "raw", "text"),
    [
        ("latin1", b"\x81\x8d\x8f\x90\x9d caf\xe9 \x80", "\x81\x8d\x8f\x90\x9d café €"),
        ("euc-jp", b"\xad\xa1 \xa1\xc1 \xc6\xfc\xcb\xdc", "① ～ 日本"),
        ("iso-2022-jp", b"\x1b$B\x2d\x21\x46\x7c\x1b(B", "①日"),
        ("gbk", b"\x80 \xd6\xd0\xb9\xfa", "€ 中国"),
        ("big5", b"\xb3\xec\xaav\xa1E\xa5\xac\xa7\xc6", "喬治‧布希"),
        ("koi8-u", b"\xae\xd7\xc5\xd2\xd4\xcb", "ўвертк"),
    ],
)
def test_bytes_that_python_leaves_out_are_read_as_by_browsers(label: str, raw: bytes, text: str) -> None:
    assert decode_page(b"<p>" + raw, label, "html") == "<p>" + text


@pytest.mark.parametrize(
    ("head", "label"),
    [
        ("<meta charset=utf-16>", "utf-8"),
        ("<meta charset=x-user-defined>", "windows-1252"),
        ("<meta charset=nonsense><meta charset=koi8-r>", "koi8-r"),
        ("<!-- <meta charset=big5> --><meta charset=koi8-r>", "koi8-r"),
        ('<p title="<meta charset=big5>"><meta/charset=koi8-r>', "koi8-r"),
        ("<meta name=description content='charset=big5'><meta charset=koi8-r>", "koi8-r"),
        ("<?xml version='1.0' encoding='koi8-r'?>", "koi8-r"),
    ],
)
def test_a_page_declares_its_encoding_as_the_standard_says(head: str, label: str) -> None:
    text = "Ýòî Привет" if label == "koi8-r" else "“é”"
    text = text.encode(label, "ignore").decode(label)
    assert decode_page((head + text).encode(label), None, "html") == head + text


def test_an_xml_declaration_comes_first_in_xhtml_only() -> None:
    raw = b"<?xml version='1.0' encoding='windows-1251'?><meta charset=koi8-r>\xcf\xf0\xe8\xe2\xe5\xf2"
    assert decode_page(raw, None, "xhtml").endswith("Привет")
    assert decode_page(raw, None, "html").endswith("оПХБЕР")


@pytest.mark.parametrize("mark", ["utf-8-sig", "utf-16", "utf-16-be", "utf-32"])
@pytest.mark.parametrize("twice", ["", "\ufeff"])
def test_a_byte_order_mark_wins_and_goes(mark: str, twice: str) -> None:
    page = PAGE.format("<meta charset=koi8-r>", "naïve “text”")
    raw = (codecs.BOM_UTF16_BE if mark == "utf-16-be" else b"") + (twice + page).encode(mark)
    assert decode_page(raw, "iso-8859-1", "html") == page


@pytest.mark.parametrize(
    ("declared", "codec", "meta", "text"),
    [
        ("iso-8859-1", "utf-8", "", "café"),
        ("windows-1251", "utf-8", "", "да"),
        ("shift_jis", "utf-8", "", "こんにちは"),
        ("gbk", "utf-8", "", "中文网页"),
        ("utf-16", "utf-8", "", "plain"),
        ("utf-16", "utf-8", "", "café"),
        ("utf-8", "cp1252", "", "it’s"),
        ("utf-8", "iso2022_jp", "", "日本語"),
        (None, "iso2022_jp", "", "日本語"),
        ("utf-8", "utf-16-le", "", "plain"),
        ("iso-8859-1", "cp1251", "<meta charset=windows-1251>", "Это русская страница с текстом"),
        ("windows-1251", "cp1251", "<meta charset=iso-8859-1>", "Это русская страница с текстом"),
        ("iso-8859-1", "cp932", "", "これは日本語のページです、と書いてあります。表示も日本語です。"),
        ("iso-8859-1", "cp932", "<meta charset=shift_jis>", "これは日本語のページです"),
        ("no-such-label", "cp1251", "<meta charset=windows-1251>", "Привет"),
    ],
)
def test_a_declaration_that_lies_is_caught(declared: str | None, codec: str, meta: str, text: str) -> None:
    page = PAGE.format(meta, text)
    assert decode_page(page.encode(codec), declared, "html") == page


def test_a_stray_byte_costs_a_character_and_not_the_page() -> None:
    page = PAGE.format("", "Größe und “Maß” überall, " * 20)
    raw = page.encode().replace(b"berall", b"\xffberall", 1)
    for declared in ("utf-8", "iso-8859-1", None):
        assert decode_page(raw, declared, "html").replace("\ufffd", "") == page


@pytest.mark.parametrize(
    ("declared", "raw", "reason"),
    [
        ("utf-8", bytes(range(128, 256)) * 4, "'utf-8', not decodable as utf-8"),
        ("iso-2022-kr", b"\x1b$)C\x0eGQ\xff", "browsers refuse"),
        ("hz-gb-2312", b"~{VPND\xff~}", "browsers refuse"),
        (None, b"\xff\xfe" + b"\x00\xd8" * 40, "utf-16le"),
        ("x-user-defined", b"\x81\x8d\x8f\x90\x9d", "x-user-defined"),
    ],
)
def test_what_no_encoding_reads_is_told(declared: str | None, raw: bytes, reason: str) -> None:
    with pytest.raises(UnreadableError, match=reason):
        decode_page(raw, declared, "html")


def test_whole_texts_in_what_browsers_refuse_are_read() -> None:
    assert decode_page(b"~{VPND~}", "HZ-GB-2312", "html") == "中文"
    assert decode_page("한국".encode("iso2022_kr"), "iso-2022-kr", "html") == "한국"


@pytest.mark.parametrize("codec", ["utf-8-sig", "utf-16", "utf-32"])
def test_files_of_text_may_be_utf_16_where_their_mark_says_so(codec: str) -> None:
    for name, text in (
        ("a.jsonl", '{"text": "první"}\n{"text": "二"}\n'),
        ("a.csv", 'text,n\n"první",1\n二,2\n'),
        ("a.txt", "první\n二\n"),
    ):
        found = read(name, text.encode(codec), settings(text_split="lines"))
        assert found.rows["text"].to_list() == ["první", "二"]
        assert found.failures.is_empty()
    cut = read("a.txt", "první\ndruhý\n".encode(codec)[:-1], settings(text_split="lines"))
    assert cut.rows["text"].to_list()[0] == "první"
    assert cut.failures.height == (codec != "utf-8-sig")


def test_utf_16_without_a_mark_is_no_text() -> None:
    found = read("a.txt", "a line\nand one more\n".encode("utf-16-le"), settings(text_split="lines"))
    assert found.rows.is_empty()
    assert set(found.failures["reason"]) == {"zero bytes: binary, or UTF-16 without its mark"}
