"""What reaches the real web server from elsewhere, and what a page of its own may do."""

from __future__ import annotations

import contextlib
import http.client
import http.server
import json
import threading
import urllib.parse
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect
from websockets.typing import Origin, Subprotocol

from tests.e2e.conftest import Server

if TYPE_CHECKING:
    from playwright.sync_api import Browser

pytestmark = [pytest.mark.slow, pytest.mark.network, pytest.mark.timeout(900)]
EVIL = "http://evil.example"
SELECTOR = {"repositoryLocationName": "curation", "repositoryName": "__repository__"}
ADD = (
    'mutation { addDynamicPartition(partitionsDefName: "corpus", partitionKey: "%s", repositorySelector: '
    '{repositoryLocationName: "curation", repositoryName: "__repository__"}) { __typename } }'
)
LAUNCH = (
    "mutation($p: ExecutionParams!) { launchPipelineExecution(executionParams: $p) { __typename "
    "... on RunConfigValidationInvalid { errors { message } } ... on PythonError { message } } }"
)


@dataclass(frozen=True)
class Target:
    """The server with the runs that it had before, and a program that leaves a mark where it is run."""

    url: str
    program: Path
    mark: Path
    known: list[str]

    @property
    def address(self) -> str:
        return self.url.removeprefix("http://")

    def send(self, method: str, path: str, body: str | None = None, **headers: str) -> tuple[int, str]:
        """One request as it stands, whatever a well-behaved client would think of it."""
        connection = http.client.HTTPConnection(self.address, timeout=600)
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        with contextlib.closing(connection):
            connection.request(method, path, body, named)
            answer = connection.getresponse()
            return answer.status, answer.read().decode(errors="replace")

    def ask(self, query: str, variables: dict[str, Any] | None = None, **headers: str) -> dict[str, Any]:
        """As the UI's own page asks."""
        body = json.dumps({"query": query, "variables": variables or {}})
        own = {"Content_Type": "application/json", "Origin": self.url, "Sec_Fetch_Site": "same-origin"}
        status, text = self.send("POST", "/graphql", body, **{**own, **headers})
        assert status == 200, text
        return dict(json.loads(text)["data"])

    def launch(self, job: str, config: dict[str, Any]) -> dict[str, Any]:
        return {"p": {"selector": {**SELECTOR, "pipelineName": job}, "mode": "default", "runConfigData": config}}

    def runs(self) -> list[str]:
        said = self.ask("{ runsOrError { ... on Runs { results { runId } } } }")
        return [run["runId"] for run in said["runsOrError"]["results"]]

    def nothing_ran(self) -> bool:
        return self.runs() == self.known and not self.mark.exists()

    def partitions(self) -> list[str]:
        said = self.ask(
            "query($r: RepositorySelector!, $j: String!) { partitionSetsOrError(repositorySelector: $r, "
            "pipelineName: $j) { ... on PartitionSets { results { partitionsOrError { ... on Partitions "
            "{ results { name } } } } } } }",
            {"r": SELECTOR, "j": "corpus_partition"},
        )
        return [row["name"] for row in said["partitionSetsOrError"]["results"][0]["partitionsOrError"]["results"]]


@pytest.fixture(scope="module")
def target(server: Server, tmp_path_factory: pytest.TempPathFactory) -> Target:
    folder = tmp_path_factory.mktemp("attacked")
    mark, program = folder / "it ran", folder / "program"
    program.write_text(f"#!/bin/sh\ntouch '{mark}'\n")
    program.chmod(0o755)
    target = Target(server.url, program, mark, [])
    target.known.extend(target.runs())
    return target


def evil(target: Target) -> tuple[str, dict[str, Any]]:
    """A launch that would have had dbt be the program."""
    return LAUNCH, target.launch("serving", {"resources": {"dbt": {"config": {"dbt_executable": str(target.program)}}}})


def test_one_cross_site_request_runs_nothing(target: Target) -> None:
    query, variables = evil(target)
    address = urllib.parse.urlencode({"query": query, "variables": json.dumps(variables)})
    body = json.dumps({"query": query, "variables": variables})
    js, form = "application/json", "application/x-www-form-urlencoded"
    attacks: list[tuple[str, str, str | None, dict[str, str]]] = [
        ("GET", f"/graphql?{address}", None, {}),
        ("GET", f"/graphql?{address}", None, {"Origin": EVIL, "Host": "evil.example"}),
        ("GET", f"//graphql?{address}", None, {}),
        ("GET", f"/%67raphql?{address}", None, {}),
        ("GET", f"/x/../graphql?{address}", None, {}),
        ("GET", f"{target.url}/graphql?{address}", None, {}),
        ("GET", f"http://evil.example/graphql?{address}", None, {}),
        ("POST", f"/graphql?{address}", None, {}),
        ("POST", "/graphql", address, {"Content_Type": form}),
        ("POST", f"/graphql?{address}", "", {"Content_Type": form, "Origin": EVIL}),
        ("POST", "/graphql", body, {"Content_Type": "text/plain", "Origin": EVIL}),
        ("POST", "/graphql", body, {"Content_Type": "text/plain; application/json"}),
        ("POST", "/graphql", query, {"Content_Type": "application/graphql"}),
        ("POST", "/graphql", body, {"Content_Type": js, "Origin": EVIL}),
        ("POST", "/graphql", body, {"Content_Type": js, "Origin": "null"}),
        ("POST", "/graphql", body, {"Content_Type": js, "Host": "evil.example"}),
        ("POST", "/graphql", body, {"Content_Type": js, "Sec_Fetch_Site": "cross-site"}),
        ("POST", "/report_asset_materialization/checkpoint", None, {"Origin": EVIL}),
        ("POST", "/report_asset_check/checkpoint", "{}", {"Content_Type": "text/plain"}),
    ]
    for method, path, sent, headers in attacks:
        status, text = target.send(method, path, sent, **headers)
        assert 400 <= status < 500, (method, path, headers, text)
    for given in (None, EVIL, "null"):
        with pytest.raises(InvalidStatus):
            connect(
                f"ws://{target.address}/graphql", origin=None if given is None else Origin(given),
                subprotocols=[Subprotocol("graphql-ws")],
            )  # fmt: skip
    assert target.nothing_ran()


