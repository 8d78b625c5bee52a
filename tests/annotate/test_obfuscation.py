from __future__ import annotations

import json
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from curation_pipeline.annotate.obfuscation import deobfuscate, obfuscation_share

DATA = Path(__file__).parents[2] / "../shared/data"

DISGUISED = {
    "you 1d10t": "you idiot",
    "57up1d l0s3r": "stupid loser",
    "i d i o t": "idiot",
    "such an i.d.i.o.t, really": "such an idiot, really",
    "s-t-u-p-i-d": "stupid",
    "sh!t and $tupid": "shit and stupid",
    "idi\u043et": "idiot",
    "\u0443\u043eu \u0430r\u0435": "you are",
    "\uff49\uff44\uff49\uff4f\uff54": "idiot",
    "\U0001d422\U0001d41d\U0001d422\U0001d428\U0001d42d": "idiot",
    "i\u200bd\u200biot": "idiot",
    "i\u0337d\u0336i\u0338ot": "idiot",
    "\u026a\u1d05\u026a\u1d0f\u1d1b": "idiot",
    "f**k": "f*k",
    "\u4f60i d i o t\u5417": "\u4f60idiot\u5417",
    "\ub098\ub294 1d10t\uc774\ub2e4": "\ub098\ub294 idiot\uc774\ub2e4",
}
PLAIN = (
    "4chan, mp3, the 1st of May, h2o, w3c, C3PO, covid19 and 1920x1080 at 5pm for $5",
    "U.S.A., e.g., N.A.T.O. and A B C D",
    "write to a@b.com or see http://x.com/a1b2c3 and Talk:Page#When it was",
    "@user123 said wow!that was cheap, #WWG1WGA",
    "\u041f\u0440\u0438\u0432\u0435\u0442, \u044d\u0442\u043e \u0441\u043e\u0440",
    "the \u03b1-helix is 5 \u03bcm long, a caf\u00e9 in S\u00e3o Paulo \u2014 \u201cna\u00efve\u201d",
    "III XVIII www.example.org",
    "",
)


def test_disguises_are_undone() -> None:
    found = deobfuscate(pl.Series(list(DISGUISED))).to_list()
    assert found == list(DISGUISED.values())
    assert (obfuscation_share(pl.Series(list(DISGUISED))) > 0).all()


def test_lengthening_is_undone_but_no_disguise() -> None:
    assert deobfuscate(pl.Series(["you are sooooo niiiice"])).to_list() == ["you are so nice"]
    assert obfuscation_share(pl.Series(["you are sooooo niiiice"])).to_list() == [0.0]


def test_a_masked_word_stays_and_counts() -> None:
    assert deobfuscate(pl.Series(["you st*pid man"])).to_list() == ["you st*pid man"]
    assert obfuscation_share(pl.Series(["you st*pid man"]))[0] == pytest.approx(1 / 3)


def test_ordinary_text_stays() -> None:
    assert deobfuscate(pl.Series(PLAIN)).to_list() == list(PLAIN)
    assert obfuscation_share(pl.Series(PLAIN)).sum() == 0.0


@given(st.lists(st.text(max_size=60), max_size=5))
def test_any_text_is_read_alone_and_twice_reads_the_same(texts: list[str]) -> None:
    found = deobfuscate(pl.Series(texts, dtype=pl.Utf8))
    assert len(found) == len(texts)
    assert found.to_list() == [deobfuscate(pl.Series([text]))[0] for text in texts]
    share = obfuscation_share(pl.Series(texts, dtype=pl.Utf8))
    assert share.dtype == pl.Float32
    assert share.is_between(0, 1).all()


@pytest.mark.parametrize(("folder", "most"), [("wikitext2", 1e-5), ("ewt_web", 4e-4)])
def test_real_text_is_left_alone(folder: str, most: float) -> None:
    if not (DATA / "corpus" / folder).is_dir():
        pytest.skip(f"needs the development data: {folder}")
    lines: list[str] = []
    for path in sorted((DATA / "corpus" / folder).iterdir()):
        for line in path.read_text(encoding="utf-8").splitlines():
            lines.append(json.loads(line)["text"] if path.suffix == ".jsonl" else line)
    texts = pl.Series(lines)
    found = deobfuscate(texts)
    changed = sum(
        sum(a != b for a, b in zip(old.split(), new.split(), strict=False))
        for old, new in zip(lines, found.to_list(), strict=True)
        if old != new and len(old.split()) == len(new.split())
    )
    assert changed / texts.str.split(" ").list.len().sum() < most
