"""Requests as browsers and attackers send them, to a guard around an application that records what reaches it."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route, WebSocketRoute
from starlette.testclient import TestClient
from starlette.websockets import WebSocket, WebSocketDisconnect

from curation_pipeline.errors import ConfigError
from resources.web_guard import WebGuard
from resources.web_server import TOKEN_VARIABLE, _listen, _token

OWN = "http://127.0.0.1:3000"
EVIL = "http://evil.example"
TOKEN = "a-token-of-enough-length"
JSON = {"content-type": "application/json"}
MUTATION = "/graphql?query=mutation%7Blaunch%7D"


class Application:
    """Answers everything and keeps what it was asked."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        everything = [Route("/{path:path}", self.http, methods=["GET", "POST", "PUT", "DELETE"])]
        self.asgi = Starlette(routes=[WebSocketRoute("/graphql", self.socket), *everything])

    async def http(self, request: Request) -> PlainTextResponse:
        self.asked.append(request.url.path)
        return PlainTextResponse("answered")

    async def socket(self, socket: WebSocket) -> None:
        self.asked.append("socket")
        await socket.accept()
        await socket.send_text("open")
        await socket.close()


@pytest.fixture
def inside() -> Application:
    return Application()


def client(inside: Application, host: str = "127.0.0.1", token: str | None = None, base: str = OWN) -> TestClient:
    return TestClient(WebGuard(inside.asgi, host, 3000, token), base_url=base, follow_redirects=False)


BROWSER = {"origin": OWN, "sec-fetch-site": "same-origin", "sec-fetch-mode": "cors", "sec-fetch-dest": "empty"}
LINK = {"sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate", "sec-fetch-dest": "document"}


@pytest.mark.parametrize(
    ("method", "path", "headers"),
    [
        ("POST", "/graphql", JSON | BROWSER),
        ("POST", "/graphql?operationName=X", {"content-type": "application/json; charset=utf-8"} | BROWSER),
        ("POST", "/graphql", JSON),  # a script of this machine's user
        ("POST", "/graphql", JSON | {"referer": f"{OWN}/runs"}),
        ("POST", "/report_asset_materialization/x", JSON),
        ("GET", "/", {"sec-fetch-site": "none", "sec-fetch-mode": "navigate", "sec-fetch-dest": "document"}),
        ("GET", "/assets/checkpoint?view=lineage&asset-selection=%22x%22", {"sec-fetch-site": "same-origin"}),
        ("GET", "/runs/7", LINK),
        ("GET", "/graphql", {"accept": "text/html"}),  # the query editor's page
        ("GET", "/", {"host": "localhost:3000"}),
        ("GET", "/", {"host": "[::1]:3000"}),
        ("POST", "/graphql", JSON | {"host": "LOCALHOST:3000", "origin": "http://localhost:3000"}),
    ],
)
def test_what_the_ui_and_scripts_send_passes(
    inside: Application, method: str, path: str, headers: dict[str, str]
) -> None:
    answer = client(inside).request(method, path, headers=headers)
    assert answer.status_code == 200, answer.text
    assert len(inside.asked) == 1
    assert answer.headers["x-frame-options"] == "SAMEORIGIN"
    assert "frame-ancestors 'self'" in answer.headers["content-security-policy"]
    assert answer.headers["cross-origin-resource-policy"] == "same-origin"
    assert "access-control-allow-origin" not in answer.headers