def test_even_the_own_page_cannot_name_a_program_or_a_file(target: Target) -> None:
    query, variables = evil(target)
    configs = [
        variables["p"]["runConfigData"],
        {"resources": {"project": {"config": {"profile": str(target.program), "state": "/tmp"}}}},
        {"resources": {"io_manager": {"config": {"base_dir": "/tmp"}}}},
        {"execution": {"config": {"marker_to_close": "/tmp/x"}}},
    ]
    for config in configs:
        said = target.ask(query, target.launch("serving", config))["launchPipelineExecution"]
        assert said["__typename"] == "RunConfigValidationInvalid", said
        assert "unexpected config entr" in said["errors"][0]["message"]
    assert target.nothing_ran()


def test_a_page_of_its_own_reads_changes_and_listens(target: Target) -> None:
    status, page = target.send("GET", "/", Sec_Fetch_Site="none", Sec_Fetch_Mode="navigate", Sec_Fetch_Dest="document")
    assert status == 200
    script = page.partition('src="/_next/')[2].partition('"')[0]
    assert target.send("GET", f"/_next/{script}", Referer=f"{target.url}/", Sec_Fetch_Site="same-origin")[0] == 200
    said = target.ask(ADD % "own|1")
    assert said["addDynamicPartition"]["__typename"] == "AddDynamicPartitionSuccess"
    assert "own|1" in target.partitions()
    # A script of the user's has neither Origin nor Sec-Fetch-Site.
    status, text = target.send("POST", "/graphql", '{"query": "{ version }"}', Content_Type="application/json")
    assert (status, "version" in text) == (200, True)
    with connect(
        f"ws://{target.address}/graphql", origin=Origin(target.url), subprotocols=[Subprotocol("graphql-ws")]
    ) as socket:
        socket.send('{"type": "connection_init"}')
        assert json.loads(socket.recv(60))["type"] == "connection_ack"


PAGE = """<form id=f method=post enctype=text/plain target=t action="{url}/graphql">
<input name='{{"query":"{query}","x":"' value='"}}'></form><iframe name=t></iframe>
<img src="{url}/graphql?query={quoted}"><iframe src="{url}/"></iframe><script>
const body = JSON.stringify({{query: {js}}}), url = "{url}/graphql", done = [];
const send = (how) => fetch(url, how).then(a => done.push("answer " + a.type), e => done.push("refused"));
document.getElementById("f").submit();
const socket = new WebSocket(url.replace("http", "ws"), "graphql-ws");
const closed = new Promise(r => {{ socket.onopen = () => r("open"); socket.onclose = () => r("closed"); }});
Promise.all([closed.then(how => done.push("socket " + how)), send({{method: "POST", body, mode: "no-cors"}}),
  send({{method: "POST", body, headers: {{"Content-Type": "application/json"}}}}),
  send({{method: "POST", body, mode: "no-cors", credentials: "include", headers: {{"Content-Type": "text/plain"}}}})
]).then(() => {{ document.title = done.sort().join(", "); }});
</script>"""


@pytest.mark.browser
def test_a_browser_shows_the_ui_and_keeps_another_page_out(target: Target, browser: Browser) -> None:
    attack = ADD % "evil|1"
    text = PAGE.format(
        url=target.url, query=attack.replace('"', "&quot;"), quoted=urllib.parse.quote(attack), js=json.dumps(attack)
    )

    class Attacker(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "text/html")
            self.end_headers()
            self.wfile.write(text.encode())

        def log_message(self, *_: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Attacker) as elsewhere:
        threading.Thread(target=elsewhere.serve_forever, daemon=True).start()
        page = browser.new_page()
        page.goto(f"http://localhost:{elsewhere.server_port}/")
        page.wait_for_function("document.title.length > 0", timeout=600_000)
        assert page.title() == "refused, refused, refused, socket closed"
        page.close()
        elsewhere.shutdown()
    assert "evil|1" not in target.partitions()
    assert target.nothing_ran()

    page = browser.new_page()
    errors: list[str] = []
    page.on("response", lambda answer: errors.append(f"{answer.status} {answer.url}") if answer.status >= 400 else None)
    page.goto(f"{target.url}/locations/curation/jobs/iteration", timeout=600_000)
    page.get_by_text("iteration").first.wait_for(timeout=600_000)
    page.goto(f"{target.url}/assets/checkpoint", timeout=600_000)
    page.get_by_text("checkpoint").first.wait_for(timeout=600_000)
    page.close()
    assert errors == []
