"""The manifest in docs/operations.md: the image's paths, ports and user, and Kubernetes' own schemas."""

from __future__ import annotations

from typing import Any

import pytest
import yaml

from tests.docker.compose_files import ROOT
from tests.documents import code_blocks, read_document, sections

MANIFESTS: list[dict[str, Any]] = list(
    yaml.safe_load_all(code_blocks(sections(read_document("docs/operations.md"))["On Kubernetes"], "yaml")[0])
)
POD = MANIFESTS[0]["spec"]["template"]["spec"]
CONTAINERS = [*POD["initContainers"], *POD["containers"]]


def test_the_user_is_the_image_s_and_nothing_but_volumes_is_written_to() -> None:
    assert {POD["securityContext"][name] for name in ("runAsUser", "runAsGroup", "fsGroup")} == {10001}
    for container in CONTAINERS:
        assert container["securityContext"]["readOnlyRootFilesystem"] is True
        assert {mount["mountPath"] for mount in container["volumeMounts"]} == {"/indexes", "/pictures", "/tmp"}


def test_commands_ports_and_probes_are_the_image_s() -> None:
    indexer, service = CONTAINERS
    assert (ROOT / "docker" / "bin" / indexer["command"][0]).is_file()
    assert service["args"][0] == "serve"
    assert "--allow-open" not in service["args"]
    assert service["ports"][0]["containerPort"] == 8000
    assert service["readinessProbe"]["httpGet"]["path"] == "/readyz"
    assert service["livenessProbe"]["httpGet"]["path"] == "/healthz"
    assert MANIFESTS[1]["spec"]["selector"] == MANIFESTS[0]["spec"]["selector"]["matchLabels"]


@pytest.mark.parametrize("manifest", MANIFESTS, ids=lambda manifest: manifest["kind"])
def test_kubernetes_schemas_accept_it(manifest: dict[str, Any]) -> None:
    validate = pytest.importorskip("kubernetes_validate", reason="pip install kubernetes-validate (100 MB of schemas)")
    validate.validate(manifest, "1.29", strict=True)
