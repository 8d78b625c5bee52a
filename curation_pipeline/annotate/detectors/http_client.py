"""One way to call a hosted service: paced, retried, bounded, and silent about its key."""

from __future__ import annotations

import json
import os
import threading
import time
import zlib
from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

from pydantic import SecretStr

from curation_pipeline.annotate.detectors.rate_limit import Pacer, retry_after
from curation_pipeline.annotate.hosted_settings import ServiceSettings
from curation_pipeline.errors import ConfigError, DetectorError, MissingModelError
from curation_pipeline.seeds import generator

if TYPE_CHECKING:
    import httpx

T = TypeVar("T")

AGAIN = frozenset({408, 409, 425, 429})
"""Statuses below 500 after which the same request may succeed; all from 500 on may, too."""
SPENT = frozenset({"insufficient_quota", "billing_hard_limit_reached"})
"""Error codes that come as 429 but mean that the account has nothing left: waiting does not help."""
FILTERED = frozenset({"content_filter", "content_policy_violation", "ResponsibleAIPolicyViolation"})
"""Error codes of a service that declines one document and would serve the next."""
MAX_ANSWER = 8_000_000
"""Bytes of an answer that are read, unpacked."""
PACKED = ("gzip", "deflate")
"""What an answer may be packed with: what zlib unpacks step by step, so that no more than ``MAX_ANSWER`` comes out."""


@dataclass(frozen=True, slots=True)
class Call:
    """One request.

    Attributes:
        path: below the service's address.
        body: sent as JSON.
        tokens: estimate of what it costs of the token quota.
    """

    path: str
    body: Mapping[str, Any]
    tokens: int


class BadAnswerError(Exception):
    """An answer that is not what the service promises: cut off, malformed or out of range.

    Attributes:
        final: asking again would not help, as when the service declines the document.
    """

    def __init__(self, message: str, final: bool = False) -> None:
        super().__init__(message)
        self.final = final


class CallError(DetectorError):
    """A request failed for good.

    Attributes:
        document: the fault may lie with the documents of this request alone; the next may succeed.
    """

    def __init__(self, message: str, document: bool) -> None:
        super().__init__(message)
        self.document = document


class StoppedError(DetectorError):
    """A request was given up because another one failed for good."""


@dataclass(frozen=True, slots=True)
class _Again:
    """Why a request is tried again, and how long the service asks to wait."""

    reason: str
    wait: float | None = None
    everyone: bool = False
    document: bool = False


def read_key(settings: ServiceSettings, environ: Mapping[str, str] | None = None) -> SecretStr | None:
    """The key that the settings point to; None where the server asks for none.

    Raises:
        ConfigError: the variable is not set, or holds what cannot be a key. The message never holds its value.
    """
    if not settings.needs_key:
        return None
    value = (os.environ if environ is None else environ).get(settings.key_variable, "").strip()
    if not value:
        raise ConfigError(
            f"{settings.service} needs a key: set the environment variable {settings.key_variable} (or name another "
            f"as annotate.hosted.{settings.service}.api_key_env, or needs_key = false for a server of your own)"
        )
    if not (value.isascii() and value.isprintable()) or " " in value:
        raise ConfigError(f"the environment variable {settings.key_variable} holds what cannot be a key; set it again")
    return SecretStr(value)


