"""The manifests of Kubernetes: valid under the official schemas, consistent, and with commands that exist."""

import re
from collections.abc import Iterator
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import kubernetes_validate
import yaml
from django.conf import settings
from django.core.management import get_commands

FOLDER = settings.BASE_DIR / "deploy" / "kubernetes"
FILES = sorted(path.name for path in FOLDER.glob("*.yaml") if path.name != "kustomization.yaml")
VERSION = "1.34"


def objects() -> Iterator[dict[str, Any]]:
    for name in FILES:
        yield from yaml.safe_load_all((FOLDER / name).read_text())


def named(kind: str) -> dict[str, dict[str, Any]]:
    """The manifests of a kind by name."""
    return {item["metadata"]["name"]: item for item in objects() if item["kind"] == kind}


def pods() -> list[tuple[dict[str, Any], dict[str, Any]]]:
    """Manifests with pods, and the specification of the pod."""
    return [(item, item["spec"]["template"]["spec"]) for item in objects() if "template" in item.get("spec", {})]


def test_manifests_are_valid_and_applied() -> None:
    for item in objects():
        kubernetes_validate.validate(item, VERSION, strict=True)
    assert sorted(yaml.safe_load((FOLDER / "kustomization.yaml").read_text())["resources"]) == FILES


def test_every_process_of_the_documentation_has_a_pod() -> None:
    commands = [" ".join(pod["containers"][0]["args"]) for _, pod in pods()]
    wanted = (
        "slmstudio.server", "serving.gateway", "rqworker default webhooks", "rqworker imports", "rqworker gpu",
        "slm-studio serve", "slm-studio periodic", "slm-studio migrate",
    )  # fmt: skip
    assert all(sum(name in command for command in commands) == 1 for name in wanted), commands
    known = get_commands()
    for command in commands:
        if match := re.search(r"slm-studio (\w+)", command):
            assert match[1] in known
        elif match := re.search(r"-m ([\w.]+)", command):
            module = Path(settings.BASE_DIR, *match[1].split("."))
            assert (module / "__main__.py").exists()


def test_images_are_targets_of_the_dockerfile() -> None:
    dockerfile = (settings.BASE_DIR / "deploy" / "Dockerfile").read_text()
    targets = {f"slmstudio-{name}" for name in re.findall(r"^FROM \S+ AS (\S+)$", dockerfile, re.MULTILINE)}
    images = {pod["containers"][0]["image"].removesuffix(":latest") for _, pod in pods()}
    assert images <= targets
    assert images == {image["name"] for image in yaml.safe_load((FOLDER / "kustomization.yaml").read_text())["images"]}


def test_secrets_are_references_and_pods_are_restricted() -> None:
    for item, pod in pods():
        name = item["metadata"]["name"]
        assert pod["securityContext"]["runAsNonRoot"], name
        assert pod["automountServiceAccountToken"] is False, name
        for container in pod["containers"]:
            assert container["securityContext"]["allowPrivilegeEscalation"] is False, name
            assert container["securityContext"]["readOnlyRootFilesystem"], name
            assert container["resources"]["requests"]["memory"], name
            assert container["resources"]["limits"]["memory"], name
    assert "Secret" not in {item["kind"] for item in objects()}
    config = named("ConfigMap")["slmstudio"]["data"]
    assert not {"SECRET_KEY", "DATABASE_URL", "REDIS_URL", "DATABASE_OWNER_URL"} & set(config)


def test_each_pod_gets_the_secrets_that_it_needs() -> None:
    signs, endpoints = "slmstudio-signing", "slmstudio-endpoints"
    more = {
        "web": [signs, endpoints], "gateway": [signs, endpoints], "worker": [signs, endpoints], "serve": [signs],
        "gpu": [endpoints], "imports": [], "periodic": [signs, "slmstudio-mail"], "migrate": [signs, "slmstudio-owner"],
    }  # fmt: skip
    given = {}
    for item, pod in pods():
        sources = pod["containers"][0]["envFrom"]
        assert [source["configMapRef"]["name"] for source in sources if "configMapRef" in source] == ["slmstudio"]
        given[item["metadata"]["name"]] = [source["secretRef"]["name"] for source in sources if "secretRef" in source]
    assert given == {name: ["slmstudio", *names] for name, names in more.items()}


def test_only_few_addresses_are_trusted_as_proxies() -> None:
    config = named("ConfigMap")["slmstudio"]["data"]
    networks = [ip_network(address) for address in config["TRUSTED_PROXIES"].split(",")]
    assert sum(network.num_addresses for network in networks) <= 16


def test_network_policies_admit_the_ingress_and_the_gateway_only() -> None:
    studio = {"app.kubernetes.io/name": "slmstudio"}
    policies = {name: policy["spec"] for name, policy in named("NetworkPolicy").items()}
    everything = policies.pop("slmstudio")
    assert everything == {"podSelector": {"matchLabels": studio}, "policyTypes": ["Ingress"]}
    labels = {item["metadata"]["name"]: item["spec"]["template"]["metadata"]["labels"] for item, _ in pods()}
    assert set(policies) == {"web", "gateway", "serve"}
    for name, policy in policies.items():
        assert policy["podSelector"]["matchLabels"] == labels[name]
        assert all(peer for rule in policy["ingress"] for peer in rule["from"])
    [rule] = policies["serve"]["ingress"]
    assert rule["from"] == [{"podSelector": {"matchLabels": labels["gateway"]}}]


def test_services_select_pods_and_their_ports() -> None:
    made = {item["metadata"]["name"]: (item["spec"]["template"]["metadata"]["labels"], pod) for item, pod in pods()}
    assert set(named("Service")) == {"web", "gateway"}
    for name, service in named("Service").items():
        labels, pod = made[name]
        assert service["spec"]["selector"] == labels
        ports = [port["name"] for port in pod["containers"][0]["ports"]]
        assert [port["targetPort"] for port in service["spec"]["ports"]] == ports == ["http"]
    for item, pod in pods():
        labels = item["spec"]["template"]["metadata"]["labels"]
        assert item["spec"].get("selector", {}).get("matchLabels", labels) == labels
        if pod["containers"][0].get("ports"):
            assert {"readinessProbe", "livenessProbe"} <= set(pod["containers"][0])
