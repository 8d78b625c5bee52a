"""Models that are made once for a corpus and that annotations read: detectors, sentence embedding, tokenizer."""

import dagster as dg

from assets.corpus import documents
from assets.metadata import OWNERS, markdown_table, result
from curation_pipeline.stages import references
from resources.project import ProjectResource


@dg.asset(
    group_name="reference",
    owners=OWNERS,
    kinds={"pytorch"},
    code_version="1",
    description="Toxicity detectors carried by packages, converted once, after their sha256 is checked, to safetensors "
    "and JSON by an allow-list reader. Teachers make the reward; the judge never does.",
)
def detectors(context: dg.AssetExecutionContext, project: ProjectResource) -> dg.MaterializeResult:
    """Convert the detectors."""
    return result(references.detectors(project.context(context.log)))


@dg.asset(
    group_name="reference",
    owners=OWNERS,
    kinds={"scikitlearn"},
    code_version="1",
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
    code_version="1",
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
    code_version="1",
    deps=[documents],
    description="The byte-level BPE tokenizer of the language model, fixed for the life of the chain so that budgets "
    "and likelihoods compare.",
)
def tokenizer(context: dg.AssetExecutionContext, project: ProjectResource) -> dg.MaterializeResult:
    """Fit or copy the tokenizer."""
    return result(references.tokenizer(project.context(context.log)))
