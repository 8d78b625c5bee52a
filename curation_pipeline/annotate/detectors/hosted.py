"""Detectors that are services over HTTP: texts in windows, requests within a quota, scores as they arrive.

A service (``openai_moderation``, ``openai_chat``, or one of another package) is a subclass of `HostedDetector` that
sends some texts and reads the answer. What is common is here: keys, windows, quotas, retries and errors.
"""

from __future__ import annotations

import asyncio
import ipaddress
import json
import math
import os
import re
import time
from abc import ABC, abstractmethod
from collections import defaultdict
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any, ClassVar, Self
from urllib.parse import urlsplit

import numpy as np
import polars as pl
from pydantic import Field, SecretStr, model_validator

from curation_pipeline.annotate.detectors.preflight import missing_package
from curation_pipeline.annotate.detectors.protocol import score_frame
from curation_pipeline.annotate.detectors.registry import Missing, Preflight
from curation_pipeline.errors import ConfigError, DetectorError
from curation_pipeline.progress import Progress, silent
from curation_pipeline.settings import Settings

if TYPE_CHECKING:
    from tenacity import RetryCallState

VERSION = 1
"""Of windows and reading; raised by hand when the same answers would give other scores."""
BYTES_PER_TOKEN = 4
"""For estimates that the quota is kept by."""
AGAIN = frozenset({408, 409, 425, 429})
"""Statuses below 500 after which the same request may succeed; all from 500 on may, too."""
SPENT = frozenset({"insufficient_quota", "billing_hard_limit_reached"})
"""Error codes that come as 429 but mean that the account has nothing left: waiting does not help."""
FILTERED = frozenset({"content_filter", "content_policy_violation", "ResponsibleAIPolicyViolation"})
"""Error codes of a service that declines one document and would serve the next."""
_VARIABLE = re.compile(r"[A-Z_][A-Z0-9_]{0,63}")
"""Capitals only: a key pasted here by mistake is then told from a name, and not quoted in a message."""

Notes = Sequence[str | None]
"""For each text a judge's note (JSON: principle, rationale), or None."""
Ask = Callable[[Sequence[str]], Awaitable[tuple[np.ndarray, Notes]]]
"""Sends one request; gives scores (n, heads) and notes, or raises ``AnswerError``."""
Store = Callable[[Sequence[int], np.ndarray, Notes], None]
"""Called with positions of texts, their scores (n, heads) and notes, as soon as they are known."""
Decline = Callable[[int, str], None]
"""Called with the position of a text that the service would not judge, and why."""


class AnswerError(Exception):
    """A request that brought no scores.

    Attributes:
        again: the same request may succeed later.
        wait: seconds that the service asks to wait first.
        document: the fault may lie with the documents of this request alone; the next one may succeed.
    """

    def __init__(self, message: str, again: bool = True, wait: float | None = None, document: bool = False) -> None:
        super().__init__(message)
        self.again, self.wait, self.document = again, wait, document


