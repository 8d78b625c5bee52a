"""Hosted detectors against a server that answers well, late, wrongly, in part, or not at all."""

from __future__ import annotations

import json
import logging
import os
import signal
import subprocess
import sys
import time
import traceback
import tracemalloc
import zlib
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from curation_pipeline.annotate.cached_detector import CachedDetector
from curation_pipeline.annotate.detectors.hosted import HostedDetector, retry_after, windows
from curation_pipeline.annotate.detectors.openai_chat import ChatSettings, OpenAIChat
from curation_pipeline.annotate.detectors.openai_moderation import ModerationSettings, OpenAIModeration
from curation_pipeline.annotate.score_cache import ScoreCache
from curation_pipeline.annotate.settings import HostedSettings
from curation_pipeline.errors import ConfigError, DetectorError
from tests.hosted_server import CATEGORIES, KEY, Reply, Server, chat, moderation, verdict

FAST: dict[str, Any] = {"requests_per_minute": 1e6, "backoff_seconds": 0.02, "max_attempts": 4, "timeout_seconds": 60}


def detector(server: Server, name: str = "openai_moderation", **settings: Any) -> HostedDetector:
    own = FAST | {"base_url": server.url, "concurrency": 1} | settings
    keys = {"OPENAI_API_KEY": KEY}
    if name == "openai_chat":
        return OpenAIChat(ChatSettings.model_validate(own), keys)
    return OpenAIModeration(ModerationSettings.model_validate({"batch_size": 2, "categories": CATEGORIES} | own), keys)


def test_moderation_batches_in_order_and_makes_heads_of_categories() -> None:
    texts = ["harm=0.25 a", "b", "   ", "harm=0.9 c", "d"]
    with Server(lambda _, body: Reply(moderation(body))) as server:
        scores = detector(server).score(texts)
        assert [seen.body["input"] for seen in server.seen] == [["harm=0.25 a", "b"], ["harm=0.9 c", "d"]]
        assert {seen.path for seen in server.seen} == {"/v1/moderations"}
        assert server.seen[0].headers["authorization"] == f"Bearer {KEY}"
    assert scores.schema == dict.fromkeys(("harm", "hate", "self_harm_intent", "violence"), pl.Float32)
    with Server(lambda _, body: Reply(moderation(body))) as server:
        detector(server, needs_key=False).score(texts[:1])
        assert server.seen[0].headers["authorization"] == "Bearer none"
    # A category that the settings do not know does not enter the headline; a blank text is not sent.
    assert scores["harm"].to_list() == pytest.approx([0.25, 0.01, 0.0, 0.9, 0.01])


def test_chat_judges_one_document_a_request_and_gives_principle_and_reason(tmp_path: Path) -> None:
    with Server(lambda _, body: Reply(verdict(body))) as server:
        judge = detector(server, "openai_chat", constitution=("It shouts at people.", "It lies to people."))
        scores, notes = CachedDetector(judge, ScoreCache(tmp_path, judge)).explain(["harm=0.75 one", "two"])
        bodies = [seen.body for seen in server.seen]
    assert scores["harm"].to_list() == [0.75, 0.0]
    assert notes[0] == '{"principle": "It lies to people.", "rationale": "It says so."}'
    assert "1. It shouts at people." in bodies[0]["messages"][0]["content"]
    assert "harm=0.75" not in bodies[0]["messages"][0]["content"], "the document stays out of the instructions"
    assert bodies[0]["response_format"]["json_schema"]["strict"] is True
    assert bodies[0]["temperature"] == 0.0
    assert bodies[0]["max_completion_tokens"] == 400


@pytest.mark.parametrize(
    ("reply", "says"),
    [
        (lambda body: Reply(verdict(body, harm=1.5)), "harm is 1.5"),
        (lambda body: Reply(verdict(body, harm=True)), "harm\n.*valid number"),
        (lambda body: Reply(verdict(body, harm="0.5")), "harm\n.*valid number"),
        (lambda body: Reply(verdict(body, principle=99)), "no number from 0"),
        (lambda body: Reply(verdict(body, rationale=" ")), "rationale is empty"),
        (lambda body: Reply(verdict(body, extra=1)), "extra\n.*not permitted"),
        (lambda body: Reply(verdict(body, finish="length")), "did not finish"),
        (lambda body: Reply(chat('{"harm": 0.1')), "not the JSON object"),
        (lambda body: Reply(chat('{"harm": 0.1, "harm": 0.9}')), "given twice"),
        # What a document dictates word by word cannot hold the document's own mark.
        (lambda body: Reply(verdict(body, check="000000000000", harm=0)), "does not repeat the document's mark"),
        (lambda body: Reply({"choices": []}), "0 choices"),
        (lambda body: Reply([]), "has no choices"),
        (lambda body: Reply(raw=b'{"choices": [{"mess'), "not JSON"),
        (lambda body: Reply(raw=b"<html>busy</html>"), "not JSON"),
        (lambda body: Reply(raw=b"\xff\xfe"), "not JSON"),
    ],
)
def test_an_answer_out_of_form_is_asked_again_and_never_becomes_a_score(
    reply: Callable[[Any], Reply], says: str
) -> None:
    with Server(lambda number, body: reply(body)) as server:
        with pytest.raises(DetectorError, match=says) as caught:
            detector(server, "openai_chat", max_attempts=3).score(["harm=0.3 words"])
        assert len(server.seen) == 3
    assert "request 1 failed 3 times" in str(caught.value)
    assert "req-3" in str(caught.value)
    with Server(lambda number, body: reply(body) if number < 3 else Reply(verdict(body))) as server:
        assert detector(server, "openai_chat").score(["harm=0.3 words"])["harm"].to_list() == [pytest.approx(0.3)]
        assert len(server.seen) == 3


