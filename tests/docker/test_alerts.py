"""The alert rules: on figures that the service has, with what to do in docs/operations.md; promtool where it is."""

from __future__ import annotations

import re
import shutil
import subprocess
from itertools import pairwise
from typing import Any

import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

from service.metrics import REASONS, STAGES, Metrics, Standing
from tests.docker.compose_files import BASE, PUBLIC, ROOT, read_services
from tests.documents import read_document, sections

FOLDER = ROOT / "docker" / "monitoring"
RULES: list[dict[str, Any]] = yaml.safe_load((FOLDER / "alerts.yml").read_text())["groups"][0]["rules"]
NAMES = [rule["alert"] for rule in RULES]


def list_figures() -> set[str]:
    """The names of every sample that a service shows."""
    metrics = Metrics()
    metrics.count_request("GET", "/v1/search", 200, 0.1)
    metrics.count_rejection("busy")
    text = metrics.render(Standing("0001", "model", 1, 0, 0, 0)).decode()
    return {sample.name for family in text_string_to_metric_families(text) for sample in family.samples}


@pytest.mark.parametrize("rule", RULES, ids=NAMES)
def test_a_rule_is_on_figures_that_there_are(rule: dict[str, Any]) -> None:
    assert set(rule) <= {"alert", "expr", "for", "labels", "annotations"}
    figures = set(re.findall(r"\b(?:crossmatch|process)_\w+", rule["expr"]))
    assert figures - list_figures() == set()
    assert figures or "up{" in rule["expr"]
    assert set(re.findall(r'reason="(\w+)"', rule["expr"])) <= set(REASONS.values())
    assert set(re.findall(r'stage="(\w+)"', rule["expr"])) <= set(STAGES)
    assert rule["labels"]["severity"] in {"page", "ticket"}
    assert "{{ $labels.instance }}" in rule["annotations"]["summary"]


def test_what_to_do_for_each_is_documented() -> None:
    table = sections(read_document("docs/operations.md"))["When an alert fires"]
    assert re.findall(r"^\| `(Crossmatch\w+)` \|", table, re.M) == NAMES


@pytest.mark.parametrize("name", ["prometheus.yml", "prometheus.public.yml"])
def test_prometheus_reads_the_rules_and_asks_the_service_by_a_name_that_it_knows(name: str) -> None:
    config = yaml.safe_load((FOLDER / name).read_text())
    assert config["rule_files"] == ["alerts.yml"]
    (job,) = config["scrape_configs"]
    assert job["job_name"] == "crossmatch"
    assert job["static_configs"] == [{"targets": ["service:8000"]}]
    for path in (BASE, PUBLIC):
        command = read_services(path)["service"]["command"]
        assert ("--allowed-host", "service") in list(pairwise(command))
    assert ("authorization" in job) == (name == "prometheus.public.yml")


def test_the_files_that_prometheus_gets_are_there() -> None:
    for path in (BASE, PUBLIC):
        mounts = read_services(path)["prometheus"]["volumes"]
        for source in (mount.split(":")[0] for mount in mounts if mount.startswith("./")):
            assert (ROOT / source).is_file()
    assert read_services(PUBLIC)["prometheus"]["configs"][0]["target"] == "/run/metrics-key"


def run_promtool(*arguments: str) -> str:
    promtool = shutil.which("promtool")
    if promtool is None:
        pytest.skip("promtool is not installed (Debian: the package prometheus)")
    found = subprocess.run([promtool, *arguments], cwd=FOLDER, capture_output=True, text=True, check=False)
    assert found.returncode == 0, found.stdout + found.stderr
    return found.stdout


def test_promtool_accepts_the_files() -> None:
    run_promtool("check", "rules", "alerts.yml")
    run_promtool("check", "config", "--syntax-only", "prometheus.yml")
    run_promtool("check", "config", "--syntax-only", "prometheus.public.yml")


def test_each_alert_fires_when_it_should_and_only_then() -> None:
    run_promtool("test", "rules", "alerts.test.yml")


def test_every_alert_is_tested() -> None:
    tested = set(re.findall(r"alertname: (\w+)$", (FOLDER / "alerts.test.yml").read_text(), re.M))
    assert tested == set(NAMES)
