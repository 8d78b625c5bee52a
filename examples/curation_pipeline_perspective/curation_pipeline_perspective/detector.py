"""The Perspective API: one text a request, one score for each attribute.

Wire format: ``v1alpha1`` ``comments:analyze``, discovery revision of May 2026.
"""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, date, datetime
from typing import Any, ClassVar, Literal

import numpy as np
from pydantic import Field, SecretStr

from curation_pipeline.annotate.detectors._bounded_answers import HEADERS, bounded
from curation_pipeline.annotate.detectors.hosted import (
    AnswerError,
    Ask,
    HostedDetector,
    Notes,
    ServiceSettings,
    member,
    missing_service,
    refusal,
    request_id,
    score_of,
)
from curation_pipeline.annotate.detectors.registry import DetectorSpec, Missing, Opening, Preflight
from curation_pipeline.errors import ConfigError

LAST_DAY = date(2026, 12, 31)
"""The day with which the service closes, as its maker announced."""


class PerspectiveSettings(ServiceSettings):
    """The Perspective API (``POST {base_url}/comments:analyze``)."""

    section: ClassVar[str] = "annotate.detector_options.perspective"
    usual_key: ClassVar[str] = "PERSPECTIVE_API_KEY"

    base_url: str = Field(
        default="https://commentanalyzer.googleapis.com/v1alpha1", description="address before /comments:analyze"
    )
    batch_size: Literal[1] = Field(default=1, description="the service takes one comment a request")
    window_bytes: int = Field(default=2800, ge=64, description="longer texts are scored in windows; the maximum counts")
    attributes: tuple[str, ...] = Field(
        default=("TOXICITY", "SEVERE_TOXICITY", "IDENTITY_ATTACK", "INSULT", "PROFANITY", "THREAT"),
        min_length=1,
        description="attributes that make the heads, the headline first",
    )
    languages: tuple[str, ...] = Field(
        default=("en",), description="languages of the texts; the service guesses if none is given"
    )


class PerspectiveDetector(HostedDetector):
    """The service as a detector; the key travels in a header, since addresses end up in logs."""

    settings: PerspectiveSettings

    @property
    def heads(self) -> tuple[str, ...]:
        """The attributes in lower case."""
        return tuple(name.lower() for name in self.settings.attributes)

    @property
    def fingerprint(self) -> str:
        """Attributes and languages."""
        named = " ".join((*self.settings.attributes, "|", *self.settings.languages))
        return hashlib.sha256(named.encode()).hexdigest()[:12]

    @asynccontextmanager
    async def session(self, key: SecretStr | None) -> AsyncIterator[Ask]:
        """A client of the service, open."""
        import httpx

        def add_key(request: httpx.Request) -> httpx.Request:
            if key is not None:
                request.headers["X-Goog-Api-Key"] = key.get_secret_value()
            return request

        base = self.settings.base_url.rstrip("/")
        timeout, local = self.settings.timeout_seconds, self.settings.local
        hooks = {"response": [bounded(httpx)]}
        async with httpx.AsyncClient(
            auth=add_key, timeout=timeout, trust_env=not local, headers=HEADERS, event_hooks=hooks
        ) as client:

            async def ask(texts: Sequence[str]) -> tuple[np.ndarray, Notes]:
                try:
                    response = await client.post(f"{base}/comments:analyze", json=self.body(texts[0]))
                except httpx.RequestError as error:
                    raise AnswerError(f"{type(error).__name__}: {error}") from None
                if response.status_code != httpx.codes.OK:
                    raise refusal(response.status_code, response.headers, response.content, self.settings)
                try:
                    return self.read(response.json()), [None]
                except (ValueError, AnswerError) as error:
                    raise AnswerError(f"{error} ({request_id(response.headers)})", document=True) from None

            yield ask

    def body(self, text: str) -> dict[str, Any]:
        """The request about one text, which the service shall not store."""
        body: dict[str, Any] = {
            "comment": {"text": text, "type": "PLAIN_TEXT"},
            "requestedAttributes": {name: {} for name in self.settings.attributes},
            "doNotStore": True,
        }
        if self.settings.languages:
            body["languages"] = list(self.settings.languages)
        return body

    def read(self, answer: Any) -> np.ndarray:
        """``attributeScores.NAME.summaryScore.value`` of every attribute, (1, heads)."""
        given = member(answer, "attributeScores", dict)
        row = []
        for name in self.settings.attributes:
            summary = member(member(given, name, dict), "summaryScore", dict, name)
            row.append(score_of(summary.get("value"), name))
        return np.array([row])


def today() -> date:
    """The day in UTC."""
    return datetime.now(UTC).date()


def closed() -> str | None:
    """Why the service cannot be used today; None while it is open."""
    if today() <= LAST_DAY:
        return None
    return (
        f"the Perspective API closed on {LAST_DAY}; take perspective out of annotate.teachers and name another "
        "detector, such as openai_moderation or classifier (scores that it gave stay in the score cache)"
    )


def missing(settings: PerspectiveSettings, preflight: Preflight) -> Iterator[Missing]:
    """The service may have closed, and its key may not be set."""
    if why := closed():
        yield Missing(why)
    else:
        yield from missing_service(settings, preflight)


def open_perspective(settings: PerspectiveSettings, opening: Opening) -> PerspectiveDetector:
    """The detector, with a warning of the service's end.

    Raises:
        ConfigError: the service has closed.
    """
    if why := closed():
        raise ConfigError(why)
    warnings.warn(
        f"the Perspective API closes on {LAST_DAY}, in {(LAST_DAY - today()).days} days; what is built on its scores "
        "cannot be made again afterwards",
        stacklevel=2,
    )
    return PerspectiveDetector(settings)


PERSPECTIVE = DetectorSpec(
    name="perspective",
    version="1",
    source="the Perspective API, under its own terms",
    settings=PerspectiveSettings,
    missing=missing,
    identity=lambda settings: PerspectiveDetector(settings).version,
    open=open_perspective,
    hosted=True,
    cuts_windows=True,
)