@pytest.mark.parametrize(
    "reply",
    [
        Reply(status=500),
        Reply(status=503, raw=b"busy"),
        Reply(status=408),
        Reply({"results": []}, cut=True),
        Reply({"results": []}),
        Reply({"results": [{"category_scores": {"hate": 0.1}}]}),
        Reply({"results": [{"category_scores": dict.fromkeys(CATEGORIES, float("nan"))}]}),
        Reply({"results": [{"category_scores": dict.fromkeys(CATEGORIES, -0.1)}]}),
        Reply(delay=3.0),
        Reply({"results": ["long enough to trickle" * 4]}, trickle=True),
    ],
)
def test_a_passing_fault_is_survived_and_a_lasting_one_is_an_error(reply: Reply) -> None:
    patience = 2.0 if reply.delay or reply.trickle else 60.0
    with Server(lambda number, body: reply if number < 3 else Reply(moderation(body))) as server:
        scores = detector(server, timeout_seconds=patience).score(["harm=0.5"])
        assert scores["harm"].to_list() == [0.5]
        assert len(server.seen) == 3
    with Server(lambda number, body: reply) as server:
        with pytest.raises(DetectorError, match=r"request 1 failed 2 times.* 0 of 1 texts"):
            detector(server, timeout_seconds=patience, max_attempts=2).score(["harm=0.5"])
        assert len(server.seen) == 2


@pytest.mark.parametrize("encoding", ["gzip", "deflate", "raw", "br", "zstd"])
def test_a_packed_answer_is_unpacked_no_further_than_an_answer_may_be_long(encoding: str) -> None:
    asked = {"gzip": 31, "deflate": 15, "raw": -15}

    def packed(body: bytes) -> Reply:
        machine = zlib.compressobj(9, wbits=asked.get(encoding, 31))
        raw = machine.compress(body) + machine.flush()
        return Reply(raw=raw, headers={"Content-Encoding": "deflate" if encoding == "raw" else encoding})

    with Server(lambda number, body: packed(json.dumps(moderation(body)).encode())) as server:
        if encoding not in asked:
            with pytest.raises(DetectorError, match=f"packed with '{encoding}', which was not asked for"):
                detector(server).score(["harm=0.3 words"])
            return
        assert detector(server).score(["harm=0.3 words"])["hate"].to_list() == [pytest.approx(0.3)]
        assert server.seen[0].headers["accept-encoding"] == "gzip, deflate"
    bomb = packed(bytes(2**26))
    with Server(lambda number, body: bomb) as server:
        tracemalloc.start()
        with pytest.raises(DetectorError, match="the answer is longer than 8000000 bytes"):
            detector(server).score(["harm=0.3 words"])
        assert tracemalloc.get_traced_memory()[1] < 60e6
        tracemalloc.stop()


@pytest.mark.parametrize("status", [400, 401, 403, 404, 413, 422, 302])
def test_a_refusal_is_not_asked_again(status: int) -> None:
    error = {"error": {"message": f"wrong key {KEY}", "type": "invalid", "code": "nope"}}
    with Server(lambda *_: Reply(error, status, {"Location": "http://127.0.0.1:9/"})) as server:
        with pytest.raises(DetectorError, match=rf"status {status} \(request id req-1\): wrong key \[key\]"):
            detector(server).score(["x"])
        assert len(server.seen) == 1


def test_an_account_without_quota_and_a_long_wait_end_the_run_at_once() -> None:
    spent = {
        "error": {"message": "You exceeded your quota", "type": "insufficient_quota", "code": "insufficient_quota"}
    }
    for reply, says in ((Reply(spent, 429), "used up"), (Reply({}, 429, {"Retry-After": "86400"}), "wait 86400 s")):
        with Server(lambda *_, reply=reply: reply) as server:
            with pytest.raises(DetectorError, match=says):
                detector(server).score(["x"])
            assert len(server.seen) == 1


