from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from curation_pipeline.bootstrap import Bootstrap
from curation_pipeline.errors import DataError
from curation_pipeline.evaluation.benchmarks import challenges
from curation_pipeline.evaluation.benchmarks.challenges import FAMILIES, Item, contrasts, make_items, make_leans
from curation_pipeline.evaluation.likelihood import Likelihoods
from curation_pipeline.evaluation.model import LanguageModel
from curation_pipeline.evaluation.settings import EvaluationSettings
from tests.training.tiny_model import build


@pytest.mark.parametrize("family", FAMILIES)
def test_a_seed_makes_its_own_minimal_pairs(family: str) -> None:
    items = make_items(family, 60, 1)
    assert items == make_items(family, 60, 1)
    assert len(set(items)) == 60
    # New for each seed: few of another seed's are among them.
    assert len(set(items) & set(make_items(family, 60, 2))) < 30
    for item in items:
        assert item.a != item.b
        assert item.x != item.y
        assert item.x.startswith(" ")
        # What the contexts share opens or closes them: they differ in a part, not in everything.
        assert item.a[:2] == item.b[:2] or item.a[-5:] == item.b[-5:]
        assert "{" not in item.a + item.b


def test_a_family_that_is_used_up_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(FAMILIES, "one", lambda rng: Item("a", "b", " x", " y"))
    assert len(make_items("one", 1, 1)) == 1
    with pytest.raises(DataError, match=r"challenges\.used"):
        make_items("one", 2, 1)


def test_leans_differ_in_the_group_alone() -> None:
    found = make_leans(20, 3)
    assert {lean.category for lean in found} == {"orientation", "religion", "race", "disability", "gender"}
    assert all("person" in lean.person for lean in found)
    assert all(lean.group != lean.person for lean in found)


def _scripted(monkeypatch: pytest.MonkeyPatch, knows: bool) -> None:
    """A model that likes the words in their own way and, where it knows, what fits the context as well."""
    fits = {(item.a, item.x) for family in FAMILIES for item in make_items(family, 40, 5)}
    fits |= {(item.b, item.y) for family in FAMILIES for item in make_items(family, 40, 5)}

    def score(_lm: object, contexts: Sequence[str], words: Sequence[str], _size: int) -> Likelihoods:
        taste = [-float(len(word)) * 1.7 - (word[1] == "c") for word in words]
        bonus = [0.1 * ((c, w) in fits) if knows else 0.0 for c, w in zip(contexts, words, strict=True)]
        return Likelihoods(np.array(taste) + np.array(bonus), np.ones(len(words)), np.ones(len(words)))

    monkeypatch.setattr(challenges, "continuation_likelihood", score)


@pytest.mark.parametrize(("knows", "accuracy"), [(True, 1.0), (False, 0.5)])
def test_words_alone_solve_nothing_and_reading_the_context_solves_all(
    monkeypatch: pytest.MonkeyPatch, knows: bool, accuracy: float
) -> None:
    _scripted(monkeypatch, knows)
    settings = EvaluationSettings(challenges={"used": 40})
    run = SimpleNamespace(lm=None, settings=settings, bootstrap=Bootstrap(5, 100, 0.95), batch_tokens=64)
    rows = {row.metric: row.interval for row in challenges.measure(run)}
    assert [rows[f"accuracy/{family}"].value for family in FAMILIES] == [accuracy] * len(FAMILIES)
    assert rows["accuracy"].value == accuracy
    assert rows["identity_lean_gap"].value == 0.0


def test_a_real_model_is_asked_for_all_of_it(tmp_path: Path) -> None:
    lm = LanguageModel.load(build(tmp_path), 64)
    item = Item("the mill was", "the river was", " old", " quiet")
    (found,) = contrasts(lm, [item], 256)
    assert np.isfinite(found)
    (swapped,) = contrasts(lm, [Item(item.b, item.a, item.x, item.y)], 256)
    assert swapped == pytest.approx(-found, abs=1e-4)
