"""What a person sets about the baselines: what all share, and what each of them adds."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from curation_pipeline.selection.baseline import SharedSettings
from curation_pipeline.selection.baselines import BASELINES
from curation_pipeline.settings import combined

if TYPE_CHECKING:
    _Combined = SharedSettings
else:
    _Combined = combined("_Combined", SharedSettings, (entry.settings for entry in BASELINES.values()))


class BaselineSettings(_Combined):
    """Settings of the baselines; the defaults are the demo's."""

    if TYPE_CHECKING:

        def __getattr__(self, name: str) -> Any: ...