@pytest.mark.parametrize(
    ("method", "path", "headers"),
    [
        ("GET", MUTATION, {}),
        ("GET", MUTATION, LINK),
        ("HEAD", MUTATION, {}),
        ("GET", "/%67raphql?query=x", {}),
        ("GET", "/GraphQL/?query=x", {}),
        ("GET", "/a/..%2fgraphql?query=x", {}),
        ("GET", "/a/%2e%2e/graphql?query=x", {}),
        ("GET", "/logs/..%5c..%5cx/err", {}),
        ("GET", "/logs/%00/err", {}),
        ("GET", "/notebook?path=/home/x.ipynb", {}),
        ("GET", "/dagit/Notebook?path=/home/x.ipynb", {}),
        ("GET", "/", {"origin": EVIL}),
        ("GET", "/", {"sec-fetch-site": "cross-site", "sec-fetch-mode": "no-cors", "sec-fetch-dest": "script"}),
        ("GET", "/", LINK | {"sec-fetch-dest": "iframe"}),
        ("GET", "/", {"host": "evil.example"}),
        ("GET", "/", {"host": "evil.example:3000"}),
        ("GET", "/", {"host": "127.0.0.1.evil.example:3000"}),
        ("GET", "/", {"host": "127.0.0.1:3001"}),
        ("GET", "/", {"host": "127.0.0.1"}),
        ("GET", "/", {"host": "127.0.0.1:3000@evil.example"}),
        ("GET", "/", {"host": "x@127.0.0.1:3000"}),
        ("GET", "/", {"host": "127.0.0.1:3000/"}),
        ("GET", "/", {"host": "127.0.0.1:port"}),
        ("GET", "/", {"host": ""}),
        ("GET", "/", {"host": "localhost.:3000"}),
        ("POST", "/graphql", JSON | {"host": "evil.example:3000", "origin": "http://evil.example:3000"}),
        ("POST", "/graphql", JSON | {"x-forwarded-host": "127.0.0.1:3000", "host": "evil.example"}),
        ("POST", "/graphql", JSON | {"origin": EVIL}),
        ("POST", "/graphql", JSON | {"origin": "null"}),
        ("POST", "/graphql", JSON | {"origin": ""}),
        ("POST", "/graphql", JSON | {"origin": "http://127.0.0.1:3001"}),
        ("POST", "/graphql", JSON | {"origin": "https://127.0.0.1:3000"}),
        ("POST", "/graphql", JSON | {"origin": "http://localhost:3000"}),
        ("POST", "/graphql", JSON | {"origin": f"{OWN}.evil.example"}),
        ("POST", "/graphql", JSON | {"sec-fetch-site": "same-site"}),
        ("POST", "/graphql", JSON | LINK),
        ("POST", "/graphql", JSON | {"referer": f"{EVIL}/page"}),
        ("POST", "/graphql", JSON | {"referer": f"{OWN}.evil.example/"}),
        ("POST", MUTATION, BROWSER),
        ("POST", "/graphql", BROWSER | {"content-type": "application/x-www-form-urlencoded"}),
        ("POST", "/graphql", BROWSER | {"content-type": "multipart/form-data; boundary=x"}),
        ("POST", "/graphql", BROWSER | {"content-type": "text/plain"}),
        ("POST", "/graphql", BROWSER | {"content-type": "text/plain; application/json"}),
        ("POST", "/graphql", BROWSER | {"content-type": "application/graphql"}),
        ("POST", "/graphql", BROWSER | {"content-type": "application/json, text/plain"}),
        ("POST", "/report_asset_materialization/x", {"origin": EVIL}),
        ("POST", "/report_asset_check/x", {"content-type": "text/plain"}),
        ("PUT", "/graphql", JSON | BROWSER),
        ("OPTIONS", "/graphql", {"origin": EVIL, "access-control-request-method": "POST"}),
        ("DELETE", "/", {}),
    ],
)
def test_what_another_site_sends_is_refused(
    inside: Application, method: str, path: str, headers: dict[str, str]
) -> None:
    answer = client(inside).request(method, path, headers=headers)
    assert 400 <= answer.status_code < 500
    assert inside.asked == []
    assert answer.headers["x-frame-options"] == "SAMEORIGIN"
    assert "access-control-allow-origin" not in answer.headers
    if method != "HEAD":
        assert answer.text.startswith("Refused: ")


@pytest.mark.parametrize("name", ["host", "origin", "content-type", "cookie"])
def test_a_header_that_decides_comes_once(inside: Application, name: str) -> None:
    given = {"host": "127.0.0.1:3000", "origin": OWN, "content-type": "application/json", "cookie": "a=b"}
    pairs = [*given.items(), (name, "evil.example")]
    assert client(inside).post("/graphql", headers=pairs).status_code == 400
    assert inside.asked == []