class ServiceSettings(Settings):
    """What every hosted detector has; the class of each service gives the defaults."""

    section: ClassVar[str]
    usual_key: ClassVar[str]

    base_url: str = Field(description="address before the service's own path; https, or http on this machine")
    model: str = Field(
        default="", max_length=200, description="model of the service; pin a dated one, since a moving alias moves"
    )
    api_key_env: str | None = Field(
        default=None,
        description="name of the environment variable that holds the key (never the key); the service's usual one if "
        "absent",
    )
    needs_key: bool = Field(default=True, description="false for a server of your own that asks for no key")
    requests_per_minute: float = Field(default=60.0, gt=0, le=1e6, description="requests sent in any minute at most")
    tokens_per_minute: float | None = Field(
        default=None, gt=0, description="tokens sent in a minute at most, estimated from bytes; no limit if absent"
    )
    concurrency: int = Field(default=4, ge=1, le=64, description="requests under way at once")
    batch_size: int = Field(default=1, ge=1, le=256, description="texts in a request, where the service takes several")
    timeout_seconds: float = Field(default=60.0, gt=0, le=3600, description="longest time for one request, answer read")
    max_attempts: int = Field(default=6, ge=1, le=20, description="times that a request is tried before giving up")
    backoff_seconds: float = Field(
        default=1.0, ge=0, le=60, description="mean-doubling base of the wait after a failure"
    )
    max_wait_seconds: float = Field(
        default=120.0,
        gt=0,
        le=3600,
        description="longest wait before another try; a service that asks for more stops it",
    )
    window_bytes: int = Field(default=2000, ge=64, description="longer texts are scored in windows; the maximum counts")
    window_overlap: int = Field(default=200, ge=0, description="bytes that neighbouring windows share")

    @model_validator(mode="after")
    def _sound(self) -> Self:
        """A key never travels in clear text and is never in a profile, and windows move forward.

        Raises:
            ConfigError: the key's variable has no name of one; the address is not https outside this machine, or holds
                more than an address; windows overlap by half or more.
        """
        if self.api_key_env is not None and not _VARIABLE.fullmatch(self.api_key_env):
            # The value may be the key itself, so it is not quoted.
            raise ConfigError(
                f"{self.section}.api_key_env is no name of an environment variable in capitals; it names the variable "
                "that holds the key, and is never the key"
            )
        where = f"{self.section}.base_url"
        try:
            parts = urlsplit(self.base_url)
            host, _ = parts.hostname or "", parts.port
        except ValueError as error:
            raise ConfigError(f"{where} is not an address ({error})") from None
        # The address itself is not quoted where it may hold a password or a key.
        if parts.username is not None or parts.password is not None or parts.query or parts.fragment:
            raise ConfigError(f"{where} holds a user, a password, a query or a fragment; give the plain address only")
        if not host or parts.scheme not in ("http", "https"):
            raise ConfigError(f"{where} ({self.base_url!r}) is no http address, such as https://host/v1")
        if parts.scheme == "http" and not self.local:
            raise ConfigError(
                f"{where} ({self.base_url!r}) must be https: key and documents would travel unencrypted; http is "
                "accepted on this machine only"
            )
        if self.window_overlap * 2 >= self.window_bytes:
            raise ConfigError(
                f"{self.section}.window_overlap ({self.window_overlap}) must be less than half of window_bytes "
                f"({self.window_bytes})"
            )
        return self

    @property
    def key_variable(self) -> str:
        """Name of the environment variable that holds the key."""
        return self.api_key_env or self.usual_key

    @property
    def host(self) -> str:
        """Host and, where given, port of the service."""
        return urlsplit(self.base_url).netloc

    @property
    def local(self) -> bool:
        """Whether the service runs on this machine."""
        host = urlsplit(self.base_url).hostname or ""
        try:
            return host == "localhost" or ipaddress.ip_address(host).is_loopback
        except ValueError:
            return False

    def key(self, environ: Mapping[str, str]) -> SecretStr | None:
        """The key that the settings point to; None where the server asks for none.

        Raises:
            ConfigError: the variable is not set, or holds what cannot be a key. The message never holds its value.
        """
        if not self.needs_key:
            return None
        value = environ.get(self.key_variable, "").strip()
        if not value:
            raise ConfigError(
                f"set the environment variable {self.key_variable}, the key of the service (or name another as "
                f"{self.section}.api_key_env, or needs_key = false for a server of your own)"
            )
        if not (value.isascii() and value.isprintable()) or " " in value:
            raise ConfigError(f"the environment variable {self.key_variable} holds what cannot be a key; set it again")
        return SecretStr(value)


