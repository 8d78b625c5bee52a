"""Hosted services as detectors: windows of texts in, one request at a time within the quota, scores as they arrive."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from datetime import UTC, date, datetime

import numpy as np
import polars as pl

from curation_pipeline.annotate.detectors.hosted_perspective import Perspective, check_open
from curation_pipeline.annotate.detectors.hosted_services import Chat, Moderation, Notes, Service
from curation_pipeline.annotate.detectors.http_client import CallError, HttpClient, StoppedError, read_key
from curation_pipeline.annotate.detectors.protocol import score_frame
from curation_pipeline.annotate.hosted_settings import (
    ChatSettings,
    HostedSettings,
    ModerationSettings,
    PerspectiveSettings,
    ServiceSettings,
)
from curation_pipeline.errors import ConfigError, DetectorError
from curation_pipeline.progress import Progress, silent

VERSION = 1
"""Of windows and reading; raised by hand when the same answers would give other scores."""

Store = Callable[[Sequence[int], np.ndarray, Notes], None]
"""Called with positions of texts, their scores (n, heads) and notes, as soon as they are known."""
Decline = Callable[[int, str], None]
"""Called with the position of a text that the service would not judge, and why."""


@dataclass(slots=True)
class _Pending:
    """What is known of one text while its windows are under way."""

    windows: int
    scores: np.ndarray | None = None
    note: str | None = None

    def add(self, scores: np.ndarray, note: str | None) -> bool:
        """Keep the maximum of every head, and the note of the most harmful window; whether all windows are in.

        Between equal windows the smaller note counts, so that the order of arrival does not.
        """
        if self.scores is None:
            self.scores, self.note = scores, note
        else:
            new, old = float(scores[0]), float(self.scores[0])
            if new > old or (new == old and (note or "") < (self.note or "")):
                self.note = note
            self.scores = np.maximum(self.scores, scores)
        self.windows -= 1
        return self.windows == 0


@dataclass(frozen=True, slots=True, eq=False)
class HostedDetector:
    """A service as a detector; wrap it in ``CachedDetector``, or what was paid for is lost when a run ends early.

    Attributes:
        settings: address, quota, windows.
        service: builds requests and reads answers.
        client: sends them.
        version: service, model, host and what else the scores depend on; never the key.
        name: the service's name.
        heads: the service's scores, the headline first.
    """

    settings: ServiceSettings
    service: Service
    client: HttpClient = field(repr=False)
    version: str
    name: str
    heads: tuple[str, ...]

    def score(self, texts: Sequence[str], progress: Progress | None = None) -> pl.DataFrame:
        """See ``Detector.score``.

        Raises:
            DetectorError: a text could not be scored.
        """
        return self.explain(texts, progress)[0]

    def explain(self, texts: Sequence[str], progress: Progress | None = None) -> tuple[pl.DataFrame, list[str | None]]:
        """Scores as of ``score``, and for each text the judge's note (JSON: principle, rationale) or None."""
        scores, notes = np.empty((len(texts), len(self.heads))), list[str | None]([None] * len(texts))

        def store(rows: Sequence[int], values: np.ndarray, given: Notes) -> None:
            scores[list(rows)] = values
            for row, note in zip(rows, given, strict=True):
                notes[row] = note

        self.score_each(texts, store, progress)
        return score_frame(scores, self.heads), notes

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
        """
        report = progress or silent
        pieces = [windows(text, self.settings.window_bytes, self.settings.window_overlap) for text in texts]
        if blank := [i for i, cut in enumerate(pieces) if not cut]:
            store(blank, np.zeros((len(blank), len(self.heads))), [None] * len(blank))
        pending = {i: _Pending(len(cut)) for i, cut in enumerate(pieces) if cut}
        queue = [(i, piece) for i, cut in enumerate(pieces) for piece in cut]
        size = self.settings.batch_size
        batches = [queue[start : start + size] for start in range(0, len(queue), size)]
        n_done = len(blank)

        def take(batch: list[tuple[int, str]], scores: np.ndarray, notes: Notes) -> int:
            ready = [
                i
                for (i, _), row, note in zip(batch, scores, notes, strict=True)
                if i in pending and pending[i].add(row, note)
            ]
            if ready:
                store(ready, np.stack([_scores(pending[i]) for i in ready]), [pending[i].note for i in ready])
            for i in ready:
                del pending[i]
            return len(ready)

        stop, failure = threading.Event(), None
        under_way: dict[Future[tuple[np.ndarray, Notes]], int] = {}
        submitted = 0
        with ThreadPoolExecutor(self.settings.concurrency, thread_name_prefix=self.name) as pool:
            try:
                while under_way or (submitted < len(batches) and failure is None):
                    # Few are submitted ahead: requests go out in the order of the texts, and a failure strands none.
                    while submitted < len(batches) and len(under_way) < self.settings.concurrency and failure is None:
                        under_way[pool.submit(self._ask, batches[submitted], submitted + 1, stop)] = submitted
                        submitted += 1
                    for future in sorted(wait(under_way, return_when=FIRST_COMPLETED).done, key=under_way.__getitem__):
                        batch = batches[under_way.pop(future)]
                        try:
                            n_done += take(batch, *future.result())
                        except StoppedError:
                            continue
                        except CallError as error:
                            if decline is not None and error.document and len({i for i, _ in batch}) == 1:
                                if pending.pop(batch[0][0], None) is not None:
                                    decline(batch[0][0], str(error))
                                continue
                            failure = failure or error
                            stop.set()
                    report(f"scoring with {self.name}", n_done / len(texts))
            except BaseException:
                stop.set()
                raise
        if failure is not None:
            raise DetectorError(f"{failure}. {n_done} of {len(texts)} texts of this call had been scored") from None

    def _ask(self, batch: list[tuple[int, str]], number: int, stop: threading.Event) -> tuple[np.ndarray, Notes]:
        texts = [piece for _, piece in batch]
        return self.client.post(self.service.call(texts), lambda answer: self.service.read(answer, texts), number, stop)


def _scores(pending: _Pending) -> np.ndarray:
    assert pending.scores is not None
    return pending.scores


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
    if len(raw) <= size:
        return [raw.decode()]
    pieces, start = [], 0
    while True:
        end = start + size
        if end >= len(raw):
            pieces.append(raw[start:].decode())
            break
        end = _boundary(raw, end)
        # A word is not cut in two if it begins in the last quarter of the window.
        if (space := max(raw.rfind(b" ", start, end), raw.rfind(b"\n", start, end))) > start + size * 3 // 4:
            end = space + 1
        pieces.append(raw[start:end].decode())
        start = max(_boundary(raw, end - overlap), start + 1) if overlap else end
        start = _boundary_up(raw, start)
    return [piece for piece in pieces if piece.strip()]


def _boundary(raw: bytes, at: int) -> int:
    """The nearest start of a character at or before a byte."""
    while at > 0 and raw[at] & 0xC0 == 0x80:
        at -= 1
    return at


def _boundary_up(raw: bytes, at: int) -> int:
    while at < len(raw) and raw[at] & 0xC0 == 0x80:
        at += 1
    return at


def load_hosted(
    name: str,
    settings: HostedSettings,
    seed: int = 0,
    environ: Mapping[str, str] | None = None,
    today: date | None = None,
    sleep: Callable[[float], object] | None = None,
) -> HostedDetector:
    """The hosted detector ``name``, ready to score; nothing is sent yet.

    Args:
        name: one of ``HOSTED``.
        settings: of all services.
        seed: of the jitter between tries; no score depends on it.
        environ: where the key is looked up; the process's own environment if absent.
        today: the day, for the Perspective API's end; the present day if absent.
        sleep: waits so many seconds.

    Raises:
        ConfigError: no such service, its key is not set, or it has closed.
        MissingModelError: the package httpx is not installed.
    """
    own = settings.of(name)
    if isinstance(own, PerspectiveSettings):
        check_open(today or datetime.now(UTC).date())
    service = _service(own)
    key = read_key(own, environ)
    client = HttpClient(own, key, service.key_header, service.key_prefix, seed, sleep)
    return HostedDetector(own, service, client, hosted_version(name, settings), name, service.heads)


def hosted_version(name: str, settings: HostedSettings) -> str:
    """What the scores of the hosted detector ``name`` depend on besides the texts, in one line.

    It needs no key and never holds one, so a recipe can be worked out where the service cannot be called.

    Raises:
        ConfigError: no such service.
    """
    own = settings.of(name)
    cut = f"w{own.window_bytes}/{own.window_overlap}"
    return f"{VERSION} {own.service} {own.model or '-'} {own.host} {cut} {_service(own).fingerprint}"


def _service(settings: ServiceSettings) -> Service:
    if isinstance(settings, ModerationSettings):
        return Moderation(settings)
    if isinstance(settings, ChatSettings):
        return Chat(settings)
    if isinstance(settings, PerspectiveSettings):
        return Perspective(settings)
    raise ConfigError(f"no plugin for the hosted detector `{settings.service}`")