@pytest.mark.parametrize(
    ("headers", "passes"),
    [
        ({"origin": OWN}, True),
        ({"origin": OWN, "sec-fetch-site": "same-origin", "sec-fetch-mode": "websocket"}, True),
        ({}, False),
        ({"origin": EVIL}, False),
        ({"origin": "null"}, False),
        ({"origin": OWN, "sec-fetch-site": "cross-site"}, False),
        ({"origin": OWN, "host": "evil.example:3000"}, False),
        ({"origin": "http://evil.example:3000", "host": "evil.example:3000"}, False),
    ],
)
def test_websockets_are_for_the_own_page(inside: Application, headers: dict[str, str], passes: bool) -> None:
    given = {"host": "127.0.0.1:3000", **headers}  # the test's client would send another one
    if passes:
        with client(inside).websocket_connect("/graphql", headers=given) as socket:
            assert socket.receive_text() == "open"
        return
    with pytest.raises(WebSocketDisconnect), client(inside).websocket_connect("/graphql", headers=given):
        pass
    assert inside.asked == []


def test_a_token_is_asked_of_everything(inside: Application) -> None:
    asked = client(inside, "0.0.0.0", TOKEN, "http://10.1.2.3:8080")
    for headers in (
        {},
        {"authorization": "Bearer wrong"},
        {"cookie": "curation_ui_3000=wrong"},
        {"authorization": TOKEN},
    ):
        assert asked.get("/", headers=headers).status_code == 401
        assert asked.post("/graphql?token=wrong", headers=JSON | headers).status_code == 401
    with (
        pytest.raises(WebSocketDisconnect),
        asked.websocket_connect("/graphql", headers={"host": "10.1.2.3:8080", "origin": "http://10.1.2.3:8080"}),
    ):
        pass
    assert inside.asked == []

    assert asked.get("/", headers={"authorization": f"bearer {TOKEN}"}).status_code == 200
    signed = asked.get(f"/anywhere?token={TOKEN}")
    assert (signed.status_code, signed.headers["location"]) == (303, "/")
    cookie = signed.headers["set-cookie"].lower()
    assert "httponly" in cookie
    assert "samesite=strict" in cookie
    assert asked.get("/", headers={"cookie": 'other={"a":1}; ' + cookie.partition(";")[0]}).status_code == 200
    assert asked.post("/graphql", headers=JSON).status_code == 200  # the client kept the cookie
    assert asked.post("/graphql", headers=JSON | {"origin": EVIL}).status_code == 403
    assert asked.get("/", headers={"host": "evil.example"}).status_code == 403


@pytest.fixture
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("CURATION_STATE", str(tmp_path))
    monkeypatch.delenv(TOKEN_VARIABLE, raising=False)
    return tmp_path


def test_only_a_server_that_others_reach_has_a_token_unless_one_is_given(
    state: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for address in ("127.0.0.1", "127.8.8.8", "::1"):
        assert _token(address) == (None, "")
    assert list(state.iterdir()) == []
    made, where = _token("0.0.0.0")
    assert made is not None
    assert len(made) >= 32
    assert made not in where  # what is printed may end up in a log
    assert stat.S_IMODE((state / "ui_token").stat().st_mode) == 0o600
    assert _token("192.168.1.2")[0] == _token("::")[0] == made
    (state / "ui_token").chmod(0o644)
    with pytest.raises(ConfigError, match="others may read"):
        _token("0.0.0.0")
    monkeypatch.setenv(TOKEN_VARIABLE, TOKEN)
    assert _token("127.0.0.1")[0] == TOKEN
    assert TOKEN_VARIABLE not in os.environ
    for weak in ("short", "long enough; but = odd characters"):
        monkeypatch.setenv(TOKEN_VARIABLE, weak)
        with pytest.raises(ConfigError, match="16 or more"):
            _token("127.0.0.1")


def test_an_address_that_cannot_be_had_is_one_clear_message() -> None:
    with _listen("127.0.0.1", 0) as taken:
        for host, port in (("127.0.0.1", taken.getsockname()[1]), ("no such host", 3000), ("8.8.8.8", 3000)):
            with pytest.raises(ConfigError, match="nothing can listen"):
                _listen(host, port)
