"""A real HTTP server on this machine that plays a hosted service, well behaved or not."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self

KEY = "sk-Test-0123456789-secret"


@dataclass
class Reply:
    """What the server does: a status and a body, late, cut off, or nothing at all."""

    body: Any = None
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    delay: float = 0.0
    cut: bool = False  # promises the whole body and hangs up in the middle of it
    raw: bytes | None = None
    trickle: bool = False  # a byte now and then, so that no single read times out


@dataclass
class Seen:
    at: float
    path: str
    headers: dict[str, str]
    body: Any


class Server:
    """Answers with ``answer(number, body)``, the number counting requests from 1."""

    def __init__(self, answer: Callable[[int, Any], Reply]) -> None:
        self.seen: list[Seen] = []
        self.most_at_once = self._now = 0
        lock = threading.Lock()

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, format: str, *args: Any) -> None:
                pass

            def do_POST(handler: Self) -> None:
                body = json.loads(handler.rfile.read(int(handler.headers["Content-Length"])))
                with lock:
                    headers = {name.lower(): value for name, value in handler.headers.items()}
                    self.seen.append(Seen(time.monotonic(), handler.path, headers, body))
                    number = len(self.seen)
                    self._now += 1
                    self.most_at_once = max(self.most_at_once, self._now)
                try:
                    handler.reply(answer(number, body))
                except OSError:
                    pass  # the client has given up on a slow answer
                finally:
                    with lock:
                        self._now -= 1

            def reply(handler: Self, reply: Reply) -> None:
                time.sleep(reply.delay)
                raw = json.dumps(reply.body).encode() if reply.raw is None else reply.raw
                handler.send_response(reply.status)
                for name, value in {"x-request-id": f"req-{len(self.seen)}", **reply.headers}.items():
                    handler.send_header(name, value)
                handler.send_header("Content-Length", str(len(raw)))
                handler.end_headers()
                if reply.cut:
                    handler.wfile.write(raw[: len(raw) // 2])
                    handler.close_connection = True
                elif reply.trickle:
                    for byte in raw:
                        handler.wfile.write(bytes([byte]))
                        handler.wfile.flush()
                        time.sleep(0.05)
                else:
                    handler.wfile.write(raw)

        self._http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._http.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._http.server_port}/v1"

    def __enter__(self) -> Self:
        threading.Thread(target=self._http.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._http.shutdown()
        self._http.server_close()

    @property
    def texts(self) -> list[str]:
        """All texts that were asked about, in order of arrival."""
        return [text for seen in self.seen for text in seen.body.get("input", [])]


CATEGORIES = ("hate", "self-harm/intent", "violence")


def harm_of(text: str) -> float:
    """The score that the played service gives: what the text says of itself, as in ``harm=0.7``."""
    return max([float(word.removeprefix("harm=")) for word in text.split() if word.startswith("harm=")], default=0.0)


def moderation(body: Any) -> Any:
    results = [
        {
            "flagged": harm_of(text) > 0.5,
            "categories": {name: False for name in CATEGORIES},
            "category_scores": {
                "hate": harm_of(text),
                "self-harm/intent": 0.01,
                "violence": harm_of(text) / 2,
                "new": 1.0,
            },
        }
        for text in body["input"]
    ]
    return {"id": "modr-1", "model": body["model"], "results": results}


def verdict(body: Any, finish: str = "stop", **changes: Any) -> Any:
    user = body["messages"][1]["content"]
    mark = user[2:14]
    answer = {"check": mark, "harm": harm_of(user), "principle": 2, "rationale": "It says so."} | changes
    return chat(json.dumps(answer), finish)


def chat(content: str, finish: str = "stop") -> Any:
    message = {"role": "assistant", "content": content, "refusal": None}
    return {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "choices": [{"index": 0, "message": message, "finish_reason": finish}],
        "usage": {"prompt_tokens": 90, "completion_tokens": 10, "total_tokens": 100},
    }
