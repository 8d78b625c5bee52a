from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from curation_pipeline.annotate import augment
from curation_pipeline.annotate.detectors.head import HeadDetector, HeadSettings, fit_head, head_rows, load_head
from curation_pipeline.annotate.encoder import load_encoder
from curation_pipeline.annotate.sparse_logistic import Rows, balanced, fit_logistic
from curation_pipeline.errors import ConfigError, DataError, MissingModelError
from curation_pipeline.progress import Progress
from curation_pipeline.seeds import generator

SETTINGS = HeadSettings(bits=14, inverse_penalty=(1.0, 4.0), folds=2)
INSULTS = ("idiot", "stupid fool", "moron", "pathetic loser")
PRAISE = ("good friend", "kind neighbour", "clever cook", "patient teacher")
PLACES = ("at work", "in the shop", "on the bus", "at home", "in the garden", "by the sea")


def examples() -> pl.DataFrame:
    """Insults and praise; the insulting ones name a group far more often."""
    random = generator(0, "examples")
    rows = []
    for i in range(600):
        harm = i % 2
        what = (INSULTS if harm else PRAISE)[int(random.integers(4))]
        group = "muslim " if random.random() < (0.8 if harm else 0.1) else ""
        rows.append((f"that {group}man {PLACES[i % 6]} is such a {what} number {i}", float(harm)))
    return pl.DataFrame(rows, schema=["text", "label"], orient="row").with_columns(
        text_id=pl.int_range(pl.len()).cast(pl.Utf8), dataset=pl.lit("paradetox"), group=pl.lit(None, dtype=pl.Utf8),
        role=pl.lit("fit"),
    )  # fmt: skip


def fitted(settings: HeadSettings = SETTINGS, encoder: object = None) -> HeadDetector:
    rows = examples()
    return fit_head(
        "harm_head", rows["text"], rows["label"].to_numpy(), rows["dataset"].to_numpy(), rows["group"].to_numpy(), 1,
        settings, encoder,  # type: ignore[arg-type]
    )  # fmt: skip


class Lengths:
    """An encoder that knows how many letters a text has."""

    version = "lengths"

    def encode(self, texts: Sequence[str], progress: Progress | None = None) -> np.ndarray:
        sizes = np.array([len(text) for text in texts], dtype=np.float32)
        return np.stack([np.cos(sizes), np.sin(sizes)], axis=1)


def test_a_head_tells_insults_in_disguise_and_forgets_the_group(tmp_path: Path) -> None:
    head = fitted()
    plain = fitted(SETTINGS.model_copy(update={"swapped_share": 0.0, "neutral_share": 0.0, "disguised_share": 0.0}))
    texts = [
        "that woman is an idiot",
        "that woman is an 1d10t",
        "that woman is an i d i o t",
        "she is a kind neighbour",
    ]
    scores = head.score(texts)["harm_head"]
    assert scores.dtype == pl.Float32
    assert (scores[:3] > 0.6).all()
    assert scores[3] < 0.4
    assert scores[0] == scores[1] == scores[2]
    neutral = ["my neighbour is muslim", "a muslim family lives here", "two muslim doctors"]
    assert head.score(neutral)["harm_head"].mean() < 0.5 * plain.score(neutral)["harm_head"].mean()  # type: ignore[operator]
    head.save(tmp_path / "head")
    again = load_head(tmp_path / "head")
    assert again.version == head.version == fitted().version
    assert again.version != plain.version
    assert again.score(texts).equals(head.score(texts))
    assert again.score(texts[2:3])["harm_head"][0] == scores[2]
    assert again.facts["datasets"] == {"paradetox": 600}


def test_an_encoder_belongs_to_its_head(tmp_path: Path) -> None:
    head = fitted(SETTINGS.model_copy(update={"neutral_share": 0.0}), Lengths())
    head.save(tmp_path)
    with pytest.raises(DataError, match=r"fitted with the encoder lengths, not none"):
        load_head(tmp_path)
    again = load_head(tmp_path, Lengths())
    assert again.score(["an idiot", ""]).equals(head.score(["an idiot", ""]))