class HostedDetector(ABC):
    """A service as a detector; wrap it in ``CachedDetector``, or what was paid for is lost when a run ends early.

    Args:
        settings: address, quota, windows.
        environ: where the key is looked up when it is needed; the process's environment if absent.
    """

    settings: ServiceSettings

    def __init__(self, settings: ServiceSettings, environ: Mapping[str, str] | None = None) -> None:
        self.settings, self._environ = settings, os.environ if environ is None else environ

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.settings.host})"

    @property
    def name(self) -> str:
        """The detector's name."""
        return self.settings.section.rpartition(".")[2]

    @property
    def version(self) -> str:
        """What the scores depend on besides the texts, in one line; never the key, so it needs none."""
        s = self.settings
        windows = f"w{s.window_bytes}/{s.window_overlap}"
        return f"{VERSION} {self.name} {s.model or '-'} {s.host} {windows} {self.fingerprint}"

    @property
    @abstractmethod
    def heads(self) -> tuple[str, ...]:
        """Names of the scores, the headline first."""

    @property
    @abstractmethod
    def fingerprint(self) -> str:
        """What the scores depend on besides texts, address, model and windows."""

    @abstractmethod
    def session(self, key: SecretStr | None) -> AbstractAsyncContextManager[Ask]:
        """Open connections to the service."""

    def tokens(self, texts: Sequence[str]) -> int:
        """Estimate of what a request about these texts costs of the token quota."""
        return sum(len(text.encode("utf-8", "replace")) for text in texts) // BYTES_PER_TOKEN + len(texts)

    def score(self, texts: Sequence[str], progress: Progress | None = None) -> pl.DataFrame:
        """Scores in [0, 1], a row a text.

        Raises:
            DetectorError: a text could not be scored.
        """
        scores = np.empty((len(texts), len(self.heads)))

        def store(rows: Sequence[int], values: np.ndarray, notes: Notes) -> None:
            scores[list(rows)] = values

        self.score_each(texts, store, progress)
        return score_frame(scores, self.heads)

    def score_each(
        self, texts: Sequence[str], store: Store, progress: Progress | None = None, decline: Decline | None = None
    ) -> None:
        """Score texts and hand each over as soon as the answer is in.

        A text without a visible character is not sent: there is nothing in it that could harm, so all its heads are 0.

        Args:
            texts: any texts.
            store: called in the caller's thread.
            progress: told how far it is.
            decline: called for texts that the service would not judge; without it the first of them ends the call.

        Raises:
            DetectorError: a request failed for good; what had arrived was handed over before.
            ConfigError: the key is not set.
        """
        pieces = [windows(text, self.settings.window_bytes, self.settings.window_overlap) for text in texts]
        if blank := [i for i, cut in enumerate(pieces) if not cut]:
            store(blank, np.zeros((len(blank), len(self.heads))), [None] * len(blank))
        if len(blank) < len(texts):
            asyncio.run(self._score_windows(pieces, store, progress or silent, decline))

    async def _score_windows(
        self, pieces: list[list[str]], store: Store, report: Progress, decline: Decline | None
    ) -> None:
        pending = {i for i, cut in enumerate(pieces) if cut}
        found: defaultdict[int, list[tuple[np.ndarray, str | None]]] = defaultdict(list)
        queue = [(i, piece) for i, cut in enumerate(pieces) for piece in cut]
        size = self.settings.batch_size
        batches = [queue[start : start + size] for start in range(0, len(queue), size)]
        # All workers take from one iterator, so requests go out in the order of the texts.
        waiting = iter(enumerate(batches, 1))
        key = self.settings.key(self._environ)
        patience = _Patience(self.settings, max(self.tokens([piece for _, piece in batch]) for batch in batches))

        async def work(ask: Ask) -> None:
            for number, batch in waiting:
                texts = [piece for _, piece in batch]
                try:
                    scores, notes = await patience.retried(ask, texts, self.tokens(texts))
                except AnswerError as error:
                    said = str(error).replace(key.get_secret_value(), "[key]") if key else str(error)
                    tries = f" {self.settings.max_attempts} times; the last time" if error.again else ""
                    why = f"{self.name} at {self.settings.host}: request {number} failed{tries}: {said}"
                    if decline is not None and error.document and len({i for i, _ in batch}) == 1:
                        if batch[0][0] in pending:
                            pending.remove(batch[0][0])
                            decline(batch[0][0], why)
                        continue
                    done = f"{len(pieces) - len(pending)} of {len(pieces)} texts of this call had been scored"
                    raise DetectorError(f"{why}. {done}") from None
                for (i, _), row, note in zip(batch, scores, notes, strict=True):
                    found[i].append((row, note))
                if ready := sorted(i for i in {i for i, _ in batch} & pending if len(found[i]) == len(pieces[i])):
                    # The maximum over windows counts, and the note of the most harmful one. Between equal windows it
                    # is the smaller note, so that the order of arrival does not matter.
                    whole = np.stack([np.max([row for row, _ in found[i]], axis=0) for i in ready])
                    store(ready, whole, [min(found.pop(i), key=lambda w: (-w[0][0], w[1] or ""))[1] for i in ready])
                    pending.difference_update(ready)
                report(f"scoring with {self.name}", 1.0 - len(pending) / len(pieces))

        async with self.session(key) as ask:
            await asyncio.gather(*(work(ask) for _ in range(self.settings.concurrency)))


