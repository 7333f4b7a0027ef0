"""The compose files: valid, closed to strangers, limited; and the script that finds an engine."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from compose_spec import PyOptions

from tests.docker.compose_files import BASE, PUBLIC, ROOT, interpolate, list_variables, read_services

PODMAN = ROOT / "docker" / "podman.override.yml"
FILES = [BASE, PUBLIC, PODMAN]


def check_schema(text: str) -> None:
    """Raises where the text is no compose file."""
    compose = PyOptions(apply_merge=True).from_yaml(text)
    compose.to_spec()  # type: ignore[no-untyped-call]


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_the_file_follows_the_compose_specification(path: Path) -> None:
    check_schema(interpolate(path))


@pytest.mark.parametrize(
    ("right", "wrong"),
    [("restart: unless-stopped", "restart: whenever"), ("cap_drop:", "capdrop:"), ("interval: 5s", "interval: soon")],
)
def test_the_schema_finds_mistakes(right: str, wrong: str) -> None:
    text = interpolate(BASE)
    assert right in text
    with pytest.raises(Exception, match=r"."):
        check_schema(text.replace(right, wrong))


def test_every_published_port_of_the_plain_file_is_on_loopback() -> None:
    ports = [port for service in read_services(BASE).values() for port in service.get("ports", ())]
    assert len(ports) == 2
    assert all(port.startswith("127.0.0.1:") for port in ports)


def test_only_the_plain_file_answers_without_keys() -> None:
    plain, public = read_services(BASE)["service"], read_services(PUBLIC)["service"]
    assert "--allow-open" in plain["command"]
    assert "--allow-open" not in public["command"]
    assert public["command"][:3] == ["serve", "--host", "0.0.0.0"]


def test_the_plain_file_demands_nothing_and_the_public_one_what_makes_it_safe() -> None:
    assert set(list_variables(BASE).values()) == {"-"}
    demanded = {name for name, kind in list_variables(PUBLIC).items() if kind == "?"}
    assert demanded == {"CROSSMATCH_PUBLIC_NAME", "CROSSMATCH_PICTURES", "CROSSMATCH_METRICS_KEY"}


def test_every_variable_is_documented() -> None:
    text = (ROOT / "docs" / "operations.md").read_text(encoding="utf-8")
    variables = list_variables(BASE) | list_variables(PUBLIC)
    assert [name for name in variables if f"`{name}`" not in text] == []


def test_every_container_is_confined_and_limited() -> None:
    for name, service in read_services(BASE).items():
        assert service["cap_drop"] == ["ALL"], name
        assert service["security_opt"] == ["no-new-privileges:true"], name
        assert service["mem_limit"], name
        assert service.get("read_only") is True or name == "trainer"


def test_what_waits_waits_for_health() -> None:
    services = read_services(BASE)
    waiting = [service["depends_on"] for service in services.values() if "depends_on" in service]
    assert len(waiting) == 2
    for condition in waiting:
        for name, how in condition.items():
            assert how == {"condition": "service_healthy"}
            assert services[name]["healthcheck"]["test"][0] == "CMD"


def test_the_service_sees_the_pictures_where_the_indexer_read_them() -> None:
    services = read_services(BASE, {"CROSSMATCH_PICTURES": "/home/me/products"})
    assert services["service"]["volumes"] == services["indexer"]["volumes"]
    assert "/home/me/products:/pictures:ro" in services["service"]["volumes"]


def test_training_and_monitoring_are_profiles() -> None:
    profiles = {name: service.get("profiles") for name, service in read_services(BASE).items()}
    assert profiles == {"service": None, "indexer": None, "trainer": ["training"], "prometheus": ["monitoring"]}


def test_without_an_engine_one_line_says_so(tmp_path: Path) -> None:
    tools = tmp_path / "bin"
    tools.mkdir()
    for name in ("bash", "dirname"):
        (tools / name).symlink_to(
            next(Path(place) / name for place in ("/bin", "/usr/bin") if (Path(place) / name).exists())
        )
    for script in ("compose", "test.sh"):
        found = subprocess.run(
            [ROOT / "docker" / script], env={"PATH": str(tools)}, capture_output=True, text=True, check=False
        )
        assert (found.returncode, found.stdout) == (77, ""), script
        assert found.stderr.startswith("crossmatch: no container engine here (expected docker")
        assert found.stderr.count("\n") == 1
