import os
import platform
import sys

import pytest

from training import allocator


@pytest.fixture
def _on_glibc(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setattr(platform, "libc_ver", lambda: ("glibc", "2.36"))


@pytest.mark.usefixtures("_on_glibc")
@pytest.mark.parametrize("program", ["/venv/bin/crossmatch", "/clone/crossmatch.py"])
def test_the_command_starts_again_once(program: str) -> None:
    planned = allocator.plan_restart(program, {"HOME": "/root"})
    assert planned == {"HOME": "/root", **allocator.KEEP_MEMORY}
    assert allocator.plan_restart(program, planned) is None


@pytest.mark.usefixtures("_on_glibc")
@pytest.mark.parametrize(
    ("program", "environment"),
    [
        ("/usr/bin/pytest", {}),
        ("crossmatch", {"MALLOC_TOP_PAD_": "1"}),
        ("crossmatch", {"LD_PRELOAD": "libjemalloc.so"}),
    ],
)
def test_what_is_left_alone(program: str, environment: dict[str, str]) -> None:
    assert allocator.plan_restart(program, environment) is None


@pytest.mark.parametrize(("system", "libc"), [("darwin", ""), ("linux", "musl")])
def test_elsewhere_there_is_nothing_to_gain(monkeypatch: pytest.MonkeyPatch, system: str, libc: str) -> None:
    monkeypatch.setattr(sys, "platform", system)
    monkeypatch.setattr(platform, "libc_ver", lambda: (libc, ""))
    assert allocator.plan_restart("crossmatch", {}) is None


def test_the_same_arguments_come_again(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[tuple[str, list[str], dict[str, str]]] = []
    monkeypatch.setattr(os, "execve", lambda *call: calls.append(call))
    monkeypatch.setattr(allocator, "plan_restart", lambda *_: {"A": "B"})
    monkeypatch.setattr(sys, "argv", ["crossmatch", "train", "c.yaml"])
    allocator.restart_with_kept_memory()
    assert calls == [(sys.executable, [sys.executable, "-m", "crossmatch", "train", "c.yaml"], {"A": "B"})]