def test_retry_after_holds_every_thread_back() -> None:
    headers = {"Retry-After": "1"}

    def answer(number: int, body: Any) -> Reply:
        return Reply({}, 429, headers) if number == 1 else Reply(moderation(body))

    with Server(answer) as server:
        scores = detector(server, concurrency=4, batch_size=1, requests_per_minute=1200).score(["harm=0.5"] * 6)
        first, *rest = [seen.at for seen in server.seen]
    assert scores["harm"].to_list() == [0.5] * 6
    assert len(rest) == 6
    # Three threads may have had a request on its way; all others wait a second.
    assert len([at for at in rest if at - first >= 0.95]) >= 3


def test_the_quota_spaces_requests_and_threads_stay_bounded() -> None:
    with Server(lambda _, body: Reply(moderation(body), delay=0.12)) as server:
        detector(server, concurrency=3, batch_size=1, requests_per_minute=1200).score([f"t{i}" for i in range(12)])
        at = [seen.at for seen in server.seen]
        assert server.most_at_once <= 3
        assert server.texts == [f"t{i}" for i in range(12)]
    assert at[-1] - at[0] >= 11 * 0.05 * 0.95


def test_the_token_quota_spaces_requests_by_their_size() -> None:
    with Server(lambda _, body: Reply(moderation(body))) as server:
        # A request of 40 bytes is about 11 tokens: one in 0.11 seconds.
        detector(server, concurrency=3, batch_size=1, tokens_per_minute=6000).score(["x" * 40] * 6)
        at = [seen.at for seen in server.seen]
    assert at[-1] - at[0] >= 5 * 0.11 * 0.95


def test_the_time_that_a_service_asks_for_is_read_and_nonsense_is_not() -> None:
    later = format_datetime(datetime.now(UTC) + timedelta(seconds=30), usegmt=True)
    assert retry_after({"retry-after": later}) == pytest.approx(30.0, abs=2.0)
    assert retry_after({"retry-after": "Mon, 01 Jun 2026 11:00:00 GMT"}) == 0.0
    assert retry_after({"retry-after": "2", "retry-after-ms": "150"}) == 0.15
    assert [retry_after({"retry-after": text}) for text in ("later", "-3", "nan", "")] == [None] * 4
    assert retry_after({}) is None


def test_long_texts_are_scored_in_windows_and_the_maximum_counts() -> None:
    text = "word " * 300 + "harm=0.8 " + "word " * 300
    with Server(lambda _, body: Reply(moderation(body))) as server:
        one = detector(server, window_bytes=512, window_overlap=64)
        assert one.score([text, "harm=0.2"])["harm"].to_list() == pytest.approx([0.8, 0.2])
        assert max(len(piece.encode()) for piece in server.texts) <= 512


@given(st.text(max_size=400), st.integers(64, 120), st.integers(0, 31))
def test_windows_cover_every_character_within_the_limit(text: str, size: int, overlap: int) -> None:
    pieces = windows(text, size, overlap)
    clean = text.encode("utf-8", "replace").decode()
    assert all(len(piece.encode()) <= size for piece in pieces)
    end = 0
    for piece in pieces:
        start = next((i for i in range(end, -1, -1) if clean.startswith(piece, i) and i + len(piece) >= end), None)
        if start is None:  # a blank window between the two was left out
            start = clean.index(piece, end)
            assert not clean[end:start].strip()
        end = start + len(piece)
    assert not clean[end:].strip()


def test_what_was_scored_before_a_failure_is_kept_and_not_asked_again(tmp_path: Path) -> None:
    texts = [f"harm=0.{i} text {i}" for i in range(1, 9)] + ["harm=0.1 text 1"]
    broken = Reply({"error": {"message": "no"}}, 400)
    with Server(lambda number, body: Reply(moderation(body)) if number < 4 else broken) as server:
        one = detector(server, batch_size=1)
        cache = ScoreCache(tmp_path, one)
        with pytest.raises(DetectorError, match=r"3 of 8 new texts are kept in .*run again to continue") as caught:
            CachedDetector(one, cache).score(texts)
        assert str(cache.path) in str(caught.value)
        assert len(cache) == 3
        url, port = server.url, server._http.server_port
    with Server(lambda _, body: Reply(moderation(body))) as server:
        again = detector(server, batch_size=1)
        assert again.version == one.version.replace(str(port), server.url.rpartition(":")[2].removesuffix("/v1"))
        resumed = CachedDetector(again, cache)  # the cache of the first address, as if it were the same
        assert resumed.score(texts)["harm"].to_list() == pytest.approx([0.1 * i for i in range(1, 9)] + [0.1])
        assert server.texts == texts[3:8]
        resumed.score(texts)
        assert len(server.seen) == 5
        assert url != server.url


