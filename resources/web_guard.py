"""The guard in front of the web server: only the UI's own pages may ask it to do something.

Dagster's server trusts whoever reaches it. A page of any other site reaches it through the user's browser: by a GET
with a mutation in its address, a form, a WebSocket, or a name that resolves to this machine (DNS rebinding). This layer
refuses all of them before Dagster sees a byte, and asks for a token where the server is open to other machines.
"""

from __future__ import annotations

import hmac
import ipaddress
import logging
import socket
from dataclasses import dataclass
from urllib.parse import parse_qs, urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import cookie_parser
from starlette.responses import PlainTextResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

logger = logging.getLogger(__name__)

LOCAL = ("localhost", "127.0.0.1", "::1")
_DECISIVE = ("host", "origin", "referer", "content-type", "cookie", "authorization")
_PROTECTION = {
    "x-frame-options": "SAMEORIGIN",
    "cross-origin-resource-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
    "x-content-type-options": "nosniff",
}


class RefusedError(Exception):
    """A request that goes no further."""

    def __init__(self, status: int, reason: str) -> None:
        """Keep what the client is told."""
        super().__init__(reason)
        self.status, self.reason = status, reason


@dataclass(frozen=True, slots=True)
class WebGuard:
    """An ASGI application around another.

    Attributes:
        app: what answers requests that pass.
        host: the address or name that the server is bound to.
        port: its port.
        token: what every request must carry; None where no token is asked for.
    """

    app: ASGIApp
    host: str
    port: int
    token: str | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, or answer it here."""
        if scope["type"] == "lifespan":
            await self.app(scope, receive, send)
            return

        async def protected(message: Message) -> None:
            if message["type"] == "http.response.start":
                answered = MutableHeaders(scope=message)
                answered.append("content-security-policy", "frame-ancestors 'self'")  # narrows the page's own one
                for name, value in _PROTECTION.items():
                    answered.setdefault(name, value)
            await send(message)

        headers = Headers(scope=scope)
        answer: Response | None = None
        try:
            for name in _DECISIVE:
                if len(headers.getlist(name)) > 1:
                    raise RefusedError(400, f"the header {name} comes twice")
            self._check_address(headers)
            answer = self._sign_in(scope, headers)
            if answer is None:
                self._check_origin(scope, headers)
                _check_method(scope, headers)
                _check_path(scope)
        except RefusedError as refused:
            logger.warning("refused %s %r: %s", scope.get("method", "WebSocket"), scope["path"], refused.reason)
            if scope["type"] == "websocket":
                await send({"type": "websocket.close", "code": 1008, "reason": "refused"})
                return
            answer = PlainTextResponse(f"Refused: {refused.reason}\n", refused.status)
        await (answer or self.app)(scope, receive, protected)

    def _check_address(self, headers: Headers) -> None:
        """DNS rebinding sends the attacker's own name as the host."""
        name, port = _host_and_port(headers.get("host", ""))
        if self.host in ("", "0.0.0.0", "::"):  # every address of this machine, and a container may map the port
            known = name in {*LOCAL, socket.gethostname().lower(), socket.getfqdn().lower()} or _is_address(name)
        else:
            known = name in {*LOCAL, self.host.lower()} and port == self.port
        if not known:
            raise RefusedError(
                403, f"this server does not answer under that name; open it as {self.host or 'localhost'}"
            )

    def _sign_in(self, scope: Scope, headers: Headers) -> Response | None:
        """Checks the token; the answer that makes a browser keep it where it is in the address."""
        if self.token is None:
            return None
        cookie = f"curation_ui_{self.port}"
        scheme, _, bearer = headers.get("authorization", "").partition(" ")
        if scheme.lower() == "bearer" and _same(bearer.strip(), self.token):
            return None
        if _same(cookie_parser(headers.get("cookie", "")).get(cookie, ""), self.token):
            return None
        asked = parse_qs(scope["query_string"].decode("latin-1")).get("token", [""])
        if scope.get("method") == "GET" and _same(asked[-1], self.token):
            answer = RedirectResponse("/", 303, {"cache-control": "no-store"})
            answer.set_cookie(cookie, self.token, httponly=True, samesite="strict")
            return answer
        raise RefusedError(401, "open this server once with ?token=TOKEN, or send Authorization: Bearer TOKEN")

    def _check_origin(self, scope: Scope, headers: Headers) -> None:
        """Whatever a browser sends on behalf of another page names it in one of these headers."""
        own = f"http://{headers['host'].lower()}"
        reads = scope.get("method") in ("GET", "HEAD")
        origin = headers.get("origin")
        if origin is not None and origin.lower() != own:
            raise RefusedError(403, f"the request comes from {origin!r}, not from {own}")
        if origin is None and scope["type"] == "websocket":
            raise RefusedError(403, "a WebSocket needs the header Origin")
        site = headers.get("sec-fetch-site", "none").lower()
        # A link or a bookmark may lead here: a whole page, in no frame, which reads and does nothing.
        link = reads and headers.get("sec-fetch-mode") == "navigate" and headers.get("sec-fetch-dest") == "document"
        if site not in ("same-origin", "none") and not link:
            raise RefusedError(403, f"the request comes from another site (Sec-Fetch-Site: {site!r})")
        referer = headers.get("referer")
        if origin is None and not reads and referer and not referer.lower().startswith(f"{own}/"):
            raise RefusedError(403, f"the request comes from {referer!r}, not from {own}")


def _check_method(scope: Scope, headers: Headers) -> None:
    """A body must be JSON: a browser asks before it sends that to another site, and does not ask before other types."""
    if scope["type"] == "websocket":
        return
    method = scope["method"]
    if method not in ("GET", "HEAD", "POST"):
        raise RefusedError(405, f"the method {method} is not served")
    kind = headers.get("content-type", "").partition(";")[0].strip().lower()
    if method == "POST" and kind != "application/json":
        raise RefusedError(415, f"a POST must have the content type application/json, not {kind!r}")


def _check_path(scope: Scope) -> None:
    path = scope["path"]
    parts = [part.casefold() for part in path.split("/") if part]
    if ".." in parts or "\\" in path or "\0" in path:
        raise RefusedError(400, "the path leads elsewhere")
    if scope.get("method") in ("GET", "HEAD") and parts[:1] == ["graphql"] and scope["query_string"]:
        raise RefusedError(405, "GraphQL is served by POST only")
    if parts[:1] == ["notebook"] or parts[:2] == ["dagit", "notebook"]:
        # It shows any notebook file of this machine as a page of this origin, scripts included.
        raise RefusedError(403, "notebooks are not served")


def _host_and_port(host: str) -> tuple[str, int]:
    try:
        parts = urlsplit(f"//{host}")
        name, port = parts.hostname, parts.port
    except ValueError:
        name = port = None
    if not name or parts.username is not None or parts.path or parts.query or parts.fragment:
        raise RefusedError(400, "the header Host names no host")
    return name.lower(), 80 if port is None else port


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def _same(given: str, token: str) -> bool:
    return hmac.compare_digest(given.encode("latin-1", "replace"), token.encode())
