"""Baselines next to the policy, behind the same interface and under the same token budget.

Each module of this folder declares some as ``BASELINES``; other packages name a `Baseline` by an entry point of the
group ``curation_pipeline.selectors``. The draw (``selection.draw``) is the policy's.
"""

from __future__ import annotations

from dataclasses import dataclass

from curation_pipeline.errors import ConfigError
from curation_pipeline.plugins import of_folder, of_packages
from curation_pipeline.policy.pool import Pool
from curation_pipeline.policy.scores import Scores
from curation_pipeline.selection.baseline import Baseline, SharedSettings
from curation_pipeline.selection.inputs import Inputs
from curation_pipeline.selection.protocol import Selector
from curation_pipeline.selection.weights import fractional

GROUP = "curation_pipeline.selectors"


def _all() -> dict[str, Baseline]:
    own = (entry for entries in of_folder(__name__, __path__, "BASELINES") for entry in entries)
    found: list[Baseline] = [*own, *of_packages(GROUP, Baseline)]
    names = [entry.name for entry in found]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise ConfigError(f"two baselines are called {', '.join(twice)}; their names must differ")
    return dict(zip(names, found, strict=True))


BASELINES = _all()
"""Every baseline by its name."""


@dataclass(frozen=True, slots=True)
class BaselineSelector:
    """A baseline with its settings and inputs."""

    baseline: Baseline
    settings: SharedSettings
    inputs: Inputs

    @property
    def name(self) -> str:
        """The baseline's name."""
        return self.baseline.name

    def scores(self, pool: Pool, budget_tokens: int, seed: int) -> Scores:
        """Its choice, with fractional weights where the settings ask for them."""
        found = self.baseline.choose(pool, budget_tokens, seed, self.settings, self.inputs)
        weigh = self.settings.fractional_weights and not self.baseline.weighs
        return fractional(pool, found, self.settings) if weigh else found


def declared(name: str) -> Baseline:
    """The declaration of the baseline called ``name``.

    Raises:
        ConfigError: there is none.
    """
    if name not in BASELINES:
        raise ConfigError(f"no baseline {name!r}; there are {', '.join(sorted(BASELINES))}")
    return BASELINES[name]


def baseline(name: str, settings: SharedSettings | None = None, inputs: Inputs | None = None) -> Selector:
    """The baseline called ``name``.

    Args:
        name: one of ``BASELINES``.
        settings: of all baselines; None means the defaults.
        inputs: what some need in addition to the pool (see ``Inputs``).

    Raises:
        ConfigError: there is none.
    """
    from curation_pipeline.selection.settings import BaselineSettings

    return BaselineSelector(declared(name), settings or BaselineSettings(), inputs or Inputs())
