"""What a run of a profile takes, step by step, before anything is spent."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from curation_pipeline.annotate.detectors.cascade import NAME as CASCADE
from curation_pipeline.annotate.detectors.hosted import ServiceSettings
from curation_pipeline.annotate.detectors.registry import find_detector
from curation_pipeline.annotate.settings import AnnotateSettings
from curation_pipeline.capacity.figures import Figures
from curation_pipeline.config import PriceSettings, Profile
from curation_pipeline.corpus.source import Size
from curation_pipeline.errors import ConfigError
from curation_pipeline.training.settings import ScratchModel, TrainingSettings

TRAINING, SCORING = 6.0, 2.0
"""Operations a parameter and token of a fit (forward and backward pass), and of scoring (Kaplan et al., 2020)."""
ADAPTERS = 4.0
"""Those of a fit of low-rank adapters: no gradient of the frozen weights."""
FULL_BYTES, ADAPTER_BYTES, SCORING_BYTES = 16.0, 6.0, 4.0
"""Memory a parameter: weights, gradients and AdamW's moments in float32; frozen weights and what flows; weights."""
PROCESS_BYTES = 0.8e9
"""Memory of a process that trains, or evaluates, besides its model: the base of `benchmarks/scale.py` takes so much."""
SELDOM_ON_CPU = 50e6
"""Parameters from which ``training.device = "auto"`` is taken for a GPU."""
TRANSFORMERS = {"detoxify": 110e6, "classifier": 110e6}
"""Parameters of detectors that are transformers: BERT-base's, where a model's name does not say."""
_SIZE_IN_NAME = re.compile(r"(?<![A-Za-z0-9.])(\d+(?:\.\d+)?)([mb])(?![a-z])", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Cost:
    """What a step takes over the whole run.

    Attributes:
        step: its name.
        documents: that it goes through, each time.
        cpu_seconds, gpu_seconds: in all.
        peak_bytes: most memory of one process, on the machine or on the GPU.
        bytes_written: to the lake, in all.
        calls: of hosted services, in all.
        price: of all that.
    """

    step: str
    documents: float
    cpu_seconds: float = 0.0
    gpu_seconds: float = 0.0
    peak_bytes: float = 0.0
    bytes_written: float = 0.0
    calls: float = 0.0
    price: float = 0.0

    def priced(self, prices: PriceSettings) -> float:
        """What its hours and calls cost."""
        hours = self.cpu_seconds * prices.cpu_hour + self.gpu_seconds * prices.gpu_hour
        return hours / 3600 + self.calls / 1000 * prices.api_1000_calls


def corpus_size(profile: Profile, cache: Path) -> Size:
    """Documents and bytes of all sources that the profile declares, partly by samples.

    Raises:
        ConfigError, DataError, DownloadError: a source is not there, or cannot say how much it holds.
    """
    total = Size()
    for source in profile.corpus.sources:
        for snapshot in source.partitions(cache):
            size = source.size(snapshot, cache)
            if source.limit is not None and size.documents > source.limit:
                size *= source.limit / size.documents
            total += size
    return total


def parameters(training: TrainingSettings) -> float:
    """Parameters of the model that a profile trains.

    Raises:
        ConfigError: neither its folder nor its name says.
    """
    if training.model_id is None:
        return _scratch_parameters(training.scratch)
    if (folder := Path(training.model_id)).is_dir():
        from safetensors import safe_open

        found = 0
        for path in folder.glob("*.safetensors"):
            with safe_open(path, "numpy") as weights:
                found += sum(math.prod(weights.get_slice(name).get_shape()) for name in weights.keys())  # noqa: SIM118 -- no dict
        if found:
            return float(found)
    if named := _named_parameters(training.model_id):
        return named
    raise ConfigError(
        f"training.model_id {training.model_id!r}: neither a folder with safetensors nor a name that says how many "
        "parameters it has (such as 135M or 1.7B); download it, and name its folder"
    )


def _named_parameters(model_id: str) -> float | None:
    found = _SIZE_IN_NAME.findall(model_id.rpartition("/")[2])
    return float(found[-1][0]) * (1e6 if found[-1][1].lower() == "m" else 1e9) if found else None


def _scratch_parameters(model: ScratchModel) -> float:
    block = 4 * model.hidden_size**2 + 3 * model.hidden_size * model.mlp_size + 2 * model.hidden_size
    return float(model.vocab_size * model.hidden_size + model.n_layers * block + model.hidden_size)


def plan(profile: Profile, size: Size, known: Figures) -> list[Cost]:
    """What each step takes.

    Measured steps grow with documents and bytes as `figures.json` says. Fits and transformers are counted in operations
    a parameter and token. An evaluation grows with the model and the continuations of each prompt.

    Args:
        profile: the settings.
        size: of the corpus.
        known: measured figures.

    Raises:
        ConfigError: the size of the model is not known.
    """
    model = parameters(profile.training)
    chains = 1 + len(profile.experiment.arms) * len(profile.experiment.seeds)
    times = {"whole": 1, "corpus": 1, "iteration": profile.loop.max_iterations}
    times["arm"] = profile.loop.max_iterations * (chains - 1)
    costs = [
        Cost(
            name,
            size.documents if step.each != "whole" or step.cpu_seconds.per_document else 0.0,
            cpu_seconds=times[step.each] * step.cpu_seconds.at(size),
            peak_bytes=step.peak_bytes.at(size),
            bytes_written=times[step.each] * step.bytes_written.at(size),
        )
        for name, step in known.steps.items()
        if times[step.each]
    ]
    costs += [*_detectors(profile, size, known), *_fits(profile, known, model, chains)]
    return [replace(cost, price=cost.priced(profile.prices)) for cost in costs]


def total(costs: Sequence[Cost], what: Callable[[Cost], float]) -> float:
    """The sum of a figure over all steps."""
    return sum(map(what, costs))


def fits_on_gpu(profile: Profile, model: float) -> bool:
    """Whether models are trained on a GPU; where the profile leaves it to the machine, large ones are taken to be.

    Args:
        profile: the settings.
        model: parameters of the model.
    """
    device = profile.training.device
    return device == "cuda" or (device == "auto" and model >= SELDOM_ON_CPU)


def _fits(profile: Profile, known: Figures, model: float, chains: int) -> Iterator[Cost]:
    """Base, checkpoints, probes and evaluations."""
    training, loop, credit = profile.training, profile.loop, profile.credit
    on_gpu = fits_on_gpu(profile, model)
    rate = known.operations_per_gpu_second if on_gpu else known.operations_per_cpu_second
    each = TRAINING if training.lora is None else ADAPTERS
    held = 0.0 if on_gpu else PROCESS_BYTES
    memory = held + model * (FULL_BYTES if training.lora is None else ADAPTER_BYTES)

    def fit(name: str, tokens: float, written: float) -> Cost:
        seconds = each * model * tokens / rate
        return Cost(name, 0.0, 0.0 if on_gpu else seconds, seconds if on_gpu else 0.0, memory, written)

    weights = model * SCORING_BYTES
    trained = loop.token_budget * training.passes
    probes = credit.n_probes_first + credit.n_probes * (loop.max_iterations - 1)
    yield fit("base_checkpoint", training.base_tokens, weights)
    yield fit("probes", probes * credit.probe_tokens, 0.0)
    yield fit("checkpoint", trained * loop.max_iterations, weights * loop.max_iterations)
    if chains > 1:
        others = (chains - 1) * loop.max_iterations
        yield fit("experiment_cell", trained * others, weights * others)
    evaluations = 1 + loop.max_iterations * chains
    grown = model / known.evaluation_parameters * profile.evaluation.samples / known.evaluation_samples
    seconds = known.evaluation_cpu_seconds * max(grown, 0.2) * evaluations
    seconds *= known.operations_per_cpu_second / rate
    calls = evaluations * profile.evaluation.toxicity_prompts.used * profile.evaluation.samples  # type: ignore[attr-defined]
    judge = hosted_calls(profile.annotate, profile.annotate.judge, calls, 100.0)
    yield Cost("evaluation", 0.0, 0.0 if on_gpu else seconds, seconds if on_gpu else 0.0, held + weights, 0.0, judge)


def _detectors(profile: Profile, size: Size, known: Figures) -> Iterator[Cost]:
    """Transformers and hosted services among the detectors; the packaged ones are in the measured steps."""
    settings, mean = profile.annotate, size.text_bytes / max(size.documents, 1.0)
    held_out = min(
        profile.corpus.heldout_judged * len(profile.corpus.sources) * 2.0, size.documents * profile.corpus.holdout_share
    )
    audits = profile.loop.max_iterations * profile.reward.audit.documents if settings.expert else 0.0
    asked: list[tuple[str, str, float]] = [("toxicity_teacher", name, size.documents) for name in settings.teachers]
    asked.append(("heldout_texts", settings.judge, held_out))
    if settings.expert is not None:
        asked.append(("audit", settings.expert, float(audits)))
    for step, name, documents in asked:
        if name == CASCADE:  # at most what the expensive detector would take for all
            name = settings.cascade.expensive
        label, calls = f"{step}: {name}", hosted_calls(settings, name, documents, mean)
        if calls:
            yield Cost(label, documents, calls=calls)
        elif name in TRANSFORMERS:
            options = getattr(settings, name)
            named = _named_parameters(str(getattr(options, "model", "") or ""))
            weights = named or TRANSFORMERS[name]
            tokens = documents * max(mean / known.bytes_per_token, 1.0)
            on_gpu = str(options.device).startswith("cuda")
            rate = known.operations_per_gpu_second if on_gpu else known.detector_operations_per_cpu_second
            seconds = SCORING * weights * tokens / rate
            yield Cost(
                label, documents, 0.0 if on_gpu else seconds, seconds if on_gpu else 0.0, weights * SCORING_BYTES
            )


def hosted_calls(settings: AnnotateSettings, name: str, documents: float, mean: float = 0.0) -> float:
    """Requests that a hosted detector takes for so many documents of this mean length in bytes; 0 for any other."""
    spec = find_detector(name)
    options = spec.options(settings) if spec.hosted else None
    if not isinstance(options, ServiceSettings):
        return 0.0
    windows = max(math.ceil((mean - options.window_overlap) / (options.window_bytes - options.window_overlap)), 1)
    return math.ceil(documents * windows / options.batch_size)
