"""The web UI behind a guard, with its daemon and its code server: what `curate ui` starts.

`dagster dev` starts the same three parts, with a web server that trusts whoever reaches it. Where code server and
daemon run elsewhere (containers, a cluster), only the guarded web server is started here.
"""

from __future__ import annotations

import argparse
import ipaddress
import os
import re
import secrets
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from pathlib import Path

import dagster as dg
import uvicorn
import yaml
from dagster._cli.proxy_server_manager import ProxyServerManager
from dagster._core.workspace.context import WorkspaceProcessContext
from dagster._core.workspace.load_target import WorkspaceFileTarget
from dagster_webserver.app import create_app_from_workspace_process_context
from starlette.routing import Route

from curation_pipeline.config import state_folder
from curation_pipeline.errors import ConfigError, CurationError
from resources.metrics import StepMetrics
from resources.web_guard import WebGuard

TOKEN_VARIABLE = "CURATION_UI_TOKEN"
TOKEN_FILE = "ui_token"
_TOKEN = re.compile(r"[\w-]{16,}", re.ASCII)
_END_SECONDS = 20


def serve(host: str, port: int, workspace: Path, *, alone: bool = False) -> None:
    """Serve until a signal comes or the daemon ends.

    Args:
        host: address or name to listen on.
        port: its port.
        workspace: file that names the code location: a module, for which a code server is started, or a code server.
        alone: start no daemon: one runs elsewhere.

    Raises:
        ConfigError: nothing can listen there, or the token is not fit.
    """
    with ExitStack() as stack:
        listener = stack.enter_context(_listen(host, port))
        token, where = _token(listener.getsockname()[0])
        instance = stack.enter_context(dg.DagsterInstance.get())
        instance.optimize_for_webserver(statement_timeout=15_000, pool_recycle=3_600, max_overflow=20)
        # Whoever may write to a code server's socket can start runs: nobody but this user, whatever the umask was.
        os.umask(os.umask(0o022) | 0o022)
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="curate-ui-")))
        code = stack.enter_context(ProxyServerManager(instance, WorkspaceFileTarget([str(workspace)]), "WARNING"))
        served = folder / "workspace.yaml"
        served.write_text(yaml.safe_dump({"load_from": code.get_code_server_specs()}), encoding="utf-8")
        target = WorkspaceFileTarget([str(served)])
        context = stack.enter_context(
            WorkspaceProcessContext(instance, version=dg.__version__, read_only=False, workspace_load_target=target)
        )
        app = create_app_from_workspace_process_context(context, live_data_poll_rate=2_000)
        app.router.routes.insert(0, Route("/metrics", StepMetrics(instance).answer))  # Dagster's last route takes all
        server = uvicorn.Server(
            uvicorn.Config(
                WebGuard(app, host, port, token),
                log_level="warning",
                proxy_headers=False,
                server_header=False,
                timeout_graceful_shutdown=3,
            )
        )
        daemon = (
            None if alone else subprocess.Popen([sys.executable, "-m", "dagster._daemon", "run", "-w", str(served)])
        )
        if daemon is not None:
            stack.callback(_end, daemon)
            threading.Thread(target=_stop_with, args=(daemon, server), daemon=True).start()
        shown = f"[{host}]" if ":" in host else host
        print(f"Dagster UI on http://{shown}:{port}/{where} for {state_folder()} (end with Ctrl-C)", flush=True)
        server.run(sockets=[listener])
        if daemon is not None and daemon.poll() is not None:
            raise CurationError(f"the daemon ended with code {daemon.returncode}; its messages are above")


def _listen(host: str, port: int) -> socket.socket:
    try:
        found = socket.getaddrinfo(host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        family, *_, address = min(found, key=lambda entry: entry[0] != socket.AF_INET)  # localhost is 127.0.0.1 first
        return socket.create_server(address[:2], family=family)
    except OSError as error:
        raise ConfigError(f"nothing can listen on {host!r}, port {port} ({error}); give --host and --port") from error


def _token(address: str) -> tuple[str | None, str]:
    """The token to ask for, and what to put behind the server's address to give it.

    It is taken out of the environment, so that no process that is started here sees it.

    Raises:
        ConfigError: the variable holds too short a token, or others may read the file.
    """
    given = os.environ.pop(TOKEN_VARIABLE, "")
    if given:
        where = f"?token=${TOKEN_VARIABLE}"
    elif ipaddress.ip_address(address.partition("%")[0]).is_loopback:
        return None, ""
    else:
        path = state_folder() / TOKEN_FILE
        with suppress(FileExistsError), open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            file.write(secrets.token_urlsafe(32))
        if path.stat().st_mode & 0o077:
            raise ConfigError(f"others may read {path}: delete it, and a new token is made")
        given, where = path.read_text(encoding="utf-8").strip(), f"?token=$(cat {path})"
    if not _TOKEN.fullmatch(given):
        raise ConfigError(
            f"{TOKEN_VARIABLE} or the file {TOKEN_FILE}: a token has 16 or more letters, digits, - and _; "
            "`openssl rand -hex 32` makes one"
        )
    return given, where


def _stop_with(daemon: subprocess.Popen[bytes], server: uvicorn.Server) -> None:
    daemon.wait()
    server.should_exit = True


def _end(process: subprocess.Popen[bytes]) -> None:
    process.send_signal(signal.SIGINT)
    try:
        process.wait(_END_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()


def main(arguments: Sequence[str] | None = None) -> int:
    """Read the arguments and serve."""
    parser = argparse.ArgumentParser(prog="resources.web_server", description=__doc__)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=3000)
    parser.add_argument("--workspace", type=Path, required=True)
    parser.add_argument("--alone", action="store_true")
    options = parser.parse_args(arguments)
    # An exception unwinds the stack and so ends the processes that are started here; a signal's default does not.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    try:
        serve(options.host, options.port, options.workspace, alone=options.alone)
    except KeyboardInterrupt:
        return 130
    except CurationError as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
