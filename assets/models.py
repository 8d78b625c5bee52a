"""Models that are made once for a corpus and that annotations read: detectors, sentence embedding, tokenizer."""

import dagster as dg

from assets.corpus import documents, labels
from assets.metadata import OWNERS, markdown_table, result
from curation_pipeline.stages import references
from curation_pipeline.stages.detectors import CASCADE_VERSION, DETECTORS_VERSION, make_cascade, make_detectors
from resources.project import ProjectResource


@dg.asset(
    group_name="reference",
    owners=OWNERS,
    kinds={"pytorch", "scikitlearn"},
    code_version=DETECTORS_VERSION,
    deps=[labels],
    description="The detectors that the profile names: those carried by packages, converted once, after their sha256 "
    "is checked, to safetensors and JSON by an allow-list reader; and heads of our own, fitted on human labels of role "
    "`fit`. Teachers make the reward; the judge never does.",
)
def detectors(context: dg.AssetExecutionContext, project: ProjectResource) -> dg.MaterializeResult:
    """Convert and fit the detectors."""
    manifest = make_detectors(project.context(context.log))
    sources = markdown_table(["detector", "made from"], manifest.summary["sources"].items())
    return result(manifest, {"made_from": sources})


@dg.asset(
    group_name="reference",
    owners=OWNERS,
    kinds={"scikitlearn"},
    code_version=CASCADE_VERSION,
    deps=[detectors, documents],
    description="Where the profile's teachers name a cascade: its cheap side, fitted on the expensive detector's own "
    "scores of a sample of the corpus, and the thresholds between which the expensive one is asked.",
)
def cascade(context: dg.AssetExecutionContext, project: ProjectResource) -> dg.MaterializeResult:
    """Calibrate the cascade."""
    return result(make_cascade(project.context(context.log)))


@dg.asset(
    group_name="reference",
    owners=OWNERS,
    kinds={"scikitlearn"},
    code_version=references.EMBEDDING_VERSION,
    deps=[documents],
    description="Unsupervised sentence vectors (TF-IDF and truncated SVD) and k-means topics, fitted on a sample of "
    "every raw partition.",
)
def sentence_embedding(context: dg.AssetExecutionContext, project: ProjectResource) -> dg.MaterializeResult:
    """Fit the embedding and the topics."""
    manifest = references.sentence_embedding(project.context(context.log))
    topics = markdown_table(["topic", "words"], manifest.summary["topics"].items())
    return result(manifest, {"topics": topics})


@dg.asset(
    group_name="reference",
    owners=OWNERS,
    kinds={"scikitlearn"},
    code_version=references.REGISTER_VERSION,
    deps=[documents],
    description="Two linear classifiers over words and indicators of register: which register a document is written "
    "in, and how little it looks damaged, as crawls damage text.",
)
def register_model(context: dg.AssetExecutionContext, project: ProjectResource) -> dg.MaterializeResult:
    """Fit the register and quality classifiers."""
    return result(references.register_model(project.context(context.log)))


@dg.asset(
    group_name="reference",
    owners=OWNERS,
    kinds={"huggingface"},
    code_version=references.TOKENIZER_VERSION,
    deps=[documents],
    description="The byte-level BPE tokenizer of the language model, fixed for the life of the chain so that budgets "
    "and likelihoods compare.",
)
def tokenizer(context: dg.AssetExecutionContext, project: ProjectResource) -> dg.MaterializeResult:
    """Fit or copy the tokenizer."""
    return result(references.tokenizer(project.context(context.log)))