class _Patience:
    """The quota of a service, and how often and how soon a request is tried again.

    Waiting follows "full jitter" (Brooker, "Exponential backoff and jitter", AWS Architecture Blog, 2015), after what
    the service itself asks for. Both buckets hold one request, so a quota counted over any minute holds.

    Args:
        settings: quota and patience.
        most_tokens: of one request.
    """

    def __init__(self, settings: ServiceSettings, most_tokens: int) -> None:
        from aiolimiter import AsyncLimiter

        self.settings, self._held_until = settings, 0.0
        self._requests = AsyncLimiter(1, 60.0 / settings.requests_per_minute)
        per_minute = settings.tokens_per_minute
        self._tokens = None if per_minute is None else AsyncLimiter(most_tokens, most_tokens * 60.0 / per_minute)

    async def retried(self, ask: Ask, texts: Sequence[str], tokens: int) -> tuple[np.ndarray, Notes]:
        """What ``ask`` gives in the end; raises the last ``AnswerError`` otherwise."""
        from tenacity import AsyncRetrying, retry_if_exception, stop_after_attempt, wait_random_exponential

        jitter = wait_random_exponential(self.settings.backoff_seconds, self.settings.max_wait_seconds)

        def wait(state: RetryCallState) -> float:
            error = state.outcome.exception() if state.outcome else None
            asked = error.wait if isinstance(error, AnswerError) else None
            return jitter(state) if asked is None else asked + min(jitter(state), self.settings.backoff_seconds)

        retrying = AsyncRetrying(
            retry=retry_if_exception(lambda error: isinstance(error, AnswerError) and error.again),
            stop=stop_after_attempt(self.settings.max_attempts),
            wait=wait,
            reraise=True,
        )
        return await retrying(self._once, ask, texts, tokens)

    async def _once(self, ask: Ask, texts: Sequence[str], tokens: int) -> tuple[np.ndarray, Notes]:
        await self._requests.acquire()
        if self._tokens is not None:
            await self._tokens.acquire(tokens)
        while (held := self._held_until - time.monotonic()) > 0:
            await asyncio.sleep(held)
        try:
            return await asyncio.wait_for(ask(texts), self.settings.timeout_seconds)
        except TimeoutError:
            raise AnswerError(f"no answer within {self.settings.timeout_seconds:g} s") from None
        except AnswerError as error:
            if error.wait is not None and error.wait > self.settings.max_wait_seconds:
                limit = f"max_wait_seconds ({self.settings.max_wait_seconds:g})"
                raise AnswerError(
                    f"{error}; the service asks to wait {error.wait:.0f} s, more than {limit}", False
                ) from None
            if error.wait is not None:  # its quota is shared by all requests, so all of them wait
                self._held_until = max(self._held_until, time.monotonic() + error.wait)
            raise


def windows(text: str, size: int, overlap: int) -> list[str]:
    """Pieces of at most ``size`` bytes of UTF-8 that cover a text, cut behind white space where there is some.

    Args:
        text: any text; lone surrogates, which UTF-8 cannot hold, become replacement characters.
        size: bytes of a piece at most.
        overlap: bytes that neighbours share, about.

    Returns:
        Pieces in order; none for a text without a visible character.
    """
    raw = text.encode("utf-8", "replace")
    if not text.strip():
        return []
    pieces, start = [], 0
    while start + size < len(raw):
        end = _character(raw, start + size, -1)
        # A word is not cut in two if it begins in the last quarter of the window.
        if (space := max(raw.rfind(b" ", start, end), raw.rfind(b"\n", start, end))) > start + size * 3 // 4:
            end = space + 1
        pieces.append(raw[start:end].decode())
        start = _character(raw, max(_character(raw, end - overlap, -1), start + 1) if overlap else end, 1)
    pieces.append(raw[start:].decode())
    return [piece for piece in pieces if piece.strip()]