class HttpClient:
    """Calls one service; safe to use from several threads.

    Waiting follows "full jitter" (Brooker, "Exponential backoff and jitter", AWS Architecture Blog, 2015): after the
    k-th failure a uniform time up to ``backoff_seconds * 2**k``, drawn by the request's number from ``seed``, so that
    many clients do not come back at once. What a service asks for in its headers is honoured before that.

    Args:
        settings: address, quota and patience.
        key: sent as the header ``key_header``; None sends none.
        key_header: name of the header.
        key_prefix: before the key, such as ``Bearer``.
        seed: of the jitter.
        sleep: waits so many seconds; None waits in a way that a failure of another request ends.
        clock: seconds that only grow.
    """

    def __init__(
        self,
        settings: ServiceSettings,
        key: SecretStr | None,
        key_header: str = "Authorization",
        key_prefix: str = "Bearer ",
        seed: int = 0,
        sleep: Callable[[float], object] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        try:
            import httpx
        except ImportError as error:
            raise MissingModelError(
                f"{settings.service} needs the package httpx ({error}); install it: pip install httpx"
            ) from error

        class _Key(httpx.Auth):
            """Adds the key at the last moment: no frame, header mapping or message of ours holds it in clear."""

            def auth_flow(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response, None]:
                if key is not None:
                    request.headers[key_header] = key_prefix + key.get_secret_value()
                yield request

        self._settings, self._key, self._seed, self._sleep = settings, key, seed, sleep
        self._clock = clock
        self._pacer = Pacer(settings.requests_per_minute, settings.tokens_per_minute, clock)
        # Redirects are not followed: a key goes to the host that the settings name and to no other.
        self._client = httpx.Client(
            auth=_Key(),
            timeout=httpx.Timeout(settings.timeout_seconds),
            headers={"Accept-Encoding": ", ".join(PACKED)},
            limits=httpx.Limits(max_connections=settings.concurrency, max_keepalive_connections=settings.concurrency),
            trust_env=not settings.local,
        )

    def __repr__(self) -> str:
        return f"HttpClient({self._settings.service} at {self._settings.host})"

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    def post(self, call: Call, parse: Callable[[Any], T], request: int, stop: threading.Event) -> T:
        """The parsed answer to a request.

        Args:
            call: the request.
            parse: from decoded JSON to the result; raises ``BadAnswerError`` for anything that it does not promise.
            request: its number, for messages and for the jitter.
            stop: set by the caller when waiting on is in vain.

        Raises:
            CallError: it failed for good, with what, which request and which status.
            StoppedError: ``stop`` was set.
        """
        sleep = self._sleep or stop.wait
        again = _Again("it was never sent")
        for attempt in range(self._settings.max_attempts):
            if attempt:
                self._pause(again, request, attempt, sleep)
            if not stop.is_set():
                self._pacer.wait(call.tokens, sleep)
            if stop.is_set():
                raise StoppedError(f"request {request} was given up")
            outcome = self._once(call, parse, request)
            if not isinstance(outcome, _Again):
                return outcome
            again = outcome
        raise CallError(
            self._clean(
                f"{self._where(request)} failed {self._settings.max_attempts} times; the last time: {again.reason}"
            ),
            document=again.document,
        )

    def _pause(self, again: _Again, request: int, attempt: int, sleep: Callable[[float], object]) -> None:
        longest = min(self._settings.backoff_seconds * 2.0 ** (attempt - 1), self._settings.max_wait_seconds)
        jitter = float(generator(self._seed, "backoff", request, attempt).uniform(0.0, longest))
        if again.wait is not None:
            jitter = again.wait + min(jitter, self._settings.backoff_seconds)
        if again.everyone:
            self._pacer.hold(jitter)
        else:
            sleep(jitter)

    def _once(self, call: Call, parse: Callable[[Any], T], request: int) -> T | _Again:
        import httpx

        deadline = self._clock() + self._settings.timeout_seconds
        url = self._settings.base_url.rstrip("/") + call.path
        raw = bytearray()
        try:
            with self._client.stream("POST", url, json=call.body) as response:
                # A read times out by itself only where nothing comes at all; one that trickles is ended here.
                unpack = _unpacker(response.headers.get("content-encoding", ""))
                for part in response.iter_raw():
                    raw += unpack(part, MAX_ANSWER + 1 - len(raw))
                    if len(raw) > MAX_ANSWER:
                        return _Again(f"the answer is longer than {MAX_ANSWER} bytes", document=True)
                    if self._clock() > deadline:
                        return _Again(f"the answer was not complete after {self._settings.timeout_seconds:g} s")
        except httpx.TimeoutException as error:
            return _Again(f"no answer within {self._settings.timeout_seconds:g} s ({type(error).__name__})")
        except (httpx.TransportError, zlib.error) as error:
            return _Again(f"{type(error).__name__}: {error}")
        self._pacer.observe(response.headers, call.tokens, self._settings.max_wait_seconds)
        if response.status_code != 200:
            return self._not_ok(response, bytes(raw), request)
        try:
            answer = json.loads(raw, parse_constant=_refuse_constant)
            result = parse(answer)
        except (ValueError, RecursionError) as error:  # not JSON, or not UTF-8
            return _Again(f"the answer is not JSON ({error}; {_identity(response)})", document=True)
        except BadAnswerError as error:
            if error.final:
                self._give_up(f"{error} ({_identity(response)})", request, document=True)
            return _Again(f"{error} ({_identity(response)})", document=True)
        usage = answer.get("usage") if isinstance(answer, dict) else None
        if isinstance(usage, dict) and isinstance(total := usage.get("total_tokens"), int):
            self._pacer.correct(total - call.tokens)
        return result

    def _not_ok(self, response: httpx.Response, raw: bytes, request: int) -> _Again:
        status = response.status_code
        code, said = _error_of(raw)
        reason = f"status {status} ({_identity(response)}){f': {said}' if said else ''}"
        if status not in AGAIN and status < 500:
            hint = f"; check the key in {self._settings.key_variable}" if status in (401, 403) else ""
            self._give_up(reason + hint, request, document=code in FILTERED)
        if code in SPENT:
            self._give_up(f"{reason}; the account's quota is used up, so it is not tried again", request)
        wait = retry_after(response.headers)
        if wait is not None and wait > self._settings.max_wait_seconds:
            self._give_up(
                f"{reason}; the service asks to wait {wait:.0f} s, more than max_wait_seconds "
                f"({self._settings.max_wait_seconds:.0f})",
                request,
            )
        return _Again(reason, wait, everyone=status == 429 or wait is not None)

    def _give_up(self, reason: str, request: int, document: bool = False) -> NoReturn:
        raise CallError(self._clean(f"{self._where(request)} failed: {reason}"), document=document) from None

    def _where(self, request: int) -> str:
        return f"{self._settings.service} at {self._settings.host}: request {request}"

    def _clean(self, message: str) -> str:
        """The message without the key, should a service or a library have repeated it."""
        return message.replace(self._key.get_secret_value(), "[key]") if self._key else message


def _unpacker(encoding: str) -> Callable[[bytes, int], bytes]:
    """What unpacks the parts of an answer, each to so many bytes at the most."""
    kind = encoding.strip().lower().removeprefix("x-")
    machine: Any = None
    if kind not in ("", "identity", *PACKED):
        raise zlib.error(f"the answer is packed with {kind[:40]!r}, which was not asked for")

    def unpack(part: bytes, most: int) -> bytes:
        nonlocal machine
        if kind not in PACKED:
            return part
        # Some servers send deflate without the bytes that zlib begins with.
        machine = machine or zlib.decompressobj(-15 if kind == "deflate" and part[0] & 15 != 8 else 47)
        return bytes(machine.decompress(part, most))

    return unpack


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"it holds {name}")


def _identity(response: httpx.Response) -> str:
    """How the service's operators find the request again."""
    for header in ("x-request-id", "request-id", "apim-request-id", "x-goog-request-id"):
        if value := response.headers.get(header):
            return f"request id {value[:100]}"
    return "no request id"


def _error_of(raw: bytes) -> tuple[str, str]:
    """Code and message of an error body of the OpenAI or Google form; empty where it has another."""
    try:
        error = json.loads(raw).get("error")
    except (ValueError, AttributeError, RecursionError):
        return "", ""
    if isinstance(error, str):
        return "", error[:300]
    if not isinstance(error, dict):
        return "", ""
    code = error.get("code") if isinstance(error.get("code"), str) else error.get("type") or error.get("status")
    return str(code or ""), " ".join(str(error.get("message") or code or "").split())[:300]
