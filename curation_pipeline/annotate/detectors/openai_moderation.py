"""An OpenAI-compatible moderation endpoint: several texts a request, one score a category.

Wire format: OpenAI REST API ``/v1/moderations`` (omni-moderation, 13 text categories), API version 2020-10-01.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from pydantic import Field

from curation_pipeline.annotate.detectors.hosted import AnswerError, Notes, ServiceSettings, member, score_of
from curation_pipeline.annotate.detectors.openai_base import OpenAIDetector, missing_openai
from curation_pipeline.annotate.detectors.registry import DetectorSpec

if TYPE_CHECKING:
    from openai import AsyncOpenAI


class ModerationSettings(ServiceSettings):
    """An OpenAI-compatible moderation endpoint (``POST {base_url}/moderations``)."""

    section: ClassVar[str] = "annotate.hosted.openai_moderation"
    usual_key: ClassVar[str] = "OPENAI_API_KEY"

    base_url: str = Field(default="https://api.openai.com/v1", description="address before /moderations")
    model: str = Field(default="omni-moderation-latest", min_length=1, max_length=200, description="moderation model")
    batch_size: int = Field(default=32, ge=1, le=256, description="texts in a request")
    categories: tuple[str, ...] = Field(
        default=(
            "harassment",
            "harassment/threatening",
            "hate",
            "hate/threatening",
            "illicit",
            "illicit/violent",
            "self-harm",
            "self-harm/instructions",
            "self-harm/intent",
            "sexual",
            "sexual/minors",
            "violence",
            "violence/graphic",
        ),
        min_length=1,
        description="categories that make the heads; the headline is their maximum; an answer must have all",
    )


class OpenAIModeration(OpenAIDetector):
    """Texts judged by a moderation endpoint, as `ModerationSettings` says."""

    settings: ModerationSettings

    @property
    def heads(self) -> tuple[str, ...]:
        """The maximum over the categories, then each category."""
        return ("harm", *(name.replace("/", "_").replace("-", "_") for name in self.settings.categories))

    @property
    def fingerprint(self) -> str:
        """The categories."""
        return hashlib.sha256(" ".join(self.settings.categories).encode()).hexdigest()[:12]

    async def request(self, client: AsyncOpenAI, texts: Sequence[str]) -> Any:
        """All texts as the array ``input``."""
        return await client.moderations.with_raw_response.create(model=self.settings.model, input=list(texts))

    def read(self, answer: Any, texts: Sequence[str]) -> tuple[np.ndarray, Notes]:
        """``results[i].category_scores`` of the i-th text."""
        results = member(answer, "results", list)
        if len(results) != len(texts):
            raise AnswerError(f"{len(results)} results for {len(texts)} texts")
        scores = np.empty((len(texts), len(self.settings.categories)))
        for i, result in enumerate(results):
            given = member(result, "category_scores", dict, f"result {i}")
            for j, name in enumerate(self.settings.categories):
                if name not in given:
                    raise AnswerError(
                        f"result {i} has no category {name}; see annotate.hosted.openai_moderation.categories"
                    )
                scores[i, j] = score_of(given[name], f"{name} of result {i}")
        return np.column_stack([scores.max(axis=1), scores]), [None] * len(texts)


DETECTORS = (
    DetectorSpec(
        name="openai_moderation",
        version="1",
        source="a service that the profile names, under its own terms",
        settings=ModerationSettings,
        section="hosted.openai_moderation",
        missing=missing_openai,
        identity=lambda settings: OpenAIModeration(settings).version,
        open=lambda settings, opening: OpenAIModeration(settings),
        hosted=True,
        cuts_windows=True,
    ),
)