SCRIPT = """
import sys
from pathlib import Path
sys.path.insert(0, {tests!r})
from tests.hosted_server import CATEGORIES
from curation_pipeline.annotate.cached_detector import CachedDetector
from curation_pipeline.annotate.detectors.openai_moderation import ModerationSettings, OpenAIModeration
from curation_pipeline.annotate.score_cache import ScoreCache
own = dict(base_url={url!r}, batch_size=1, concurrency=1, categories=CATEGORIES, requests_per_minute=1e6)
one = OpenAIModeration(ModerationSettings.model_validate(own))
CachedDetector(one, ScoreCache(Path({folder!r}), one)).score(["text %d" % i for i in range(6)])
"""


@pytest.mark.slow
def test_a_killed_process_loses_no_score_that_had_arrived(tmp_path: Path) -> None:
    first = True

    def answer(number: int, body: Any) -> Reply:
        return Reply(moderation(body), delay=30.0 if first and number == 4 else 0.0)

    with Server(answer) as server:
        script = SCRIPT.format(tests=str(Path(__file__).parent), url=server.url, folder=str(tmp_path))
        environment = os.environ | {"OPENAI_API_KEY": KEY}
        process = subprocess.Popen([sys.executable, "-c", script], env=environment)
        while len(server.seen) < 4 and process.poll() is None:
            time.sleep(0.01)
        process.send_signal(signal.SIGKILL)
        process.wait()
        first = False
        subprocess.run([sys.executable, "-c", script], env=environment, check=True)
        assert server.texts == [f"text {i}" for i in (0, 1, 2, 3, 3, 4, 5)]


def test_the_key_appears_nowhere(caplog: pytest.LogCaptureFixture, tmp_path: Path) -> None:
    caplog.set_level(logging.DEBUG)
    echo = {"error": {"message": f"bad {KEY}", "code": KEY}}
    with Server(lambda *_: Reply(echo, 401)) as server:
        one = detector(server)
        with pytest.raises(DetectorError) as caught:
            CachedDetector(one, ScoreCache(tmp_path, one)).score(["x"])
    with Server(lambda *_: Reply(echo, 500)) as server, pytest.raises(DetectorError) as again:
        detector(server, max_attempts=2).score(["x"])
    written = [*map(str, (caught.value, again.value)), repr(one), one.version, repr(one.settings)]
    written += [record.getMessage() for record in caplog.records]
    written += ["".join(traceback.format_exception(error.value)) for error in (caught, again)]
    written += [one.settings.model_dump_json(), *(path.read_bytes().decode("latin-1") for path in tmp_path.iterdir())]
    assert caplog.records
    assert not any(KEY in text for text in written)
    # Nor where it was pasted by mistake.
    for wrong in (
        {"api_key_env": KEY},
        {"base_url": f"https://user:{KEY}@host/v1"},
        {"base_url": f"https://h/?k={KEY}"},
    ):
        with pytest.raises(ConfigError) as mistake:
            HostedSettings.model_validate({"openai_chat": wrong})
        assert KEY not in str(mistake.value)


def test_the_version_names_what_scores_depend_on_and_nothing_else() -> None:
    def version(**own: Any) -> str:
        return OpenAIChat(ChatSettings.model_validate(own), {}).version

    base = version()
    assert "openai_chat gpt-4o-mini-2024-07-18 api.openai.com" in base
    principles = (*ChatSettings().constitution, "It wastes the reader's time.")
    for change in ({"model": "m"}, {"base_url": "https://h/v1"}, {"constitution": principles}, {"window_bytes": 999}):
        assert version(**change) != base
    for same in ({"concurrency": 9}, {"requests_per_minute": 9}, {"max_attempts": 9}):
        assert version(**same) == base


def test_http_is_for_this_machine_only_and_a_missing_key_is_one_clear_message() -> None:
    for local in ("http://localhost:8000/v1", "http://127.0.0.1/v1", "http://[::1]:80"):
        HostedSettings.model_validate({"openai_chat": {"base_url": local}})
    for remote in ("http://localhost.example.org/v1", "http://10.0.0.1/v1", "ftp://h", "h/v1"):
        with pytest.raises(ConfigError, match=r"annotate\.hosted\.openai_chat\.base_url"):
            HostedSettings.model_validate({"openai_chat": {"base_url": remote}})
    with pytest.raises(ConfigError, match="set the environment variable MY_KEY"):
        OpenAIChat(ChatSettings(api_key_env="MY_KEY"), {}).score(["x"])
