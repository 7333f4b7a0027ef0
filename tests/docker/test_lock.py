"""The lock files hold all that pyproject.toml asks for, each file with its hash."""

from __future__ import annotations

import re
import tomllib
from importlib.metadata import version
from itertools import combinations

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.docker.compose_files import ROOT

LOCK = ROOT / "docker" / "lock"
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
EXTRAS: dict[str, list[str]] = PROJECT["optional-dependencies"]
REMEDY = "pyproject.toml and the lock files differ: pip install uv && docker/lock/compile"
COMPILE = (LOCK / "compile").read_text(encoding="utf-8")
LOCKED = re.findall(r"^for extra in (.+); do$", COMPILE, re.M)[0].split()  # what EXTRAS of Dockerfile.service may name
FILES = ["build", "service", "training", "torch", *LOCKED]


def read_lock(name: str) -> dict[str, tuple[str, int]]:
    """A lock file's packages: name -> version and how many hashes."""
    text = (LOCK / f"{name}.txt").read_text(encoding="utf-8")
    entries = re.findall(r"^(\S+)==(\S+)((?: \\\n +--hash=sha256:[0-9a-f]{64})*)$", text, re.M)
    assert sum(1 + hashes.count("\n") for *_, hashes in entries) == len(text.splitlines()), "a line of another kind"
    return {canonicalize_name(package): (found, hashes.count("sha256:")) for package, found, hashes in entries}


@pytest.mark.parametrize("name", FILES)
def test_every_package_is_pinned_with_its_hashes(name: str) -> None:
    packages = read_lock(name)
    assert packages
    assert [package for package, (_, hashes) in packages.items() if not hashes] == []


def check(requirements: list[str], *names: str) -> None:
    locked = {package: found for name in names for package, (found, _) in read_lock(name).items()}
    for line in requirements:
        requirement = Requirement(line)
        if requirement.marker is None or requirement.marker.evaluate({"sys_platform": "linux"}):
            found = locked.get(canonicalize_name(requirement.name))
            assert found is not None, f"{requirement.name} is not locked; {REMEDY}"
            assert requirement.specifier.contains(found), f"{line}, locked {found}; {REMEDY}"


def test_the_lock_files_hold_what_pyproject_asks_for() -> None:
    assert {"demo", "parquet"} <= set(LOCKED)
    check(PROJECT["dependencies"], "service")
    check(PROJECT["dependencies"] + EXTRAS["training"] + EXTRAS["demo"], "training", "torch")
    for extra in LOCKED:
        check(PROJECT["dependencies"] + EXTRAS[extra], extra)


def test_no_torch_reaches_the_service() -> None:
    heavy = {"torch", "torchvision", "timm", "triton"}
    for name in ("service", *LOCKED):
        assert not heavy & set(read_lock(name)), name
    assert {"torch", "torchvision"} <= set(read_lock("torch"))
    assert not {"torch", "triton"} & set(read_lock("training"))


def test_a_package_has_one_version_in_all_of_them() -> None:
    """Else an index made by one image would be read by another release of the same library."""
    for one, other in combinations([read_lock(name) for name in FILES], 2):
        assert {
            name: (one[name][0], other[name][0]) for name in one.keys() & other if one[name][0] != other[name][0]
        } == {}


def test_torch_is_the_one_that_is_tested() -> None:
    assert read_lock("torch")["torch"][0] == version("torch").split("+")[0]
