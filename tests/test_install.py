"""`.ci/install`, as `make run` calls it: whatever goes wrong is one clear line."""

from __future__ import annotations

import os
import re
import subprocess
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
TOOLS = ("sh", "rm", "grep", "head", "tail", "echo")


def install(venv: Path, environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
    command = ["/bin/sh", str(ROOT / ".ci" / "install"), str(venv), "demo", "the demo"]
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)


@pytest.fixture
def path_without_python(tmp_path: Path) -> str:
    """A PATH with the tools of a shell and no Python."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for tool in TOOLS:
        found = next(Path(place) / tool for place in ("/bin", "/usr/bin") if (Path(place) / tool).exists())
        (folder / tool).symlink_to(found)
    return str(folder)


def test_without_python(tmp_path: Path, path_without_python: str) -> None:
    found = install(tmp_path / "venv", {"PATH": path_without_python})
    assert found.returncode == 1
    assert found.stderr.count("\n") == 1
    assert found.stderr.startswith("crossmatch: no Python 3.11 or later found")
    assert not (tmp_path / "venv").exists()


def test_without_a_network_and_after_an_interruption(tmp_path: Path) -> None:
    """An environment without pip is what Ctrl-C leaves while it is made: it is made again."""
    venv = tmp_path / "venv"
    (venv / "bin").mkdir(parents=True)
    (venv / "bin" / "python").symlink_to("/bin/false")
    nowhere = {"PIP_INDEX_URL": "http://127.0.0.1:9/", "PIP_RETRIES": "0", "PIP_CONFIG_FILE": os.devnull}
    empty = {"PIP_EXTRA_INDEX_URL": "", "PIP_FIND_LINKS": "", "PIP_NO_CACHE_DIR": "1"}
    found = install(venv, {**os.environ, **nowhere, **empty})
    assert found.returncode == 1
    assert "the packages can not be downloaded: is there a network" in found.stderr.splitlines()[-1]
    assert "Traceback" not in found.stderr
    assert (venv / "install.log").read_text()


def test_what_make_run_installs_is_enough_for_the_client_of_the_readme() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = re.findall(r"^\t@\.ci/install \$\(VENV\) (\S+)", (ROOT / "Makefile").read_text(encoding="utf-8"), re.M)[0]
    packages = [one for extra in extras.split(",") for one in project["optional-dependencies"][extra]]
    assert any(one.startswith("httpx") for one in packages)
    assert not any(one.startswith("torch") for one in packages)
