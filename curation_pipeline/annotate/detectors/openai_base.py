"""What the detectors that speak OpenAI's API share: the official client, and the strict reading of its answers."""

from __future__ import annotations

import json
from abc import abstractmethod
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
from pydantic import SecretStr

from curation_pipeline.annotate.detectors.hosted import (
    AnswerError,
    Ask,
    HostedDetector,
    Notes,
    ServiceSettings,
    missing_service,
    refusal,
    request_id,
)
from curation_pipeline.annotate.detectors.preflight import missing_package
from curation_pipeline.annotate.detectors.registry import Missing, Preflight

if TYPE_CHECKING:
    from openai import AsyncOpenAI


class OpenAIDetector(HostedDetector):
    """A service that speaks OpenAI's API, by the official client; retries are those of `HostedDetector`."""

    @abstractmethod
    async def request(self, client: AsyncOpenAI, texts: Sequence[str]) -> Any:
        """The raw response to a request about these texts, none of them empty or longer than a window."""

    @abstractmethod
    def read(self, answer: Any, texts: Sequence[str]) -> tuple[np.ndarray, Notes]:
        """Scores (n, heads) in [0, 1] and a note for each text; ``AnswerError`` for anything else."""

    @asynccontextmanager
    async def session(self, key: SecretStr | None) -> AsyncIterator[Ask]:
        """The official client, open."""
        import httpx2
        import openai

        from curation_pipeline.annotate.detectors._bounded_answers import HEADERS, bounded

        client = openai.AsyncOpenAI(
            api_key=key.get_secret_value() if key else "none",  # the client refuses to go without one
            base_url=self.settings.base_url,
            max_retries=0,
            timeout=self.settings.timeout_seconds,
            # Redirects are not followed: a key goes to the host that the settings name and to no other.
            http_client=openai.DefaultAsyncHttpxClient(
                trust_env=not self.settings.local,
                follow_redirects=False,
                headers=HEADERS,
                event_hooks={"response": [bounded(httpx2)]},
            ),
        )

        async def ask(texts: Sequence[str]) -> tuple[np.ndarray, Notes]:
            try:
                response = (await self.request(client, texts)).http_response
            except openai.APIStatusError as error:
                raise refusal(
                    error.status_code, error.response.headers, error.response.content, self.settings
                ) from None
            except openai.APIConnectionError as error:
                # An answer that cannot be unpacked, or is endless, may lie with what was asked.
                unreadable = isinstance(error.__cause__, httpx2.DecodingError)
                said = f"{type(error).__name__}: {error.__cause__ or error}"
                raise AnswerError(said, document=unreadable) from None
            try:
                return self.read(_decoded(response.content), texts)
            except AnswerError as error:
                where = f"{error} ({request_id(response.headers)})"
                raise AnswerError(where, again=error.again, document=True) from None

        async with client:
            yield ask


def missing_openai(settings: ServiceSettings, preflight: Preflight) -> Iterator[Missing]:
    """What a detector of OpenAI's API lacks."""
    yield from missing_service(settings, preflight)
    yield from missing_package("openai", "'curation-pipeline[hosted]'")


def _decoded(body: bytes) -> Any:
    def refuse(name: str) -> None:
        raise ValueError(f"it holds {name}")

    try:
        return json.loads(body, parse_constant=refuse)
    except (ValueError, RecursionError) as error:  # not JSON, or not UTF-8
        raise AnswerError(f"the answer is not JSON ({error})") from None
