"""What Kubernetes and the charts are given, read by Kubernetes' own models and by Dagster's own configuration schemas.

Neither chart is on a package index, and so neither are the schemas of their values: `helm lint` and `helm template`
with the charts at hand check the names that only the charts know.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from curation_pipeline.installation import PROJECT_ROOT

pytest.importorskip("dagster_k8s", reason="dagster-k8s is not installed: pip install -e .[test]")

import kubernetes.client as k8s
from dagster._config import process_config
from dagster._core.instance.config import dagster_instance_config_schema
from dagster._core.launcher import RunLauncher
from dagster._serdes import ConfigurableClassData
from dagster_k8s.models import k8s_model_from_dict, k8s_snake_case_dict

FOLDER = PROJECT_ROOT / "deploy" / "kubernetes"
DAGSTER: dict[str, Any] = yaml.safe_load((FOLDER / "dagster.values.yaml").read_text())
RAY: dict[str, Any] = yaml.safe_load((FOLDER / "raycluster.values.yaml").read_text())
SECRET = re.compile(r"password|token|secret(?!s?name)|access_?key", re.IGNORECASE)


def check(model: type[Any], given: dict[str, Any]) -> Any:
    """Read an object strictly: an unknown field, or a value of another kind, is an error."""
    return k8s_model_from_dict(model, k8s_snake_case_dict(model, given))


def pod(name: str, part: dict[str, Any], **extra: Any) -> dict[str, Any]:
    """The pod that a chart makes of the common part of its values."""
    sources = part.get("envFrom") or [{"secretRef": secret} for secret in part.get("envSecrets", ())]
    container = {
        "name": name,
        "env": [*part.get("env", ()), *extra.get("env", ())],
        "envFrom": sources,
        "resources": part["resources"],
        "securityContext": part["securityContext"],
        "volumeMounts": part["volumeMounts"],
    }
    return {
        "containers": [container],
        "volumes": part["volumes"],
        "securityContext": part.get("podSecurityContext", {}),
    }


def pods() -> Iterator[tuple[str, dict[str, Any]]]:
    yield "code server", pod("code", DAGSTER["dagster-user-deployments"]["deployments"][0])
    yield "daemon", pod("daemon", DAGSTER["dagsterDaemon"])
    common = RAY["common"]["containerEnv"]
    yield "Ray's head", pod("ray-head", RAY["head"], env=common)
    for name, group in {"cpu": RAY["worker"], **RAY["additionalWorkerGroups"]}.items():
        yield f"Ray's workers {name}", pod("ray-worker", group, env=common)
    for document in yaml.safe_load_all((FOLDER / "webserver.yaml").read_text()):
        if document["kind"] == "Deployment":
            yield "web server", document["spec"]["template"]["spec"]


@pytest.mark.parametrize(("name", "spec"), [pytest.param(*each, id=each[0]) for each in pods()])
def test_a_pod_is_one_of_kubernetes_s_and_not_root(name: str, spec: dict[str, Any]) -> None:
    read = check(k8s.V1PodSpec, spec)
    volumes = {volume.name for volume in read.volumes}
    for container in read.containers:
        assert {mount.name for mount in container.volume_mounts} <= volumes
        contexts = [context for context in (read.security_context, container.security_context) if context]
        assert any(context.run_as_non_root and context.run_as_user == 10001 for context in contexts)
        assert container.security_context.allow_privilege_escalation is False
        assert {"cpu", "memory"} <= container.resources.requests.keys()
        assert "memory" in container.resources.limits


def test_the_web_server_s_objects_fit_together() -> None:
    deployment, service = yaml.safe_load_all((FOLDER / "webserver.yaml").read_text())
    assert check(k8s.V1Deployment, deployment).kind == "Deployment"
    assert check(k8s.V1Service, service).kind == "Service"
    assert service["spec"]["selector"].items() <= deployment["spec"]["template"]["metadata"]["labels"].items()


def test_dagster_takes_the_run_launcher_and_the_instance() -> None:
    custom = DAGSTER["runLauncher"]["config"]["customRunLauncher"]
    launcher = ConfigurableClassData(custom["module"], custom["class"], yaml.safe_dump(custom["config"])).rehydrate(
        as_type=RunLauncher
    )
    assert launcher.address == "http://curation-kuberay-head-svc:8265"  # type: ignore[attr-defined]
    instance = process_config(dagster_instance_config_schema(), DAGSTER["additionalInstanceConfig"])
    assert instance.success, instance.errors


def test_one_image_serves_all_and_its_ray_is_the_cluster_s() -> None:
    deployment = DAGSTER["dagster-user-deployments"]["deployments"][0]
    assert deployment["image"] == DAGSTER["dagsterDaemon"]["image"] == RAY["image"]
    text = (FOLDER / "webserver.yaml").read_text()
    assert f"image: {RAY['image']['repository']}:{RAY['image']['tag']}\n" in text
    assert f"ray=={RAY['head']['rayVersion']}" in (PROJECT_ROOT / "constraints.txt").read_text().splitlines()


def literals(value: Any, name: str = "") -> Iterator[tuple[str, str]]:
    """Each text with the name that it has, also as an environment variable."""
    match value:
        case {"name": str(variable), "value": str(text)}:
            yield variable, text
        case dict():
            for key, inner in value.items():
                yield from literals(inner, key)
        case list():
            for inner in value:
                yield from literals(inner, name)
        case str():
            yield name, value


@pytest.mark.parametrize("path", sorted((PROJECT_ROOT / "deploy").rglob("*.yaml")), ids=lambda path: path.name)
def test_no_secret_is_written_down(path: Path) -> None:
    for document in yaml.safe_load_all(path.read_text()):
        for name, text in literals(document):
            named = SECRET.search(name) and not name.endswith(("Name", "Secret")) and name != "key"
            assert not named or text.startswith(("${", "postgresql+psycopg2://curation:${")), f"{path.name}: {name}"
