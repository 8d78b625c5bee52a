"""All benchmarks: those of the folder ``benchmarks``, and those that other packages name as entry points."""

from __future__ import annotations

from functools import cache
from typing import get_args

from curation_pipeline.errors import ConfigError
from curation_pipeline.evaluation import benchmarks
from curation_pipeline.evaluation.benchmark import Benchmark, Question, Term
from curation_pipeline.evaluation.rows import Axis
from curation_pipeline.plugins import of_folder, of_packages

GROUP = "curation_pipeline.benchmarks"
"""Entry points of this group name a `Benchmark`, such as ``toxic_chat = "my_package.toxic_chat:BENCHMARK"``."""
_AXES = get_args(Axis)


@cache
def all_benchmarks() -> tuple[Benchmark, ...]:
    """Every benchmark, in the order in which they run.

    Raises:
        ConfigError: an entry point names something else, or two benchmarks have one name.
    """
    own = of_folder(benchmarks.__name__, benchmarks.__path__, "BENCHMARK")
    found: list[Benchmark] = [*own, *of_packages(GROUP, Benchmark)]
    names = [benchmark.name for benchmark in found]
    if repeated := sorted({name for name in names if names.count(name) > 1}):
        raise ConfigError(f"two benchmarks are called {', '.join(repeated)}; their names must differ")
    return tuple(sorted(found, key=lambda benchmark: (benchmark.order, benchmark.name)))


def versions() -> dict[str, int]:
    """Versions of benchmarks that are not in their first one, and of all of other packages: parts of recipes."""
    own = {benchmark.name for benchmark in of_folder(benchmarks.__name__, benchmarks.__path__, "BENCHMARK")}
    return {b.name: b.version for b in all_benchmarks() if b.version != 1 or b.name not in own}


def terms() -> list[tuple[str, Term]]:
    """Every term of the composite with its benchmark's name, by axis."""
    found = [(benchmark.name, term) for benchmark in all_benchmarks() for term in benchmark.terms]
    return sorted(found, key=lambda item: _AXES.index(item[1].axis))


def declared_questions() -> list[Question]:
    """Every question of the report, by axis and then by its words."""
    found = [question for benchmark in all_benchmarks() for question in benchmark.questions]
    return sorted(found, key=lambda question: (_AXES.index(question.axis), question.words))