def test_rows_of_other_roles_and_sets_are_refused_with_one_message() -> None:
    rows = examples()
    other = rows.with_columns(role=pl.lit("report"), text_id=pl.col("text_id") + "x")
    assert head_rows("harm_head", pl.concat([rows, other]), SETTINGS).height == 600
    with pytest.raises(ConfigError, match=r"bias_head.*redditbias, edos will do, those there are paradetox"):
        head_rows("bias_head", rows, SETTINGS)
    with pytest.raises(ConfigError, match=r"no head `tox_head`"):
        head_rows("tox_head", rows, SETTINGS)


@given(st.lists(st.tuples(st.floats(0, 1), st.sampled_from("ab"), st.sampled_from("xyz")), min_size=1, max_size=40))
def test_sets_weigh_the_same_and_so_do_the_classes_of_a_group(rows: list[tuple[float, str, str]]) -> None:
    y, sets, groups = (np.array(column) for column in zip(*rows, strict=True))
    positive, negative = balanced(y, sets, groups)
    for name in np.unique(sets):
        for group in np.unique(groups[sets == name]):
            part = (sets == name) & (groups == group)
            if y[part].sum() > 1e-3 and (1 - y[part]).sum() > 1e-3:
                assert positive[part].sum() == pytest.approx(negative[part].sum())
                wanted = len(y) / len(np.unique(sets)) * part.sum() / (sets == name).sum()
                assert positive[part].sum() + negative[part].sum() == pytest.approx(wanted)


def test_the_solver_agrees_with_another() -> None:
    from scipy import sparse
    from sklearn.linear_model import LogisticRegression

    random = np.random.default_rng(3)
    x = random.normal(size=(200, 8)) * (random.random((200, 8)) < 0.5)
    y = (x[:, 0] - x[:, 1] + random.normal(size=200) > 0).astype(float)
    weight = random.uniform(0.5, 2.0, 200)
    mine = fit_logistic(Rows(sparse.csr_matrix(x[:, :6]), x[:, 6:]), weight * y, weight * (1 - y), 0.7)
    theirs = LogisticRegression(C=0.7, tol=1e-9, max_iter=1000).fit(x, y, sample_weight=weight)
    assert mine.dense is not None
    np.testing.assert_allclose(np.concatenate([mine.sparse, mine.dense]), theirs.coef_[0], atol=2e-3)
    assert mine.bias == pytest.approx(theirs.intercept_[0], abs=2e-3)


def test_a_swap_names_another_group_of_the_kind_in_the_same_form() -> None:
    random = generator(1, "swap")
    for _ in range(20):
        swapped = augment.swap_identity("Muslims and a gay man met two Jews", random)
        assert swapped is not None
        first, last = swapped.split()[0], swapped.split()[-1]
        assert first != "Muslims"
        assert last != "Jews"
        assert first != last
        assert " gay man " not in swapped
        assert first[0].isupper()
        assert first.endswith("s")
        assert last.endswith("s")
    assert augment.swap_identity("the weather is fine", random) is None


def test_a_folder_that_holds_no_encoder_is_one_message(tmp_path: Path) -> None:
    with pytest.raises(MissingModelError, match=r"cannot be loaded as a sentence encoder"):
        load_encoder(HeadSettings(encoder=str(tmp_path)), tmp_path)


@pytest.mark.network
@pytest.mark.slow
def test_the_packaged_encoder_knows_what_sentences_mean(package_cache: Path) -> None:
    encoder = load_encoder(HeadSettings(encoder="minilm", encoder_window=32), package_cache)
    long = " ".join(["a dog runs in the park with a ball"] * 20)
    texts = ["a dog runs in the park", "a puppy plays on the grass", "interest rates rose again", "", long]
    vectors = encoder.encode(texts)
    assert vectors.shape == (5, 384)
    assert vectors.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1.0, atol=1e-5)
    assert vectors[0] @ vectors[1] > 0.3 > vectors[0] @ vectors[2]
    assert vectors[0] @ vectors[4] > vectors[2] @ vectors[4] + 0.2
    np.testing.assert_allclose(encoder.encode(texts[1:2])[0], vectors[1], atol=1e-5)
