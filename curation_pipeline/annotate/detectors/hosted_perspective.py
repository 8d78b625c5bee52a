"""The Perspective API as a plugin, in a module of its own that can be deleted when the service has closed.

Wire format followed: ``v1alpha1`` ``comments:analyze``, discovery revision of May 2026.
"""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any

import numpy as np

from curation_pipeline.annotate.detectors.hosted_services import Notes, field, score_of, tokens_of
from curation_pipeline.annotate.detectors.http_client import Call
from curation_pipeline.annotate.hosted_settings import PERSPECTIVE_LAST_DAY, PerspectiveSettings
from curation_pipeline.errors import ConfigError


@dataclass(frozen=True, slots=True)
class Perspective:
    """The Perspective API: one text a request; the key travels in a header, since addresses end up in logs."""

    settings: PerspectiveSettings
    key_header: str = "X-Goog-Api-Key"
    key_prefix: str = ""

    @property
    def heads(self) -> tuple[str, ...]:
        """The attributes in lower case."""
        return tuple(name.lower() for name in self.settings.attributes)

    @property
    def fingerprint(self) -> str:
        """Attributes and languages."""
        named = " ".join((*self.settings.attributes, "|", *self.settings.languages))
        return hashlib.sha256(named.encode()).hexdigest()[:12]

    def call(self, texts: Sequence[str]) -> Call:
        """One comment, not to be stored by the service."""
        (text,) = texts
        body: dict[str, Any] = {
            "comment": {"text": text, "type": "PLAIN_TEXT"},
            "requestedAttributes": {name: {} for name in self.settings.attributes},
            "doNotStore": True,
        }
        if self.settings.languages:
            body["languages"] = list(self.settings.languages)
        return Call("/comments:analyze", body, tokens_of(texts))

    def read(self, answer: Any, texts: Sequence[str]) -> tuple[np.ndarray, Notes]:
        """``attributeScores.NAME.summaryScore.value`` of every attribute."""
        given = field(answer, "attributeScores", dict)
        row = []
        for name in self.settings.attributes:
            summary = field(field(given, name, dict), "summaryScore", dict, name)
            row.append(score_of(summary.get("value"), name))
        return np.array([row]), [None]


def perspective_closed(today: date) -> str | None:
    """Why the Perspective API cannot be used on this day; None while it is open."""
    if today <= PERSPECTIVE_LAST_DAY:
        return None
    return (
        f"the Perspective API closed on {PERSPECTIVE_LAST_DAY}; take perspective out of annotate.teachers and name "
        "another detector, such as openai_moderation or classifier (scores that it gave stay in the score cache)"
    )


def check_open(today: date) -> None:
    """Warn of the Perspective API's end while it is open.

    Raises:
        ConfigError: the service has closed.
    """
    if (closed := perspective_closed(today)) is not None:
        raise ConfigError(closed)
    warnings.warn(
        f"the Perspective API closes on {PERSPECTIVE_LAST_DAY}, in {(PERSPECTIVE_LAST_DAY - today).days} days; what is "
        "built on its scores cannot be made again afterwards",
        stacklevel=3,
    )