def _character(raw: bytes, at: int, step: int) -> int:
    """The nearest start of a character from a byte on, forwards (1) or backwards (-1)."""
    while 0 < at < len(raw) and raw[at] & 0xC0 == 0x80:
        at += step
    return at


def refusal(status: int, headers: Mapping[str, str], body: bytes, settings: ServiceSettings) -> AnswerError:
    """What an answer with another status than 200 means.

    Args:
        status: the HTTP status.
        headers: of the answer, without regard to case.
        body: an error object of the OpenAI or Google form, or anything else.
        settings: of the service.
    """
    code, said = _error_of(body)
    reason = f"status {status} ({request_id(headers)}){f': {said}' if said else ''}"
    if status not in AGAIN and status < 500:
        hint = f"; check the key in {settings.key_variable}" if status in (401, 403) else ""
        return AnswerError(reason + hint, again=False, document=code in FILTERED)
    if code in SPENT:
        return AnswerError(f"{reason}; the account's quota is used up, so it is not tried again", again=False)
    return AnswerError(reason, wait=retry_after(headers))


def request_id(headers: Mapping[str, str]) -> str:
    """How the service's operators find the request again."""
    names = ("x-request-id", "request-id", "apim-request-id", "x-goog-request-id")
    return next((f"request id {headers[name][:100]}" for name in names if name in headers), "no request id")


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Seconds that the answer asks to wait: ``retry-after-ms``, or Retry-After as seconds or a date (RFC 9110, 10.2.3).

    Returns:
        Seconds, zero for a date that has passed; None when no such header is there or it cannot be read.
    """
    for name, unit in (("retry-after-ms", 1000.0), ("retry-after", 1.0)):
        text = headers.get(name, "")
        if re.fullmatch(r"\d{1,9}(\.\d{1,9})?", text.strip()):
            return float(text) / unit
    try:
        return max(0.0, parsedate_to_datetime(headers.get("retry-after", "")).timestamp() - time.time())
    except ValueError:
        return None


def _error_of(body: bytes) -> tuple[str, str]:
    """Code and message of an error object; empty where it has another form."""
    try:
        error = json.loads(body).get("error")
    except (ValueError, AttributeError, RecursionError):
        return "", ""
    if not isinstance(error, dict):
        return "", str(error or "")[:300]
    code = error.get("code") if isinstance(error.get("code"), str) else error.get("type") or error.get("status")
    return str(code or ""), " ".join(str(error.get("message") or code or "").split())[:300]


def member(answer: Any, name: str, kind: type, what: str = "the answer") -> Any:
    """The member ``name`` of a JSON object, of the given type.

    Raises:
        AnswerError: there is none.
    """
    if not isinstance(answer, dict) or not isinstance(answer.get(name), kind):
        raise AnswerError(f"{what} has no {name} of the right type")
    return answer[name]


def score_of(value: Any, what: str) -> float:
    """A number in [0, 1].

    Raises:
        AnswerError: it is none; a score is never guessed.
    """
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise AnswerError(f"{what} is no number but {type(value).__name__}")
    if not math.isfinite(value) or not 0.0 <= value <= 1.0:
        raise AnswerError(f"{what} is {value}, which is not in [0, 1]")
    return float(value)


def missing_service(settings: ServiceSettings, preflight: Preflight) -> Iterator[Missing]:
    """What a hosted detector lacks: its key, or a package of the extra ``hosted``."""
    try:
        settings.key(preflight.environ)
    except ConfigError as error:
        yield Missing(str(error))
    for package in ("aiolimiter", "tenacity"):
        yield from missing_package(package, "'curation-pipeline[hosted]'")
