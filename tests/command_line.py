"""The command line in this process: what a command prints, as JSON or for people, or the one line it fails with."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import crossmatch
from index.bundle import Bundle

Output = pytest.CaptureFixture[str]


def build_command(source: Path, bundle: Bundle, folder: Path, *more: str) -> list[str]:
    """`index build`."""
    return ["index", "build", str(source), "--model", str(bundle.folder), "--index", str(folder), *more]


def say(capsys: Output, *words: object) -> str:
    """What a command prints for people."""
    assert crossmatch.run([*map(str, words)]) == 0
    return capsys.readouterr().out


def run_json(capsys: Output, *words: object) -> Any:
    """What a command with --json prints."""
    return json.loads(say(capsys, *words, "--json"))


def fail(capsys: Output, code: int, *words: object) -> str:
    """The one line on standard error with which a command ends."""
    assert crossmatch.run([*map(str, words)]) == code
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("crossmatch: ")
    assert err.count("\n") == 1, err
    return err
